"""What attackers try on the HTTP server, each a test: none of it gets them anything, nor keeps others from working.

Symbolic links in evidence have their tests in `tests/unit/test_evidence.py` and `test_evidence_archive.py`, YAML bombs
in `tests/unit/test_config_bombs.py`, what is tried on logs in `test_secrets_in_logs.py`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import pytest

from pool.access import TokenKeeper
from pool.api.routing import ROUTES, Access, Route
from pool.audit import Reader
from pool.errors import ConfigError, OwnerQueueFull
from pool.leases import LeaseRef
from pool.store import ACCESS, Connection, TokenStore
from tests.support import eventually, wish
from tests.support_access import Site, open_site, own_redis

HTTP = {"auth_failures_per_minute": 100_000}


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with own_redis() as url, open_site(url, "a", "b", http=HTTP) as site:
        yield site


def routes(site: Site) -> list[Route]:
    assert site.server._runner is not None
    app = site.server._runner.app
    return [route for route in app[ROUTES] if "{rest" not in route.path and not route.path.startswith("/c/")]


def path_of(route: Route, site: Site) -> str:
    names = {"{pool}": site.pool, "{id}": "a", "{label}": "x", "{bundle}": "x"}
    path = route.path
    for name, value in names.items():
        path = path.replace(name, value)
    return path


async def closed(site: Site) -> None:
    """Wait until the server has seen that there is a token."""

    async def refuses() -> bool:
        return (await site.ask("GET", "/v1/pools"))[0] == 401

    await eventually(refuses)


# Tokens


async def test_every_route_asks_for_what_it_says(site: Site) -> None:
    operator, client = await site.token("boss", role="operator"), await site.token("ci")
    await closed(site)
    nobodys = LeaseRef(site.pool, "a", 1, "x" * 32).sealed()

    seen: dict[Access, set[tuple[int, ...]]] = {}
    for route in routes(site):
        tokens = ["", nobodys, client] + [operator] * (route.method == "GET" and route.access is not Access.LEASE)
        if route.path == "/v1/events":
            tokens.remove(operator)  # it would go on for ever
        statuses = [(await site.ask(route.method, path_of(route, site), token=token))[0] for token in tokens]
        seen.setdefault(route.access, set()).add(tuple(status if status in (401, 403) else 0 for status in statuses))

    assert {row[:3] for row in seen[Access.OPERATOR]} == {(401, 401, 403)}
    assert {row[:3] for row in seen[Access.CLIENT]} == {(401, 401, 0)}
    assert {row[:3] for row in seen[Access.LEASE]} == {(401, 0, 401)}
    assert {row[:3] for row in seen[Access.PUBLIC]} == {(0, 0, 0)}
    assert not [row for rows in seen.values() for row in rows if row[3:] not in ((), (0,))]


async def test_all_tokens_that_are_not_valid_are_refused_alike(site: Site) -> None:
    good = await site.token("good")
    revoked, expired = await site.token("revoked"), await site.token("expired", expires_days=1e-9)
    keeper = TokenKeeper(TokenStore(site.connection))
    await keeper.revoke("revoked")
    await closed(site)
    other = await site.token("other")
    wrong = [
        revoked, expired, "cpt_0123456789ab_" + "a" * 43, good[:-1], good + "a", good.upper(), good[:17] + other[17:],
        "x", "cpt_", "é" * 20, good.replace("cpt_", "cpl_"), f"{good} {good}", f"{good},{good}", "null", "0" * 4000,
    ]  # fmt: skip

    answers = []
    for token in wrong:
        status, body = await site.ask("GET", "/v1/pools", headers={"Authorization": f"Bearer {token}"})
        answers.append((status, body["code"], body["detail"]))

    assert set(answers) == {(401, "unauthenticated", "the token is not valid")}
    assert (await site.ask("GET", "/v1/pools", token=good))[0] == 200
    async with site.http.get(site.url + "/v1/pools") as response:
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_token_elsewhere_than_in_its_header_opens_nothing(site: Site) -> None:
    token = await site.token(role="operator")
    await closed(site)

    places: list[tuple[str, dict[str, str]]] = [
        (f"/v1/pools?token={token}", {}),
        (f"/v1/pools?access_token={token}", {}),
        ("/v1/pools", {"Cookie": f"token={token}"}),
        ("/v1/pools", {"X-Api-Key": token}),
        ("/v1/pools", {"Proxy-Authorization": f"Bearer {token}"}),
        ("/v1/pools", {"Authorization": f"Basic {base64.b64encode(token.encode()).decode()}"}),
        ("/v1/pools", {"Authorization": token}),
    ]
    statuses = [(await site.ask("GET", path, headers=headers))[0] for path, headers in places]

    assert set(statuses) == {401}


async def test_a_revoked_token_is_refused_within_about_a_second_by_every_server(site: Site) -> None:
    token = await site.token("ci")
    async with open_site(site.redis_url, http=HTTP) as other:
        for each in (site, other):
            assert (await each.ask("GET", "/v1/pools", token=token))[0] == 200

        await TokenKeeper(TokenStore(site.connection)).revoke("ci")

        for each in (site, other):

            async def refuses(each: Site = each) -> bool:
                return (await each.ask("GET", "/v1/pools", token=token))[0] == 401

            await eventually(refuses, deadline_s=5)


async def test_a_server_that_saw_a_token_stays_closed_whatever_redis_loses(site: Site) -> None:
    await site.token()
    await closed(site)

    async with site.connection.plain() as redis:
        await redis.delete("cp:tokens")

    assert (await site.ask("GET", "/v1/pools"))[0] == 401


async def test_who_guesses_has_to_wait_and_who_holds_a_token_does_not(redis_url: str) -> None:
    async with own_redis() as url, open_site(url, "a", http={"auth_failures_per_minute": 10}) as site:
        token, fresh = await site.token("old"), await site.token("fresh")
        assert (await site.ask("GET", "/v1/pools", token=token))[0] == 200
        status, lease = await site.lease(token)
        assert status == 201

        guesses = [await site.ask("GET", "/v1/pools", token=f"cpt_{n:012x}_" + "a" * 43) for n in range(20)]

        assert [status for status, _ in guesses] == [401] * 10 + [429] * 10
        assert guesses[-1][1]["code"] == "too_many_failures"
        assert 0 < guesses[-1][1]["retry_after_s"] <= 60
        assert (await site.ask("GET", "/v1/pools", token=fresh))[0] == 429
        assert (await site.ask("GET", "/v1/pools", token=token))[0] == 200
        beat = await site.ask("POST", f"/v1/leases/{lease['id']}/heartbeat", token=lease["token"])
        assert beat[0] == 200


async def test_guessing_is_audited_but_cannot_flood_the_audit(site: Site) -> None:
    await site.token()
    await closed(site)

    for _ in range(100):
        await site.ask("GET", "/v1/pools", token="wrong")

    denied = [entry for entry in await Reader(site.connection, [ACCESS]).read() if entry["type"] == "access.denied"]
    assert 1 <= len(denied) <= 60
    assert {entry["facts"]["address"] for entry in denied} == {"127.0.0.1"}
    assert "wrong" not in json.dumps(denied)


async def test_what_a_client_may_not_do_is_audited_with_its_name(site: Site) -> None:
    token = await site.token("mallory", owner="mallory")

    await site.ask("POST", "/v1/containers/a/quarantine", token=token, json={"reason": "why not"})
    await site.lease(token, owner="alice")

    entries = [entry for entry in await Reader(site.connection, [ACCESS]).read() if entry["who"] == "mallory"]
    assert [(entry["type"], entry["what"]) for entry in entries] == [
        ("access.forbidden", "POST /v1/containers/{id}/quarantine"),
        ("access.forbidden", "POST /v1/leases"),
    ]


# Owners and limits


@pytest.mark.parametrize("owner", ["Bob", "bob2", "alice", "bоb", "ｂob", "bo", "bobby/x", "Bob/run", "BOB", "bob\\x"])
async def test_a_bound_token_gets_nothing_for_another_owner(redis_url: str, owner: str) -> None:
    async with own_redis() as url, open_site(url, "a", http=HTTP) as site:
        token = await site.token(owner="bob")

        status, body = await site.lease(token, owner=owner)

        assert (status, body["code"]) == (403, "forbidden")
        assert (await site.lease(token))[1]["owner"] == "bob"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "bob\n"), ("owner", "bob\u200b"), ("owner", "bob/\u202ex"), ("owner", "bob/\x1b[31m"), ("owner", ""),
        ("owner", "bob/" + "x" * 300), ("owner", "\ud800"), ("request_id", "a/b"), ("request_id", "a\nb"),
        ("request_id", "é"), ("request_id", "a}b"), ("request_id", ".."), ("request_id", ""), ("request_id", "a" * 129),
        ("pool", "cp:{x}"), ("pool", "../x"), ("pool", "A"), ("pool", "web\u200b"), ("pool", "~access"),
        ("label", "a\u2028b"), ("priority", "Critical\x00"), ("wait_s", 1e400), ("wait_s", -1), ("ttl_s", "1"),
        ("request_id", {"$ne": ""}), ("owner", ["bob"]), ("metadata", {"a": "x" * 20_000}), ("nonsense", 1),
    ],
)  # fmt: skip
async def test_tricks_in_ids_and_owners_are_refused_by_name(shared: Site, field: str, value: object) -> None:
    body = {"pool": shared.pool, "wait_s": 0, field: value}
    headers = {"Content-Type": "application/json"}

    async with shared.http.post(shared.url + "/v1/leases", data=json.dumps(body), headers=headers) as response:
        problem = await response.json(content_type=None)

    assert response.status in (400, 404, 422), problem
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.status != 422 or problem["field"].split(".")[0] in (field, "body")
    assert all(character.isprintable() for character in problem["detail"])


async def test_a_bound_token_neither_sees_nor_touches_what_others_have(site: Site) -> None:
    boss, bob = await site.token("boss", role="operator"), await site.token("bob", owner="bob")
    await closed(site)
    _, theirs = await site.lease(boss, owner="alice", request_id="hers", metadata={"secret": "plan"})
    await site.lease(boss, owner="alice", request_id="hers-2")
    status, _ = await site.lease(boss, owner="alice", request_id="waiting", wait_s=0.1)
    assert status == 202

    shown = [await site.ask("GET", path, token=bob) for path in (
        "/v1/pools", f"/v1/pools/{site.pool}", f"/v1/pools/{site.pool}/queue", "/v1/containers", "/v1/containers/a",
    )]  # fmt: skip
    touched = [
        await site.ask("GET", f"/v1/requests/waiting?pool={site.pool}&wait_s=0", token=bob),
        await site.ask("GET", "/v1/requests/waiting?wait_s=0", token=bob),
        await site.ask("DELETE", f"/v1/requests/waiting?pool={site.pool}", token=bob),
        await site.ask("GET", f"/v1/pools/{site.pool}/requests/waiting", token=bob),
        await site.lease(bob, owner="bob", request_id="waiting"),
        await site.ask("DELETE", "/v1/leases/hers", token=bob),
    ]

    assert {status for status, _ in shown} == {200}
    assert not [
        word for word in ("alice", "hers", "waiting", "plan") if word in json.dumps([body for _, body in shown])
    ]
    assert [status for status, _ in touched] == [403, 404, 403, 403, 409, 401]
    assert len((await site.store.status()).queue) == 1
    assert theirs["owner"] == "alice"


async def test_a_token_of_one_pool_uses_no_other(site: Site) -> None:
    async with open_site(site.redis_url, "c", http=HTTP) as other:
        token = await site.token(pools=[site.pool])

        wrong = [
            await site.lease(token, pool=other.pool),
            await site.ask("GET", f"/v1/pools/{other.pool}", token=token),
            await site.ask("GET", "/v1/containers/c", token=token),
            await site.ask("POST", "/v1/bundles", token=token, json={"pools": {site.pool: 1, other.pool: 1}}),
        ]
        _, pools = await site.ask("GET", "/v1/pools", token=token)

        assert [status for status, _ in wrong] == [403, 403, 404, 403]
        assert [pool["pool"] for pool in pools["pools"]] == [site.pool]
        assert (await site.lease(token))[0] == 201


async def test_a_token_holds_no_more_than_it_may_under_whatever_names(redis_url: str) -> None:
    async with own_redis() as url, open_site(url, *(f"c{n}" for n in range(12)), http=HTTP) as site:
        token = await site.token(owner="ci", max_leases=3)

        answers = await asyncio.gather(*(site.lease(token, owner=f"ci/{number}") for number in range(12)))

        assert sorted(status for status, _ in answers) == [201] * 3 + [429] * 9
        refused = next(body for status, body in answers if status == 429)
        assert refused["code"] == "owner_lease_limit_reached"
        assert refused["retry_after_s"] > 0
        lease = next(body for status, body in answers if status == 201)
        assert (await site.ask("DELETE", f"/v1/leases/{lease['id']}", token=lease["token"]))[0] == 204
        assert (await site.lease(token))[0] == 201


async def test_a_token_has_no_more_in_the_queue_than_it_may(site: Site) -> None:
    token = await site.token(owner="ci", max_queued=2)
    for _ in range(2):
        assert (await site.lease(token))[0] == 201

    answers = await asyncio.gather(*(site.lease(token, owner=f"ci/{n}", wait_s=0.2) for n in range(8)))

    assert sorted(status for status, _ in answers) == [202] * 2 + [429] * 6


@pytest.mark.timeout(300)
async def test_ten_thousand_requests_of_one_owner_keep_nobody_else_from_working(redis_url: str) -> None:
    async with own_redis() as url, open_site(url, "a", "b", http=HTTP, max_queued_per_owner=1000) as site:
        for name in ("h1", "h2"):
            await site.store.acquire(wish(name, timeout_s=600.0, ttl_s=600.0))
        refused = 0
        turns = asyncio.Semaphore(64)

        async def ask(number: int) -> None:
            nonlocal refused
            async with turns:
                try:
                    await site.store.acquire(wish(f"r{number}", owner="greedy", wait_s=300.0))
                except OwnerQueueFull:
                    refused += 1

        flood = asyncio.gather(*(ask(number) for number in range(10_000)))
        slowest_s = 0.0
        while not flood.done():
            began = time.monotonic()
            status, _ = await site.ask("GET", "/healthz")
            slowest_s = max(slowest_s, time.monotonic() - began)
            assert status == 200
            await asyncio.sleep(0.05)
        await flood

        status, queue = await site.ask("GET", f"/v1/pools/{site.pool}/queue")
        other, _ = await site.lease(owner="modest", wait_s=0.1)
        assert refused == 9000
        assert (status, len(queue["queue"])) == (200, 1000)
        assert other == 202
        assert slowest_s < 10


# Names and pages


@pytest.fixture
async def shared(redis_url: str) -> AsyncIterator[Site]:
    """A server without tokens, on which nothing is left behind."""
    async with open_site(redis_url, "a", "b", http=HTTP) as site:
        yield site


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "evil.example:8700", "", "localhost@evil"]
)
async def test_a_page_whose_name_was_pointed_to_us_gets_nothing(shared: Site, host: str) -> None:
    status, body = await shared.ask("GET", "/v1/pools", headers={"Host": host})

    assert (status, body["code"]) == (421, "host_unknown")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_site_changes_nothing_even_where_nobody_needs_a_token(
    shared: Site, headers: dict[str, str]
) -> None:
    status, body = await shared.ask("POST", "/v1/containers/a/quarantine", json={"reason": "x"}, headers=headers)
    drained, _ = await shared.ask("POST", f"/v1/pools/{shared.pool}/drain", headers=headers)

    assert (status, body["code"], drained) == (403, "origin_foreign", 403)
    assert not (await shared.store.status()).draining


async def test_a_form_of_another_site_cannot_even_be_read(shared: Site) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        async with shared.http.post(
            shared.url + "/v1/leases", data=f'{{"pool":"{shared.pool}"}}', headers={"Content-Type": kind}
        ) as response:
            assert response.status == 415


async def test_no_answer_lets_another_site_read_it(shared: Site) -> None:
    origin = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method, path in [("GET", "/v1/pools"), ("OPTIONS", "/v1/leases"), ("GET", "/nothing"), ("GET", "/docs")]:
        async with shared.http.request(method, shared.url + path, headers=origin) as response:
            names = {name.lower() for name in response.headers}
            assert not [name for name in names if name.startswith("access-control")]
            assert {"content-security-policy", "x-content-type-options", "referrer-policy"} <= names
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


# Bodies and connections


@pytest.mark.parametrize(
    "body",
    [
        b"{" * 60_000,
        b"[" * 60_000 + b"]" * 100,
        b'{"wait_s": ' + b"9" * 60_000 + b"}",
        b'{"owner": "\xff\xfe"}',
        b"\x00" * 1000,
        b"",
        b"null",
        b'{"pool": 1, "pool": 2}',
        b"NaN",
    ],
)
async def test_a_body_that_is_nonsense_is_refused(shared: Site, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}

    async with shared.http.post(shared.url + "/v1/leases", data=body, headers=headers) as response:
        assert response.status in (400, 422)


async def test_a_body_that_is_too_long_is_not_read_to_its_end(shared: Site) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 65_536
            yield b"x" * 65_536

    headers = {"Content-Type": "application/json"}
    try:
        async with shared.http.post(shared.url + "/v1/leases", data=endless(), headers=headers) as response:
            assert response.status == 413
    except aiohttp.ClientError:
        pass  # the server closed while we were still sending, which is an answer, too

    assert sent < 50_000_000
    assert (await shared.ask("GET", "/healthz"))[0] == 200


@asynccontextmanager
async def idle(site: Site, count: int, said: bytes) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Many connections that say the beginning of a request, and then nothing."""
    host, port = site.url.removeprefix("http://").split(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(count)]
    try:
        for _, writer in opened:
            writer.write(said)
            await writer.drain()
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            with closing(writer):
                writer.transport.abort()


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_thousand_connections_that_say_nothing_keep_nobody_from_being_served(shared: Site, said: bytes) -> None:
    async with idle(shared, 1000, said):
        statuses = [(await shared.ask("GET", "/v1/pools"))[0] for _ in range(5)]
        lease, _ = await shared.lease()

    assert statuses == [200] * 5
    assert lease == 201


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "])
async def test_a_connection_whose_request_does_not_come_is_closed(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    monkeypatch.setattr("pool.api.server.HEAD_TIMEOUT_S", 0.2)
    async with open_site(redis_url) as site, idle(site, 3, said) as readers, asyncio.timeout(20):
        assert [await reader.read() for reader in readers] == [b"", b"", b""]


async def test_a_body_that_does_not_come_is_not_waited_for(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.api.security.BODY_TIMEOUT_S", 0.2)
    said = (
        b"POST /v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\nConnection: close\r\n\r\n{"
    )
    async with open_site(redis_url) as site, idle(site, 1, said) as [reader], asyncio.timeout(20):
        answer = await reader.readuntil(b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 408")


# Starting


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_a_server_that_others_can_reach_does_not_start_without_tokens(host: str) -> None:
    async with own_redis() as url:
        with pytest.raises(ConfigError) as raised:
            async with open_site(url, http={"host": host}):
                raise AssertionError("it started")

    assert f"http.host: '{host}'" in raised.value.message
    assert "poolctl token create" in raised.value.hint


async def test_with_a_token_it_does_and_asks_for_one(redis_url: str) -> None:
    async with own_redis() as url:
        connection = Connection(url)
        _, token = await TokenKeeper(TokenStore(connection)).create("boss", role="operator")
        await connection.close()
        async with open_site(url, http={"host": "0.0.0.0"}) as site:
            site.url = site.url.replace("0.0.0.0", "127.0.0.1")

            statuses = [(await site.ask("GET", "/v1/pools", token=each))[0] for each in ("", token)]

    assert statuses == [401, 200]


async def test_a_server_with_a_certificate_speaks_https_only(redis_url: str, tmp_path: Path) -> None:
    make = await asyncio.create_subprocess_exec(
        *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"],
        *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await make.wait() == 0
    http = {"tls_cert": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}
    trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with open_site(redis_url, http=http) as site:
        async with site.http.get(site.url + "/healthz", ssl=trusted) as response:
            assert response.status == 200
            assert "max-age" in response.headers["Strict-Transport-Security"]
        with pytest.raises(aiohttp.ClientError):
            await site.http.get(site.url + "/healthz")
        with pytest.raises(aiohttp.ClientError):
            await site.http.get(site.url.replace("https", "http") + "/healthz")
