"""`poolctl run`: signals, exit codes, lost leases, on a private server."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.cli import command, run
from pool.client import AsyncLease
from pool.errors import LeaseLost, StoreUnavailable
from pool.models import Outcome, ResetReason, State
from pool.store import PoolStore
from tests.poolctl import POOLCTL, Poolctl, exists, hold, one_container, only, queued, shows
from tests.support import eventually


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


#: A command that says when it is ready, notes each signal it gets, and ends by SIGTERM or SIGUSR1 only.
NOTING = """
for name in INT HUP QUIT; do trap "echo $name >> noted" $name; done
trap 'echo TERM >> noted; exit 42' TERM
trap 'echo USR1 >> noted; exit 43' USR1
echo $$ > ready
while :; do sleep 0.02; done
"""


async def test_run_tells_the_command_of_its_container_and_releases_it_as_passed(
    poolctl: Poolctl, store: PoolStore
) -> None:
    ended = await poolctl(
        "run", "--pool", store.pool, "--owner", "run-1", "--", "sh", "-c", "env | grep ^POOL_; echo to-stderr >&2"
    )

    environment = dict(line.split("=", 1) for line in ended.out.splitlines())
    reference = environment.pop("POOL_LEASE").split("/")
    assert (ended.code, ended.err) == (0, "to-stderr\n")
    assert reference[0] == store.pool
    assert reference[2] == environment.pop("POOL_FENCE")
    assert reference[1] == environment.pop("POOL_REQUEST_ID")
    assert environment.pop("POOL_DEADLINE").endswith("Z")
    assert environment == {
        "POOL_URL": poolctl.environment["POOL_URL"],
        "POOL_STATE_DIR": poolctl.environment["POOL_STATE_DIR"],
        "POOL_CONTAINER_URL": "http://127.0.0.1:3001",
        "POOL_CONTAINER_ID": "a",
        "POOL_CONTAINER_NAME": "n-a",
        "POOL_CONTAINER_HOST": "127.0.0.1",
        "POOL_CONTAINER_PORT": "3001",
        "POOL_CONTAINER_PORT_3000": "3001",
        "POOL_NAME": store.pool,
        "POOL_OWNER": "run-1",
        "POOL_PRIORITY": "normal",
    }
    record = await only(store)
    assert (record.state, record.outcome) == (State.CLEANING, Outcome.PASSED)


@pytest.mark.parametrize(("script", "code"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
async def test_run_ends_as_its_command_did_and_releases_as_failed(
    poolctl: Poolctl, store: PoolStore, script: str, code: int
) -> None:
    ended = await poolctl("run", "--pool", store.pool, "sh", "-c", script)

    assert (ended.code, ended.err) == (code, "")
    assert (await only(store)).outcome is Outcome.FAILED


async def test_run_keeps_the_lease_alive_longer_than_its_ttl(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start("run", "--pool", store.pool, "sh", "-c", NOTING)
    await eventually(exists(poolctl.directory / "ready"))
    first = (await only(store)).expires_at
    assert first is not None

    async def renewed() -> bool:
        await store.reap()
        return ((await only(store)).expires_at or 0) > first + 1.5

    await eventually(renewed)

    process.send_signal(signal.SIGUSR1)
    assert (await poolctl.end(process)).code == 43


@pytest.mark.parametrize("name", ["INT", "HUP", "QUIT"])
async def test_run_sends_its_signals_on_and_waits_for_what_the_command_makes_of_them(
    poolctl: Poolctl, store: PoolStore, name: str
) -> None:
    process = await poolctl.start("run", "--pool", store.pool, "sh", "-c", NOTING)
    await eventually(exists(poolctl.directory / "ready"))

    process.send_signal(signal.Signals[f"SIG{name}"])
    await eventually(exists(poolctl.directory / "noted"))
    process.terminate()
    ended = await poolctl.end(process)

    assert (ended.code, ended.err) == (42, "")
    assert (poolctl.directory / "noted").read_text().split() == [name, "TERM"]
    assert (await only(store)).outcome is Outcome.FAILED


async def test_a_ctrl_c_reaches_the_command_once(poolctl: Poolctl, store: PoolStore, terminal: tuple[int, int]) -> None:
    person, slave = terminal
    process = await poolctl.start(
        "run", "--pool", store.pool, "sh", "-c", NOTING, session=("setsid", "--ctty"), stdin=slave
    )
    await eventually(exists(poolctl.directory / "ready"))

    os.write(person, b"\x03")
    await eventually(exists(poolctl.directory / "noted"))
    process.terminate()

    assert (await poolctl.end(process)).code == 42
    assert (poolctl.directory / "noted").read_text().split() == ["INT", "TERM"]


async def test_what_nohup_ignores_stays_ignored(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start(
        "run", "--pool", store.pool, "sh", "-c", NOTING, program=("env", "--ignore-signal=HUP", *POOLCTL)
    )
    await eventually(exists(poolctl.directory / "ready"))

    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR1)

    assert (await poolctl.end(process)).code == 43
    assert (poolctl.directory / "noted").read_text().split() == ["USR1"]


async def test_a_command_whose_lease_is_lost_is_ended(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start("run", "--pool", store.pool, "sh", "-c", NOTING)
    await eventually(exists(poolctl.directory / "ready"))

    await store.transition(await only(store), State.UNHEALTHY)
    ended = await poolctl.end(process)

    assert ended.code == 4
    assert (poolctl.directory / "noted").read_text() == "TERM\n"
    assert "warning: the lease of container 'a' is lost; ending the command\n" in ended.err
    assert "error: the lease of container 'a' is lost: it expired" in ended.err
    assert "Traceback" not in ended.err


async def test_a_command_that_will_not_end_is_killed(
    store: PoolStore, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_GRACE_S", 0.1)
    ready = tmp_path / "ready"
    words = ["sh", "-c", f"trap '' TERM; echo $$ > {shlex.quote(str(ready))}; while :; do sleep 0.02; done"]
    running = asyncio.create_task(run._run(redis_url, store.pool, words, {"wait_s": 5}))
    await eventually(exists(ready))

    await store.transition(await only(store), State.UNHEALTHY)

    with pytest.raises(LeaseLost):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(ready.read_text()), 0)


async def test_a_redis_that_is_away_at_the_end_does_not_hide_the_commands_exit_code(
    store: PoolStore, redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    release = AsyncLease.release

    async def away(self: AsyncLease, outcome: str | Outcome = Outcome.PASSED) -> None:
        monkeypatch.setattr(AsyncLease, "release", release)
        raise StoreUnavailable("Redis does not answer")

    monkeypatch.setattr(AsyncLease, "release", away)

    assert await run._run(redis_url, store.pool, ["sh", "-c", "exit 7"], {"wait_s": 5}) == 7
    assert "warning: the lease was not given back and lapses by itself: Redis does" in capfd.readouterr().err


@pytest.mark.parametrize(("command", "code"), [("no-such-command", 127), ("./not-executable", 126)])
async def test_a_command_that_cannot_start_gives_its_container_back_unused(
    poolctl: Poolctl, store: PoolStore, command: str, code: int
) -> None:
    (poolctl.directory / "not-executable").write_text("")

    ended = await poolctl("run", "--pool", store.pool, "--", command)

    assert ended.code == code
    assert ended.err.startswith(f"error: {command}: ")
    record = await only(store)
    assert (record.state, record.outcome) == (State.CLEANING, Outcome.PASSED)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
async def test_a_signal_while_waiting_withdraws_the_request(poolctl: Poolctl, store: PoolStore, name: str) -> None:
    await hold(store)
    process = await poolctl.start("run", "--pool", store.pool, "--", "touch", "ran")
    await queued(store, 1)

    process.send_signal(signal.Signals[name])
    ended = await poolctl.end(process)

    assert (ended.code, ended.out, ended.err) == (128 + signal.Signals[name], "", "")
    assert not (await store.status()).queue
    assert not (poolctl.directory / "ran").exists()


async def test_a_killed_run_lets_its_lease_expire(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start("run", "--pool", store.pool, "sh", "-c", NOTING)
    ready = poolctl.directory / "ready"
    await eventually(exists(ready))

    process.kill()

    async def expired() -> bool:
        return (await store.reap())[2] == 1

    await eventually(expired)
    os.kill(int(ready.read_text()), signal.SIGTERM)  # the command itself lived on
    await poolctl.end(process)
    record = await only(store)
    assert (record.state, record.reason) == (State.RESETTING, ResetReason.ON_EXPIRY)


async def test_a_terminal_shows_the_place_in_the_queue(
    poolctl: Poolctl, store: PoolStore, terminal: tuple[int, int]
) -> None:
    lease = await hold(store)
    person, slave = terminal
    process = await poolctl.start("run", "--pool", store.pool, "--", "echo", "done", stderr=slave)

    await eventually(shows(person, f"waiting for a container of {store.pool}, position 1"))
    await poolctl("release", lease.ref)
    assert await store.transition(await only(store), State.AVAILABLE)

    ended = await poolctl.end(process)
    assert (ended.code, ended.out) == (0, "done\n")
