"""The short way of scripts keeps what the library's own way guarantees: replies belong to their commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import NoScriptError

from pool.store.lanes import ScriptRedis
from pool.store.servers import open_client
from tests.support import eventually

ECHO = "return ARGV[1]"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[ScriptRedis]:
    client = open_client(redis_url)
    assert isinstance(client, ScriptRedis)
    yield client
    await client.aclose()
    await client.connection_pool.disconnect()


async def test_many_scripts_at_once_get_their_own_replies(redis: ScriptRedis) -> None:
    sha = str(await redis.script_load(ECHO))

    replies = await asyncio.gather(*(redis.evalsha(sha, 0, str(number)) for number in range(200)))

    assert replies == [str(number) for number in range(200)]


async def test_other_commands_find_a_connection_while_all_lanes_are_taken(redis: ScriptRedis) -> None:
    sha = str(await redis.script_load(ECHO))

    *_, pong = await asyncio.gather(*(redis.evalsha(sha, 0, "x") for _ in range(100)), redis.ping())

    assert pong


async def test_the_reply_of_a_cancelled_script_goes_to_nobody(redis: ScriptRedis) -> None:
    sha = str(await redis.script_load(ECHO))
    for number in range(50):
        asking = asyncio.create_task(redis.evalsha(sha, 0, f"cancelled {number}"))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        assert await redis.evalsha(sha, 0, str(number)) == str(number)


async def test_a_connection_that_the_server_closed_is_made_anew(redis: ScriptRedis, redis_url: str) -> None:
    sha = str(await redis.script_load(ECHO))
    await redis.evalsha(sha, 0, "before")
    [lane] = redis._idle
    other = open_client(redis_url)
    client_id = await _id_of(lane)
    await other.client_kill_filter(_id=client_id)
    await other.connection_pool.disconnect()

    async def noticed() -> bool:
        return bool(await lane.can_read())

    await eventually(noticed)

    assert await redis.evalsha(sha, 0, "after") == "after"


async def _id_of(connection: object) -> str:
    await connection.send_command("CLIENT", "ID")  # type: ignore[attr-defined]
    return str(await connection.read_response())  # type: ignore[attr-defined]


async def test_an_unknown_script_is_the_librarys_error_and_the_lane_goes_on(redis: ScriptRedis) -> None:
    with pytest.raises(NoScriptError):
        await redis.evalsha("0" * 40, 0)

    sha = str(await redis.script_load(ECHO))
    assert await redis.evalsha(sha, 0, "x") == "x"
    assert len(redis._idle) == 1
