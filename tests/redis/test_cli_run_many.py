"""`poolctl run --many` and `--shell`, on a private server."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import AsyncIterator

import pytest

from pool.models import Outcome, State
from pool.store import PoolStore
from tests.poolctl import POOLCTL, Poolctl, exists, hold, one_container, only, queued, shows
from tests.support import add_available, eventually


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        yield store


@pytest.fixture
async def mail(redis_url: str) -> AsyncIterator[PoolStore]:
    async with one_container(redis_url) as store:
        await add_available(store, "b")
        yield store


async def outcomes(*stores: PoolStore) -> list[tuple[State, Outcome | None]]:
    return [(record.state, record.outcome) for store in stores for record in (await store.status()).containers]


async def test_a_command_gets_containers_of_several_pools_and_gives_all_back(
    poolctl: Poolctl, store: PoolStore, mail: PoolStore
) -> None:
    words = ("run", "--many", f"{store.pool}=1", "--many", f"{mail.pool}=2", "--owner", "me")

    ended = await poolctl(*words, "--", "sh", "-c", "env | grep ^POOL_; exit 7")

    environment = dict(line.split("=", 1) for line in ended.out.splitlines())
    leases = json.loads(environment["POOL_LEASES"])
    assert (ended.code, ended.err) == (7, "")
    assert environment[f"POOL_{store.pool.upper()}_IDS"] == "a"
    assert sorted(environment[f"POOL_{mail.pool.upper()}_IDS"].split()) == ["a", "b"]
    assert environment["POOL_OWNER"] == "me"
    assert {pool: len(held) for pool, held in leases.items()} == {store.pool: 1, mail.pool: 2}
    assert leases[store.pool][0]["ref"].startswith(f"{store.pool}/")
    assert "POOL_CONTAINER_URL" not in environment
    assert await outcomes(store, mail) == [(State.CLEANING, Outcome.FAILED)] * 3


async def test_a_signal_while_a_bundle_waits_gives_back_what_it_had(
    poolctl: Poolctl, store: PoolStore, mail: PoolStore
) -> None:
    await hold(store)
    process = await poolctl.start("run", "--many", f"{store.pool}=1", "--many", f"{mail.pool}=1", "touch", "ran")
    await queued(store, 1)

    process.terminate()
    ended = await poolctl.end(process)

    assert (ended.code, ended.out, ended.err) == (143, "", "")
    assert not (await store.status()).queue
    assert not (poolctl.directory / "ran").exists()
    assert [record.owner for record in (await mail.status()).containers] == ["", ""]


async def test_all_of_a_bundle_are_lost_with_one_and_the_command_is_ended(
    poolctl: Poolctl, store: PoolStore, mail: PoolStore
) -> None:
    words = ("run", "--many", f"{store.pool}=1", "--many", f"{mail.pool}=1")
    process = await poolctl.start(*words, "sh", "-c", "echo > ready; while :; do sleep 0.02; done")
    await eventually(exists(poolctl.directory / "ready"), deadline_s=20)

    await store.transition(await only(store), State.UNHEALTHY)
    ended = await poolctl.end(process)

    assert ended.code == 4
    assert "warning: the lease of container 'a' is lost; ending the command" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--many", "POOL"], "'POOL' is no POOL=N"),
        (["--many", "POOL=0"], "is no POOL=N with N from 1 on"),
        (["--many", "POOL=1", "--many", "POOL=1"], "is named twice"),
        (["--many", "POOL=1", "--pool", "POOL"], "give either --pool or --many"),
        (["--many", "POOL=9"], "more of them can never be had at once"),
        (["--many", "nowhere=1"], "pool 'nowhere' does not exist"),
        (["--many", "a-b=1", "--many", "a.b=1"], "both would be POOL_A_B_URLS"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_a_mistake_about_many_is_told(poolctl: Poolctl, store: PoolStore, words: list[str], said: str) -> None:
    ended = await poolctl("run", *(word.replace("POOL", store.pool) for word in words), "--", "true")

    assert ended.code == 2
    assert said.replace("POOL'", f"{store.pool}'") in " ".join(ended.err.replace("│", " ").split())
    assert "Traceback" not in ended.err


async def test_without_a_command_and_a_shell_nothing_is_taken(poolctl: Poolctl, store: PoolStore) -> None:
    ended = await poolctl("run", "--pool", store.pool)

    assert ended.code == 2
    assert "--shell for a shell of your own" in " ".join(ended.err.replace("│", " ").split())
    assert (await only(store)).state is State.AVAILABLE


# --shell


async def test_a_shell_knows_the_variables(poolctl: Poolctl, store: PoolStore) -> None:
    ended = await poolctl("run", "--pool", store.pool, "--shell", 'echo "$POOL_CONTAINER_ID" | tr a z; exit 3')

    assert (ended.code, ended.out, ended.err) == (3, "z\n", "")
    assert (await only(store)).outcome is Outcome.FAILED


async def test_the_users_own_shell_runs_at_the_terminal_until_it_is_left(
    poolctl: Poolctl, store: PoolStore, terminal: tuple[int, int]
) -> None:
    person, slave = terminal
    poolctl.environment |= {"SHELL": "/bin/sh", "PS1": "lent> "}
    process = await poolctl.start(
        "run", "--pool", store.pool, "--shell", stdin=slave, stdout=slave, stderr=slave, session=("setsid", "--ctty")
    )
    await eventually(shows(person, "lent> "), deadline_s=20)

    os.write(person, b"echo $POOL_CONTAINER_ID-$POOL_NAME\n")
    await eventually(shows(person, f"a-{store.pool}"), deadline_s=20)
    os.write(person, b"exit 0\n")

    assert (await poolctl.end(process)).code == 0
    assert (await only(store)).outcome is Outcome.PASSED


async def test_a_shell_that_ignores_sigterm_is_hung_up(
    poolctl: Poolctl, store: PoolStore, terminal: tuple[int, int]
) -> None:
    person, slave = terminal
    poolctl.environment |= {"SHELL": "/bin/bash", "HOME": str(poolctl.directory)}
    process = await poolctl.start(
        "run", "--pool", store.pool, "--shell", stdin=slave, stdout=slave, stderr=slave, session=("setsid", "--ctty")
    )
    os.write(person, b"echo re''ady\n")
    await eventually(shows(person, "ready"), deadline_s=20)

    process.send_signal(signal.SIGTERM)
    ended = await poolctl.end(process)

    assert ended.code == 128 + signal.SIGHUP
    assert (await only(store)).outcome is Outcome.FAILED


async def test_the_url_that_was_given_reaches_the_command(poolctl: Poolctl, store: PoolStore) -> None:
    url = poolctl.environment.pop("POOL_URL")

    ended = await poolctl("--url", url, "run", "-p", store.pool, "--shell", 'echo "$POOL_URL"')

    assert (ended.code, ended.out) == (0, f"{url}\n")


async def test_a_lease_is_extended_by_the_command_that_runs_under_it(poolctl: Poolctl, store: PoolStore) -> None:
    command = f"exec {shlex.join(POOLCTL)} extend --by 60 --reason slow --json"

    ended = await poolctl("run", "-p", store.pool, "--timeout", "30", "--shell", command)

    assert (ended.code, json.loads(ended.out)["extensions_used"]) == (0, 1)
