"""What only a client over HTTP meets: connections that break, servers that come and go, tokens, certificates."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web

from pool.access import TokenKeeper
from pool.client import AsyncClient
from pool.client.http.backend import OverHttp
from pool.errors import (
    AcquireTimeout,
    ClientClosed,
    Forbidden,
    InvalidRequest,
    StoreUnavailable,
    StoreUnsupported,
    Unauthenticated,
    WrongState,
)
from pool.models import State
from pool.store import PoolStore, TokenStore, read_events
from tests.clients import api_server
from tests.contract.books import queued, state
from tests.proxy import Proxy
from tests.support import add_available, eventually, settings


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of a server."""
    async with api_server(redis_url) as server, Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(proxy.url, owner="tester", patience_s=20) as client:
        yield client


async def leases_of(store: PoolStore) -> int:
    return (await store.status()).count(State.ALLOCATED)


async def polls(proxy: Proxy, request_id: str, before: int) -> bool:
    """Whether a request was asked about more often than before."""
    return proxy.count(f"GET /v1/requests/{request_id}?") > before


# Connections


async def test_calls_one_after_the_other_share_a_connection(
    proxy: Proxy, client: AsyncClient, store: PoolStore
) -> None:
    for _ in range(10):
        async with await client.acquire(store.pool):
            await client.status(store.pool)

    assert proxy.accepted <= 2, "a heartbeat may fall between two of them"
    assert len(proxy.calls) >= 30


async def test_one_heartbeat_keeps_fifty_leases(proxy: Proxy, client: AsyncClient, store: PoolStore) -> None:
    await add_available(store, *(f"c{number}" for number in range(49)))
    leases = [await client.acquire(store.pool, ttl_s=60) for _ in range(50)]
    before = [record.expires_at or 0 for record in (await store.status()).containers]
    beats = proxy.count("POST /v1/heartbeats")

    async def all_renewed() -> bool:
        after = [record.expires_at or 0 for record in (await store.status()).containers]
        return all(later > earlier for earlier, later in zip(before, after, strict=True))

    await eventually(all_renewed, deadline_s=20)
    assert 1 <= proxy.count("POST /v1/heartbeats") - beats <= 3, "by the clock, not by the number of leases"
    assert proxy.count("POST /v1/leases/") == 0
    await asyncio.gather(*(lease.release() for lease in leases))


async def test_waiting_polls_seldom(proxy: Proxy, client: AsyncClient, store: PoolStore) -> None:
    async with await client.acquire(store.pool):
        begun_at, calls = time.monotonic(), len(proxy.calls)

        with pytest.raises(AcquireTimeout):
            await client.acquire(store.pool, wait_s=1.5)

        assert time.monotonic() - begun_at > 1.4
        waited = [call for call in proxy.calls[calls:] if "heartbeat" not in call]
        assert [call.split("?")[0].rsplit("/", 1)[0] for call in waited[:2]] == ["POST /v1", "GET /v1/requests"]
        assert len(waited) <= 3


async def test_an_answer_that_is_lost_costs_neither_lease_nor_a_second_one(
    proxy: Proxy, client: AsyncClient, store: PoolStore
) -> None:
    await add_available(store, "b")
    proxy.swallowed = 2

    lease = await client.acquire(store.pool, timeout_s=100)

    assert proxy.count("POST /v1/leases") == 3
    assert await leases_of(store) == 1
    proxy.swallowed = 1
    await lease.extend(10, reason="slow")
    assert lease.data.extensions_used == 1
    proxy.swallowed = 1
    await lease.release()
    assert await state(store, lease.container.id) is State.AVAILABLE
    events = [event.type for event in await read_events(store.connection, store.pool)]
    assert (events.count("lease.granted"), events.count("lease.extended"), events.count("lease.released")) == (1, 1, 1)


async def test_what_may_have_been_done_is_not_asked_for_twice(
    proxy: Proxy, client: AsyncClient, store: PoolStore
) -> None:
    proxy.swallowed = 1

    with pytest.raises(StoreUnavailable, match="it may have been done"):
        await client.reset(store.pool, "a")

    assert await state(store) is State.RESETTING
    with pytest.raises(WrongState):
        await client.reset(store.pool, "a")


async def test_a_waiter_whose_connection_breaks_keeps_its_place(
    proxy: Proxy, client: AsyncClient, store: PoolStore
) -> None:
    held = await client.acquire(store.pool)
    waiting = []
    for name in ("r1", "r2"):
        waiting.append(asyncio.create_task(client.acquire(store.pool, wait_s=60, request_id=name)))
        await eventually(functools.partial(polls, proxy, name, 0))
    asked = proxy.count("GET /v1/requests/r1?")

    for _ in range(3):
        proxy.cut()

        await eventually(functools.partial(polls, proxy, "r1", asked))
        asked = proxy.count("GET /v1/requests/r1?")

    assert [entry.request_id for entry in (await store.status()).queue] == ["r1", "r2"]
    await held.release()
    for task in waiting:
        await (await task).release()


async def test_a_bundle_whose_connection_breaks_is_given_back_and_asked_for_anew(
    proxy: Proxy, client: AsyncClient, store: PoolStore
) -> None:
    await add_available(store, "b")
    held = await client.acquire(store.pool)
    waiting = asyncio.create_task(client.acquire_many({store.pool: 2}, wait_s=60, request_id="both"))
    await eventually(lambda: queued(store, 1))

    proxy.cut()

    async def asked_anew() -> bool:
        return proxy.count("POST /v1/bundles") == 2 and await queued(store, 1)

    await eventually(asked_anew)
    await held.release()
    async with await waiting as bundle:
        assert sorted(lease.container.id for lease in bundle) == ["a", "b"]
        assert {lease.request_id for lease in bundle} == {"both~.1", "both~.2"}


async def test_a_wait_that_begins_while_the_client_closes_ends_at_once(client: AsyncClient) -> None:
    backend = client._open()
    assert isinstance(backend, OverHttp)
    await client.close()

    with pytest.raises(ClientClosed):
        await backend.keeper.wait_for(asyncio.sleep(600))


# Servers


async def test_a_restarted_server_costs_neither_who_waits_nor_who_holds(redis_url: str, store: PoolStore) -> None:
    await store.open(settings(ttl_s=3, claim_ttl_s=3, on_release="none"), "x")
    async with Proxy() as proxy, AsyncExitStack() as stack:
        async with api_server(redis_url) as first:
            proxy.target = first.url
            client = await stack.enter_async_context(AsyncClient(proxy.url, owner="tester"))
            held = await client.acquire(store.pool, timeout_s=300)
            waiting = asyncio.create_task(client.acquire(store.pool, wait_s=60, request_id="patient"))
            await eventually(lambda: queued(store, 1))
            [place] = (await store.status()).queue
        proxy.target = ""
        assert await queued(store, 1), "a server that ends leaves who waits in the queue"

        async with api_server(redis_url) as second:
            proxy.target = second.url
            expires_at = (await store.status()).containers[0].expires_at or 0

            async def renewed() -> bool:
                assert await store.reap() == (0, 0, 0)
                return ((await store.status()).containers[0].expires_at or 0) > expires_at

            await eventually(renewed)
            held.check()
            [same] = (await store.status()).queue
            assert (same.request_id, same.waited_s > place.waited_s) == ("patient", True)
            await held.release()
            lease = await waiting
            assert lease.fence > held.fence
            await lease.release()
            await stack.aclose()


async def test_a_holder_cut_off_from_the_server_counts_its_lease_as_lost_before_redis_does(
    proxy: Proxy, client: AsyncClient, store: PoolStore
) -> None:
    lease = await client.acquire(store.pool)
    proxy.target = ""
    proxy.cut()

    async def lost() -> bool:
        return lease.lost

    await eventually(lost)
    status = await store.status()
    assert status.at < (status.containers[0].expires_at or 0)


async def test_a_server_that_is_away_is_an_error_that_names_it() -> None:
    async with Proxy() as gone:
        url = gone.url

    with pytest.raises(StoreUnavailable, match=url) as caught:
        await AsyncClient(url).connect()

    assert "POOL_URL" in caught.value.hint


async def test_something_else_that_speaks_http_is_told_apart() -> None:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/v1/pools", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        with pytest.raises(StoreUnsupported, match="answered 200, without a word"):
            await AsyncClient(url).connect()
        with pytest.raises(StoreUnsupported, match="answered 404"):
            await AsyncClient(url + "/elsewhere/").connect()
    finally:
        await runner.cleanup()


# Tokens


@pytest.fixture
async def keeper(store: PoolStore) -> AsyncIterator[TokenKeeper]:
    """Makes tokens; afterwards it is as if none was ever made."""
    yield TokenKeeper(TokenStore(store.connection))
    async with store.connection.plain() as redis:
        await redis.delete("cp:tokens")


async def test_without_a_valid_token_nothing_is_told(
    proxy: Proxy, store: PoolStore, keeper: TokenKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = await keeper.create("ci", role="client", by="test")
    for wrong in (None, "cpt_nonsense", token[:-1] + ("a" if token[-1] != "a" else "b")):
        with pytest.raises(Unauthenticated) as caught:
            await AsyncClient(proxy.url, token=wrong).connect()
        assert caught.value.hint
        assert wrong is None or wrong not in str(caught.value) + caught.value.hint

    monkeypatch.setenv("POOL_TOKEN", token)
    async with AsyncClient(proxy.url) as client, await client.acquire(store.pool) as lease:
        assert lease.data.owner == "ci"


async def test_a_client_may_not_do_what_an_operator_may(proxy: Proxy, store: PoolStore, keeper: TokenKeeper) -> None:
    _, token = await keeper.create("ci", role="client", by="test")
    async with AsyncClient(proxy.url, token=token) as client:
        for order in (client.reset, client.drain, client.restore, client.resume):
            with pytest.raises(Forbidden):
                await order(store.pool, "a")
    _, operator = await keeper.create("ops", role="operator", by="test")
    async with AsyncClient(proxy.url, token=operator) as client:
        await client.reset(store.pool, "a")


async def test_a_token_that_is_bound_to_an_owner_asks_for_that_one(
    proxy: Proxy, store: PoolStore, keeper: TokenKeeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, token = await keeper.create("ci", role="client", owner="team-a", by="test")
    file = tmp_path / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("POOL_TOKEN_FILE", str(file))
    async with AsyncClient(proxy.url) as client:
        async with await client.acquire(store.pool) as lease:
            assert lease.data.owner == "team-a"
        async with await client.acquire(store.pool, owner="team-a/run-1") as lease:
            assert lease.data.owner == "team-a/run-1"
        with pytest.raises(Forbidden):
            await client.acquire(store.pool, owner="team-b")


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback that signs itself, and its key."""
    directory = tmp_path_factory.mktemp("tls")
    cert, key = directory / "cert.pem", directory / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


async def test_a_certificate_is_checked_unless_its_file_or_its_user_says_otherwise(
    redis_url: str, store: PoolStore, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate
    async with api_server(redis_url, tls_cert=str(cert), tls_key=str(key)) as server:
        assert server.url.startswith("https://")
        with pytest.raises(StoreUnavailable, match="not to be trusted") as caught:
            await AsyncClient(server.url).connect()
        assert "POOL_CA_FILE" in caught.value.hint

        async with AsyncClient(server.url, ca_file=cert) as client, await client.acquire(store.pool):
            assert store.pool in await client.pools()
        async with AsyncClient(server.url, verify=False) as client:
            assert store.pool in await client.pools()
        monkeypatch.setenv("POOL_CA_FILE", str(cert))
        async with AsyncClient(server.url) as client:
            assert store.pool in await client.pools()
        with pytest.raises(InvalidRequest, match="ca_file"):
            await AsyncClient(server.url, ca_file=cert.parent / "none.pem").connect()
