"""The commands as their users run them: processes, signals, exit codes, on a private server."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
import uuid
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pool.cli import run
from pool.client import AsyncClient, AsyncLease, Client
from pool.errors import AlreadyReleased, LeaseLost, StoreUnavailable
from pool.models import ContainerRecord, LeaseData, Outcome, ResetLevel, ResetReason, State
from pool.store import Connection, Grant, PoolStore
from tests.support import add_available, eventually, settings, wish

#: A test run in the background may ignore these, and what it starts would inherit that.
_DEFAULT_SIGNALS = ("env", "--default-signal=INT,QUIT,HUP,TERM,USR1")
_POOLCTL = (sys.executable, "-m", "pool.cli")


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    code: int | None
    out: str
    err: str


class Poolctl:
    """Runs commands, and ends those that a failed test left."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment = environment
        self.directory = directory
        self._started: list[Process] = []

    async def start(
        self,
        *words: str,
        program: tuple[str, ...] = _POOLCTL,
        session: tuple[str, ...] = ("setsid",),
        stdin: int = DEVNULL,
        stderr: int = PIPE,
    ) -> Process:
        """Start a command in a session of its own, so that all it started can be ended with it."""
        command = [*session, *_DEFAULT_SIGNALS, *program, *words]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=stdin, stdout=PIPE, stderr=stderr, env=self.environment, cwd=self.directory
        )
        self._started.append(process)
        return process

    async def __call__(self, *words: str, stdin: str | None = None) -> Ended:
        return await self.end(await self.start(*words, stdin=DEVNULL if stdin is None else PIPE), stdin)

    async def end(self, process: Process, stdin: str | None = None) -> Ended:
        async with asyncio.timeout(30):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
        self._started.remove(process)
        return Ended(process.returncode, out.decode(), (err or b"").decode())

    async def clean_up(self) -> None:
        for process in [*self._started]:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await self.end(process)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    """An open pool of one container on the real server."""
    connection = Connection(redis_url)
    store = PoolStore(connection, f"t{uuid.uuid4().hex[:8]}")
    await store.open(settings(ttl_s=1, claim_ttl_s=1), "first")
    await add_available(store, "a")
    yield store
    await store.forget()
    await connection.close()


@pytest.fixture
async def poolctl(redis_url: str, tmp_path: Path) -> AsyncIterator[Poolctl]:
    given = {name: value for name, value in os.environ.items() if not name.startswith("POOL_")}
    source = str(Path(__file__).parents[2])
    private = {"POOL_URL": redis_url, "POOL_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": source, "TERM": "xterm"}
    runner = Poolctl(given | private, tmp_path)
    yield runner
    await runner.clean_up()


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the one that a person sees, the one that a process has."""
    person, process = os.openpty()
    yield person, process
    os.close(person)
    os.close(process)


async def only(store: PoolStore) -> ContainerRecord:
    [record] = (await store.status()).containers
    return record


def exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return _written(path)

    return check


def _written(path: Path) -> bool:
    return path.exists() and bool(path.read_text())


async def queued(store: PoolStore, count: int) -> None:
    async def check() -> bool:
        return len((await store.status()).queue) == count

    await eventually(check, deadline_s=20)


async def hold(store: PoolStore) -> LeaseData:
    """Take the container; without a reaper, the lease stays."""
    answer = await store.acquire(wish("holder", ttl_s=600.0, timeout_s=600.0))
    assert isinstance(answer, Grant)
    return answer.lease


#: A command that says when it is ready, notes each signal it gets, and ends by SIGTERM or SIGUSR1 only.
NOTING = """
for name in INT HUP QUIT; do trap "echo $name >> noted" $name; done
trap 'echo TERM >> noted; exit 42' TERM
trap 'echo USR1 >> noted; exit 43' USR1
echo $$ > ready
while :; do sleep 0.02; done
"""


# run


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
        "run", "--pool", store.pool, "sh", "-c", NOTING, program=("env", "--ignore-signal=HUP", *_POOLCTL)
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
    monkeypatch.setattr(run, "_GRACE_S", 0.1)
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
    os.set_blocking(person, False)
    process = await poolctl.start("run", "--pool", store.pool, "--", "echo", "done", stderr=slave)
    shown = bytearray()

    async def told() -> bool:
        with suppress(BlockingIOError):
            shown.extend(os.read(person, 4096))
        return f"waiting for a container of {store.pool}, position 1".encode() in shown

    await eventually(told)
    await poolctl("release", lease.ref)
    assert await store.transition(await only(store), State.AVAILABLE)

    ended = await poolctl.end(process)
    assert (ended.code, ended.out) == (0, "done\n")


async def test_nothing_free_in_time_is_exit_code_3(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    at_once = await poolctl("acquire", store.pool, "--wait", "0")
    waited = await poolctl("run", "--pool", store.pool, "--wait", "0.1", "true")

    assert (at_once.code, waited.code) == (3, 3)
    assert at_once.err.startswith("error: no container of pool")
    assert "became free within 0.1 s" in waited.err


# acquire and release


async def test_an_acquired_lease_outlives_the_command_until_it_is_released(poolctl: Poolctl, store: PoolStore) -> None:
    taken = await poolctl("acquire", store.pool, "--priority", "high", "--owner", "me", "--json")
    lease = json.loads(taken.out)
    record = await only(store)

    assert (record.state, record.owner) == (State.ALLOCATED, "me")
    assert (lease["pool"], lease["priority"], lease["ttl_s"]) == (store.pool, "high", 120)
    assert "it lapses in 120 s" in taken.err

    given_back = await poolctl("release", lease["ref"], "--outcome", "failed")
    again = await poolctl("release", lease["ref"])

    record = await only(store)
    assert (given_back.code, record.state, record.outcome) == (0, State.CLEANING, Outcome.FAILED)
    assert again.code == 4
    assert again.err.startswith("error: the lease of request")


async def test_a_shell_evaluates_what_acquire_wrote_and_release_finds_it(poolctl: Poolctl, store: PoolStore) -> None:
    command = shlex.join(_POOLCTL)
    script = f"""
        eval "$({command} acquire {store.pool} --shell --owner "it's me" --timeout 30)"
        echo "$POOL_CONTAINER_URL $POOL_CONTAINER_PORT_3000 $POOL_OWNER"
        {command} release
    """

    ended = await poolctl.end(await poolctl.start(script, program=("sh", "-c")))

    assert (ended.code, ended.out) == (0, "http://127.0.0.1:3001 3001 it's me\n")
    assert "give it back with `poolctl release`; it lapses in 30 s" in ended.err
    assert (await only(store)).state is State.CLEANING


async def test_lines_for_people_name_container_and_lease_and_release_reads_it_from_stdin(
    poolctl: Poolctl, store: PoolStore
) -> None:
    taken = await poolctl("acquire", store.pool, "--ttl", "5")
    lines = dict(line.split(maxsplit=1) for line in taken.out.splitlines())

    ended = await poolctl("release", "-", stdin=lines["lease"] + "\n")

    assert (lines["container"], lines["url"], lines["pool"]) == ("a", "http://127.0.0.1:3001", store.pool)
    assert "it lapses in 5 s" in taken.err
    assert (ended.code, (await only(store)).state) == (0, State.CLEANING)


async def test_the_same_request_id_gets_the_same_lease(poolctl: Poolctl, store: PoolStore) -> None:
    words = ("acquire", store.pool, "--owner", "me", "--request-id", f"r-{store.pool}", "--json")

    first, second = json.loads((await poolctl(*words)).out), json.loads((await poolctl(*words)).out)

    assert first["ref"] == second["ref"]


async def test_acquire_interrupted_while_waiting_withdraws_the_request(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)
    process = await poolctl.start("acquire", store.pool)
    await queued(store, 1)

    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (ended.code, ended.out, ended.err) == (130, "", "")
    assert not (await store.status()).queue


async def test_a_detached_lease_outlives_its_client_and_is_no_longer_the_clients(
    redis_url: str, store: PoolStore
) -> None:
    async with AsyncClient(redis_url) as client:
        lease = await client.acquire(store.pool, ttl_s=60)
        await lease.detach()
        with pytest.raises(AlreadyReleased, match="detached"):
            await lease.release()
        assert lease.released

    assert (await only(store)).state is State.ALLOCATED
    async with AsyncClient(redis_url) as other:
        await other.release(lease.data.ref)
    assert (await only(store)).state is State.CLEANING


async def test_the_synchronous_client_detaches_too(redis_url: str, store: PoolStore) -> None:
    def use() -> None:
        with Client(redis_url) as client, client.acquire(store.pool, ttl_s=60) as lease:
            lease.detach()

    await asyncio.to_thread(use)

    assert (await only(store)).state is State.ALLOCATED


# Mistakes


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["acquire", "no-such-pool"], "pool 'no-such-pool' does not exist"),
        (["acquire", "No Such"], "pool: 'No Such' is not allowed"),
        (["acquire", "POOL", "--priority", "urgent"], "priority: 'urgent' is not allowed; use one of critical"),
        (["acquire", "POOL", "--wait", "-1"], "wait_s: -1.0 is not allowed; use seconds from 0"),
        (["acquire", "POOL", "--wait", "nan"], "wait_s: nan is not allowed"),
        (["acquire", "POOL", "--wait", "9000"], "allows at most 300"),
        (["acquire", "POOL", "--timeout", "0"], "timeout_s: 0.0 is not allowed"),
        (["acquire", "POOL", "--owner", ""], "owner: '' is not allowed"),
        (["acquire", "POOL", "--request-id", "a b"], "request_id: 'a b' is not allowed"),
        (["run", "--pool", "POOL", "--priority", "urgent", "true"], "priority: 'urgent' is not allowed"),
        (["release", "nonsense"], "lease: '…' is not allowed"),
        (["release", "POOL/r/1/t", "--outcome", "great"], "outcome: 'great' is not allowed"),
        (["reset", "nobody", "--pool", "POOL"], "there is no container 'nobody'"),
        (["reset", "a", "--pool", "POOL", "--level", "deep"], "level: 'deep' is not allowed; use one of soft"),
        (["status", "no-such-pool"], "pool 'no-such-pool' does not exist"),
        (["status", "--url", "redis://127.0.0.1:1"], "Redis at redis://127.0.0.1:1 does not answer"),
        (["--url", "redis://u:hush@127.0.0.1:1", "status"], "Redis at redis://•••@127.0.0.1:1 does not answer"),
        (["status", "--url", "gopher://x"], "redis url: 'gopher://x' is not allowed"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_mistake_is_told_in_one_line_without_a_traceback(
    poolctl: Poolctl, store: PoolStore, words: list[str], said: str
) -> None:
    ended = await poolctl(*(word.replace("POOL", store.pool) for word in words))

    assert ended.code == 2
    assert ended.err.splitlines()[0].startswith("error: ")
    assert said in ended.err.splitlines()[0]
    assert "Traceback" not in ended.err
    assert (await only(store)).state is State.AVAILABLE


async def test_without_a_url_and_a_private_server_nothing_is_started(poolctl: Poolctl) -> None:
    del poolctl.environment["POOL_URL"]

    ended = await poolctl("status")

    assert ended.code == 2
    assert ended.err == ("error: no pool runs here\nhint: start one with `poolctl serve CONFIG`, or give --url\n")
    assert not (poolctl.directory / "state").exists()


# status


async def test_status_shows_containers_queue_and_what_is_amiss(poolctl: Poolctl, store: PoolStore) -> None:
    lease = await hold(store)
    await store.acquire(wish("waiter", owner="bob", liveness_s=60.0))

    ended = await poolctl("status", store.pool)

    assert ended.code == 0
    assert f"{store.pool}: 0 of 1 available, 1 waiting" in ended.out
    assert "no active manager: start one with `poolctl serve CONFIG`" in ended.out
    assert "allocated" in ended.out
    assert "bob" in ended.out
    assert lease.token not in ended.out
    assert "\x1b" not in ended.out


async def test_status_as_json_is_plain_and_holds_no_token(poolctl: Poolctl, store: PoolStore) -> None:
    lease = await hold(store)
    await store.acquire(wish("waiter", liveness_s=60.0))
    await store.lead("m", ttl_s=60, info="host 1")

    ended = await poolctl("status", store.pool, "--json")

    [status] = json.loads(ended.out)["pools"]
    [container], [request] = status["containers"], status["queue"]
    assert lease.token not in ended.out
    assert (status["pool"], status["manager"], status["draining"]) == (store.pool, "host 1", False)
    assert (container["id"], container["state"], container["owner"]) == ("a", "allocated", "owner")
    assert container["expires_at"] > container["granted_at"]
    assert container["ports"] == {"3000": 3001}
    assert (request["request_id"], request["position"], request["priority"]) == ("waiter", 1, "normal")


async def test_status_of_all_pools_includes_each(poolctl: Poolctl, store: PoolStore) -> None:
    ended = await poolctl("status", "--json")

    assert store.pool in [status["pool"] for status in json.loads(ended.out)["pools"]]


async def test_watching_goes_on_until_it_is_interrupted(poolctl: Poolctl, store: PoolStore) -> None:
    process = await poolctl.start("status", store.pool, "--watch", "--json")
    assert process.stdout is not None
    async with asyncio.timeout(20):
        first = json.loads(await process.stdout.readline())["pools"][0]
        await store.transition(await only(store), State.QUARANTINED, store={"note": "broken"})
        later = first
        while later["containers"][0]["note"] != "broken":
            later = json.loads(await process.stdout.readline())["pools"][0]

    process.send_signal(signal.SIGINT)
    ended = await poolctl.end(process)

    assert (first["containers"][0]["state"], later["containers"][0]["state"]) == ("available", "quarantined")
    assert (ended.code, ended.err) == (130, "")


# reset


async def test_reset_finds_the_container_and_says_that_nobody_manages_it(poolctl: Poolctl, store: PoolStore) -> None:
    await add_available(store, f"b-{store.pool}")

    ended = await poolctl("reset", f"b-{store.pool}", "--level", "hard")

    record = (await store.status()).containers[1]
    assert (ended.code, ended.out) == (0, f"b-{store.pool}: hard reset asked for\n")
    assert "no active manager" in ended.err
    assert (record.state, record.level, record.reason) == (State.RESETTING, ResetLevel.HARD, ResetReason.MANUAL)


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [(State.AVAILABLE, 0, "a: available"), (State.QUARANTINED, 1, "a: quarantined: broken")],
)
async def test_reset_waits_for_the_end_and_tells_what_it_sees(
    poolctl: Poolctl, store: PoolStore, end: State, code: int, told: str
) -> None:
    process = await poolctl.start("reset", "a", "--pool", store.pool, "--wait")

    async def begun() -> bool:
        return (await only(store)).state is State.RESETTING

    await eventually(begun, deadline_s=20)
    await store.transition(await only(store), end, store={"note": "broken"})
    ended = await poolctl.end(process)

    assert (ended.code, ended.out.splitlines()[-1]) == (code, told)


async def test_a_held_container_is_not_reset(poolctl: Poolctl, store: PoolStore) -> None:
    await hold(store)

    ended = await poolctl("reset", "a", "--pool", store.pool)

    assert ended.code == 2
    assert "allocated by 'owner'" in ended.err
