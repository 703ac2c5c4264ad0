"""The users of `deploy/redis/users.acl` on a real server: what the pool needs works, and nothing else does."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from pool.client import AsyncClient
from pool.errors import StoreError
from pool.models import State
from tests.poolctl import Poolctl
from tests.support import eventually
from tests.support_access import open_site
from tests.support_acl import PASSWORDS, REDIS, Guarded, environment, guarded_server
from tests.support_manager import Bench, MakeBench, make_bench

__all__ = ["make_bench"]

#: In the words of Redis 7, and of Valkey, from a command or from a script.
REFUSED = "(?i)no permissions|can't run this command|can't access at least one of the keys"
POOL = Path(__file__).parents[2] / "pool"
#: The scripts that clients run; see `pool/store/request_store.py`, and `snapshot` for `poolctl status`.
CLIENT_SCRIPTS = (
    "_common", "acquire", "begin", "cancel", "collect", "extend", "heartbeat", "look", "recommend", "reject", "release",
    "snapshot",
)  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Guarded]:
    with guarded_server() as server:
        yield server


@pytest.fixture
def redis_url(server: Guarded) -> str:
    """Managers of this module are the user `manager`."""
    return server.url("manager")


@pytest.fixture
async def bench(make_bench: MakeBench, server: Guarded) -> AsyncIterator[Bench]:
    bench = await make_bench(limits={"ttl_s": 6, "claim_ttl_s": 3})
    await bench.ready()
    await eventually(bench.all_available)
    server.refused()
    yield bench
    await bench.stop()


@pytest.fixture
async def client(server: Guarded) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(server.url("client"), owner="tester") as client:
        yield client


# What is needed works


async def test_a_client_acquires_extends_releases_and_waits_and_a_manager_cleans_up(
    bench: Bench, client: AsyncClient, server: Guarded
) -> None:
    first, second = [await client.acquire(bench.pool, wait_s=10) for _ in range(2)]
    await first.extend(5, reason="a long test")
    waiting = asyncio.create_task(client.acquire(bench.pool, wait_s=20))

    async def queued() -> bool:
        return len(await client.queue(bench.pool)) == 1

    await eventually(queued)
    began = (await bench.record(second.container.id)).expires_at
    assert began is not None

    async def renewed() -> bool:
        return ((await bench.record(second.container.id)).expires_at or 0) > began

    await eventually(renewed, deadline_s=20)
    await first.release("failed")
    third = await waiting
    await second.release()
    await third.release()
    async with await client.acquire_many({bench.pool: 2}, wait_s=20):
        assert (await bench.store.status()).count(State.ALLOCATED) == 2
    await eventually(bench.all_available)

    assert {fact["outcome"] for fact in await bench.facts("lease.released")} == {"passed", "failed"}
    assert server.refused() == []


async def test_a_client_withdraws_a_request_and_is_skipped_when_it_dies(
    bench: Bench, client: AsyncClient, server: Guarded
) -> None:
    leases = [await client.acquire(bench.pool, wait_s=10) for _ in range(2)]
    waiting = asyncio.create_task(client.acquire(bench.pool, wait_s=20))

    async def queued(count: int) -> bool:
        return len(await client.queue(bench.pool)) == count

    await eventually(lambda: queued(1))
    waiting.cancel()
    await eventually(lambda: queued(0))
    for lease in leases:
        await lease.release()
    await eventually(bench.all_available)

    assert server.refused() == []


@pytest.mark.parametrize(
    "words", ["status", "status --json", "queue", "events", "top --once", "analytics", "doctor", "run -- true"], ids=str
)
async def test_what_clients_ask_poolctl_for_needs_no_more(
    words: str, bench: Bench, server: Guarded, tmp_path: Path
) -> None:
    async with Poolctl(server.url("client"), tmp_path) as poolctl:
        command, *rest = words.split()
        options = ["--pool", bench.pool] if command == "run" else []
        ended = await poolctl(command, *options, *rest)

    assert ended.code == 0 or command == "doctor", ended.err  # which looks at an engine, too
    assert server.refused() == []


@pytest.mark.long
async def test_operators_need_no_more_than_a_manager(bench: Bench, server: Guarded, tmp_path: Path) -> None:
    container = f"{bench.pool}-1"
    async with Poolctl(server.url("manager"), tmp_path) as poolctl:
        for words in (
            f"drain {bench.pool} {container}",
            f"resume {bench.pool} {container}",
            f"reset {container} --pool {bench.pool} --level medium --wait",
            f"quarantine {container} --pool {bench.pool} --reason looked-at",
            f"restore {container} --pool {bench.pool} --wait",
            "token create ci --owner ci",
            "token list",
            "token revoke ci",
            f"audit --pool {bench.pool}",
            "audit --pool ~access",
            "audit verify",
        ):
            ended = await poolctl(*words.split())
            assert ended.code == 0, ended.err

    assert server.refused() == []


async def test_a_server_needs_no_more_for_its_api_events_and_metrics(server: Guarded) -> None:
    async with open_site(server.url("manager"), "a") as site:
        token = await site.token("boss", role="operator")
        status, lease = await site.lease(token)
        assert status == 201, lease
        async with site.http.get(f"{site.url}/metrics", headers={"Authorization": f"Bearer {token}"}) as reply:
            text = await reply.text()
        assert "pool_redis_up 1.0" in text
        for path in ("/v1/pools", "/v1/containers", f"/v1/pools/{site.pool}/queue", "/v1/audit", "/readyz"):
            status, _ = await site.ask("GET", path, token=token)
            assert status in (200, 503)
        async with site.http.get(f"{site.url}/v1/events", headers={"Authorization": f"Bearer {token}"}) as stream:
            assert stream.status == 200
            await site.store.tell("container.evidence", {})
            async with asyncio.timeout(20):
                while b"container.evidence" not in await stream.content.readline():
                    pass

    assert server.refused() == []


# And nothing else does


@pytest.mark.parametrize("user", ["manager", "client", "monitor"])
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG GET *", "CONFIG SET dir /etc", "ACL LIST", "ACL SETUSER me",
        "SHUTDOWN", "MONITOR", "SAVE", "BGREWRITEAOF", "SWAPDB 0 1", "REPLICAOF no one", "CLIENT LIST",
        "CLIENT KILL TYPE normal", "FUNCTION LIST", "MODULE LIST", "SCRIPT FLUSH", "SCRIPT KILL", "RANDOMKEY",
        "PUBLISH news x", "SUBSCRIBE news", "SET cp:x 1", "RENAME cp:pools cp:x", "DUMP cp:pools",
        "HGETALL other", "HSET other a b", "DEL other", "XREAD STREAMS other 0",
        "EVAL return(redis.call('FLUSHALL')) 0", "EVAL return(redis.call('HGETALL','other')) 0",
    ],
)  # fmt: skip
def test_what_has_nothing_to_do_with_a_pool_is_refused(user: str, command: str, server: Guarded) -> None:
    with pytest.raises((NoPermissionError, ResponseError), match=REFUSED):
        server.ask(user, *command.split())

    assert server.refused() != []


@pytest.mark.parametrize(
    "command",
    [
        "HGETALL cp:tokens", "HSET cp:tokens a b", "DEL cp:tokens", "EVAL return(redis.call('HGETALL','cp:tokens')) 0",
        "SADD cp:pools mine", "DEL cp:{p}:audit", "XADD cp:{p}:audit * a b", "XRANGE cp:{~access}:audit - +",
        "HSET cp:{p}:metrics a 1", "HSET cp:{p}:baselines a b", "HSET cp:{p}:mgr id me", "SADD cp:{p}:ids mine",
        "SCAN 0",
    ],
)  # fmt: skip
def test_a_client_sees_no_api_token_and_writes_neither_audit_nor_counters(command: str, server: Guarded) -> None:
    with pytest.raises((NoPermissionError, ResponseError), match=REFUSED):
        server.ask("client", *command.split())

    assert "client" in server.refused()[0]


async def test_a_client_sees_the_leases_of_others(bench: Bench, client: AsyncClient, server: Guarded) -> None:
    """docs/deployment.md says so: whoever should not be, gets an API token instead."""
    lease = await client.acquire(bench.pool, wait_s=10)

    token = server.ask("client", "HGET", f"cp:{{{bench.pool}}}:c:{lease.container.id}", "token")

    assert token == lease.data.token
    await lease.release()


@pytest.mark.parametrize("user", ["manager", "client", "monitor"])
def test_the_wrong_password_opens_nothing(user: str, server: Guarded) -> None:
    with pytest.raises(AuthenticationError):
        Guarded(server.socket).ask(None, "AUTH", user, "wrong")
    with pytest.raises(RedisError, match="Authentication required"):
        server.ask(None, "PING")


async def test_a_refused_user_is_told_what_to_look_at(server: Guarded) -> None:
    client = AsyncClient(server.url("client").replace("client-password", "wrong"))

    with pytest.raises(StoreError, match="refused us") as told:
        await client.connect()

    assert told.value.hint == "check user and password in the URL"
    assert "wrong" not in str(told.value)


# The files


def rendered(**passwords: str) -> str:
    done = subprocess.run(
        ["sh", REDIS / "start", "--acl"],
        env=environment(Path("/nowhere"), **passwords), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def allowed(user: str) -> set[str]:
    [line] = [line for line in rendered(manager="m").splitlines() if line.startswith(f"user {user} ")]
    return set(re.findall(r" \+([a-z|]+)", line))


def in_scripts(*names: str) -> set[str]:
    sources = "".join((POOL / "lua" / f"{name}.lua").read_text() for name in names)
    return {command.lower() for command in re.findall(r"\bcall\(.*?'([A-Z]+)'", sources)} | {"sadd", "srem"}


def test_the_users_may_run_every_command_of_their_scripts() -> None:
    every = [path.stem for path in (POOL / "lua").glob("*.lua")]

    assert in_scripts(*every) - allowed("manager") == set()
    assert in_scripts(*CLIENT_SCRIPTS) - allowed("client") == set()


def test_the_users_may_run_no_command_that_the_pool_does_not_use() -> None:
    every = [path.stem for path in (POOL / "lua").glob("*.lua")]
    python = "".join(path.read_text() for path in POOL.rglob("*.py"))

    for command in allowed("manager") | allowed("client"):
        method = f".{command.replace('|', '_')}("
        words = ", ".join(f'"{word.upper()}"' for word in command.split("|"))
        assert command in in_scripts(*every) or method in python or words in python, command


def test_passwords_are_written_down_as_digests_only() -> None:
    text = rendered(**PASSWORDS)

    assert not any(password in text for password in PASSWORDS.values())
    assert "nopass" not in text  # protected mode would then refuse whoever is not on loopback
    assert len(re.findall(r"^user \w+ on #[0-9a-f]{64} ", text, re.MULTILINE)) == 3


def test_a_user_without_a_password_is_off_and_a_manager_needs_one() -> None:
    text = rendered(manager="m")
    without = subprocess.run(
        ["sh", REDIS / "start", "--acl"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )

    assert re.findall(r"^user (\w+) off ", text, re.MULTILINE) == ["default", "client", "monitor"]
    assert without.returncode != 0
    assert "REDIS_MANAGER_PASSWORD" in without.stderr


def test_the_server_keeps_every_write_and_throws_nothing_out(server: Guarded) -> None:
    assert (server.setting("appendonly"), server.setting("maxmemory-policy")) == ("yes", "noeviction")


async def test_a_pool_under_guard_ends_as_it_began(bench: Bench, server: Guarded) -> None:
    await eventually(bench.all_available)

    assert (await bench.store.status()).count(State.AVAILABLE) == 2
    assert server.refused() == []
