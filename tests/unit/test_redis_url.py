"""The URLs that name a Redis: what they mean, what is refused, and that no password shows."""

from __future__ import annotations

import pytest

from pool.client import AsyncClient
from pool.config import parse_config
from pool.config.redis_url import RedisUrl, parse_redis_url
from pool.errors import ConfigError, InvalidRequest
from pool.redaction import mask_url
from pool.store import Connection
from tests.config_text import pool

NODES = (("h", 1), ("i", 2))


@pytest.mark.parametrize(
    ("url", "meaning", "server"),
    [
        ("redis://", RedisUrl("server", "redis", (("localhost", 6379),)), "redis://localhost:6379?"),
        ("redis://h/2", RedisUrl("server", "redis", (("h", 6379),), db=2), "redis://h:6379?db=2"),
        ("redis://[::1]:7?db=3", RedisUrl("server", "redis", (("::1", 7),), db=3), "redis://[::1]:7?db=3"),
        (
            "rediss://h?ssl_cert_reqs=none",
            RedisUrl("server", "rediss", (("h", 6379),), options={"ssl_cert_reqs": "none"}),
            "rediss://h:6379?ssl_cert_reqs=none",
        ),
        ("unix:///run/a%20b?wait_replicas=1", RedisUrl("server", "unix", (), path="/run/a b", wait_replicas=1),
         "unix:///run/a%20b?"),
        ("redis+cluster://h:1,i:2", RedisUrl("cluster", "redis", NODES), "redis://h:1?"),
        ("rediss+cluster://h:1,i:2", RedisUrl("cluster", "rediss", NODES), "rediss://h:1?"),
        ("redis+sentinel://h:1,i:2/main/4", RedisUrl("sentinel", "redis", NODES, service="main", db=4),
         "redis://h:1?db=4"),
        ("redis+sentinel://h/main", RedisUrl("sentinel", "redis", (("h", 26379),), service="main"),
         "redis://h:26379?"),
    ],
)  # fmt: skip
def test_a_url_means_what_it_says(url: str, meaning: RedisUrl, server: str) -> None:
    assert parse_redis_url(url) == meaning
    assert parse_redis_url(url).server_url() == server


def test_servers_and_sentinels_have_passwords_of_their_own() -> None:
    found = parse_redis_url("redis+sentinel://me:p%40ss@h/main?sentinel_password=q%2Fr")

    assert found.server_url("x", 1) == "redis://me:p%40ss@x:1?"
    assert found.sentinel_url("h", 2) == "redis://:q%2Fr@h:2?"
    assert "p@ss" not in repr(found)
    assert "q/r" not in repr(found)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", r"begins with redis://, rediss://, unix://, redis\+sentinel://"),
        ("redis", "begins with redis://"),
        ("redis://h:port", "a port is a number"),
        ("redis://h:70000", "a port is a number"),
        ("redis://h/db", "the database is a number"),
        ("redis://h,i", r"several hosts are for redis\+sentinel"),
        ("redis://h?socket_timeout=1", "'socket_timeout' is not known; use client_name, db, wait_replicas"),
        ("redis://h?ssl_cert_reqs=none", "'ssl_cert_reqs' is not known"),
        ("redis://h?nonsense", "it is no URL"),
        ("redis://h?wait_replicas=-1", "wait_replicas is a number from 0 to 32"),
        ("redis://h?wait_replicas=33", "wait_replicas is a number from 0 to 32"),
        ("redis+sentinel://h:1", r"name the service .*redis\+sentinel://"),
        ("redis+sentinel://h:1,/main", "a host is missing"),
        ("redis+sentinel://h/main/two", "the database is a number"),
        ("redis+cluster://h/1", "only database 0"),
        ("redis+cluster://", "a host is missing"),
        ("unix://run/s", "the path of a socket"),
        ("unix://", "the path of a socket"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_what_can(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_redis_url(url)


@pytest.mark.parametrize(
    "url", ["redis+sentinel://u:hush@h,i/", "redis+cluster://u:hush@h/1", "redis://u:hush@h?x=1", "redis://u:hush@h:p"]
)
def test_no_refusal_shows_a_password(url: str) -> None:
    with pytest.raises(InvalidRequest) as in_client:
        Connection(url)
    with pytest.raises(ConfigError) as in_file:
        parse_config(f"redis: {{url: '{url}'}}\n" + pool())

    assert "hush" not in f"{in_client.value} {in_file.value}"
    assert "redis.url" in str(in_file.value)


def test_every_password_of_a_url_is_masked() -> None:
    url = "redis+sentinel://u:hush@h:1,i:2/main?sentinel_password=still&wait_replicas=1"

    assert mask_url(url) == "redis+sentinel://•••@h:1,i:2/main?sentinel_password=•••&wait_replicas=1"


async def test_a_client_refuses_a_url_before_it_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_URL", "redis+sentinel://h:1")

    with pytest.raises(InvalidRequest, match="name the service"):
        await AsyncClient().connect()


def test_the_file_says_wait_replicas_once() -> None:
    config = parse_config("redis: {url: 'redis://h/1?client_name=a', wait_replicas: 2}\n" + pool())
    plain = parse_config("redis: {url: 'redis://h'}\n" + pool())

    assert config.redis.address == "redis://h/1?client_name=a&wait_replicas=2"
    assert parse_redis_url(config.redis.address).wait_replicas == 2
    assert plain.redis.address == "redis://h"
    with pytest.raises(ConfigError, match=r"redis.wait_replicas: 2 is not allowed; say it here or in redis.url"):
        parse_config("redis: {url: 'redis://h?wait_replicas=2', wait_replicas: 2}\n" + pool())
