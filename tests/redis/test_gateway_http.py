"""HTTP through the gateway: what arrives at the container, and at the client, byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from tests.support_gateway import Bench, echo, gateway_bench, got, serving

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with gateway_bench(redis_url) as bench:
        yield bench


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_arrives(bench: Bench, method: str) -> None:
    seen = []

    async def note(request: web.Request) -> web.StreamResponse:
        seen.append((request.method, await request.read()))
        return web.Response(text="seen", headers={"X-Seen": "1"})

    async with serving(note) as port:
        await bench.add(port)
        url = bench.url(await bench.lease(), "/x")
        body = b"body" if method in ("POST", "PUT", "PATCH", "PROPFIND", "DELETE") else None

        async with bench.session.request(method, url, data=body) as answer:
            text = await answer.text()

    assert (answer.status, answer.headers["X-Seen"]) == (200, "1")
    assert answer.headers["Content-Length"] == "4"
    assert text == ("" if method == "HEAD" else "seen")
    assert seen == [(method, body or b"")]


@pytest.mark.parametrize(
    "path",
    [
        "/", "/a%2Fb", "//double//slash", "/%2e%2e/up", "/a/../b", "/../../v1/pools", "/;p=1", "/%00", "/x?a=b&&c=%zz",
        "/x?a?b", "/x?next=http://elsewhere/", "/_ports/1", "/c/cpl_x/y", "/@evil.example/x", "//evil.example/x",
        "/http://evil.example/", "/%5fport/9222/x",
    ],
)  # fmt: skip
async def test_path_and_query_arrive_as_they_were_written(bench: Bench, path: str) -> None:
    async with serving(echo) as port:
        await bench.add(port)
        url = URL(bench.url(await bench.lease(), path), encoded=True)

        async with bench.session.get(url) as answer:
            seen = await answer.json()

    assert seen["path"] == path
    assert got(seen["headers"], "host") == [f"127.0.0.1:{port}"]


async def test_headers_go_on_but_for_those_of_one_connection_and_those_of_ours(bench: Bench) -> None:
    async with serving(echo) as port:
        await bench.add(port)
        lease = await bench.lease()
        token = bench.url(lease).rsplit("/", 1)[1]
        sent = {
            "Connection": "keep-alive, X-Private", "X-Private": "1", "Keep-Alive": "5", "TE": "trailers",
            "Proxy-Authorization": "Basic x", "X-Forwarded-For": "6.6.6.6", "X_Forwarded_Proto": "gopher",
            "X-Forwarded-Anything": "1", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6",
            "Authorization": "Bearer cpt_0123456789abcdef0123", "X-Note": f"mine is {token}",
            "Cookie": "session=tenant", "X-Kept": "yes", "Origin": bench.server.url,
            "Referer": bench.url(lease, "/page?x=1"),
        }  # fmt: skip

        async with bench.session.post(bench.url(lease, "/x"), headers=sent, data=b"1") as answer:
            seen = (await answer.json())["headers"]

    names = {name.lower() for name, _ in seen}
    assert not names & {"x-private", "keep-alive", "te", "proxy-authorization", "authorization", "x-note", "forwarded"}
    assert not names & {"x-real-ip", "x-forwarded-anything", "x_forwarded_proto"}
    assert got(seen, "cookie") == ["session=tenant"]
    assert got(seen, "x-kept") == ["yes"]
    assert got(seen, "x-forwarded-for") == ["127.0.0.1"]
    assert got(seen, "x-forwarded-proto") == ["http"]
    assert got(seen, "x-forwarded-host") == [bench.server.url.removeprefix("http://")]
    assert got(seen, "origin") == [f"http://127.0.0.1:{port}"]
    assert got(seen, "referer") == [f"http://127.0.0.1:{port}/page?x=1"]
    assert token not in str(seen)


async def test_a_password_for_the_container_goes_on(bench: Bench) -> None:
    async with serving(echo) as port:
        await bench.add(port)

        async with bench.session.get(
            bench.url(await bench.lease(), "/"), headers={"Authorization": "Basic eA=="}
        ) as answer:
            seen = (await answer.json())["headers"]

    assert got(seen, "authorization") == ["Basic eA=="]


@pytest.mark.parametrize(
    ("rules", "host", "origin"),
    [
        ({"host_header": "localhost:{port}"}, "localhost:3000", "http://localhost:3000"),
        ({"host_header": "localhost", "origin": "keep"}, "localhost", "https://page.example"),
        ({"host_header": "original", "origin": "remove"}, "{gateway}", None),
    ],
)
async def test_host_and_origin_are_what_the_pool_says(
    bench: Bench, rules: dict[str, Any], host: str, origin: str | None
) -> None:
    async with serving(echo) as port:
        await bench.add(port, **rules)
        url = bench.url(await bench.lease(), "/")

        async with bench.session.get(url, headers={"Origin": "https://page.example"}) as answer:
            seen = (await answer.json())["headers"]

    assert got(seen, "host") == [host.format(gateway=bench.server.url.removeprefix("http://"))]
    assert got(seen, "origin") == ([origin] if origin else [])


async def test_a_port_is_chosen_among_the_configured_ones_only(bench: Bench) -> None:
    async def name(request: web.Request) -> web.StreamResponse:
        return web.Response(
            text=f"{request.transport and request.transport.get_extra_info('sockname')[1]} {request.path}"
        )

    async with serving(name) as first, serving(name) as second, serving(name) as other:
        await bench.add(first, second)
        lease = await bench.lease()

        for path, status, text in [
            ("/x", 200, f"{first} /x"),
            ("/_port/3001/x", 200, f"{second} /x"),
            ("/_port/3001/", 200, f"{second} /"),
            (f"/_port/{other}/x", 404, "port_unknown"),
            (f"/_port/{second}/x", 404, "port_unknown"),
            ("/_port/70000/x", 404, "port_unknown"),
            ("/_port/x/x", 404, "port_unknown"),
            ("/_port//x", 404, "port_unknown"),
            ("/_port/3001@evil.example:80/x", 404, "port_unknown"),
            ("/_port/03001/x", 404, "port_unknown"),
        ]:
            async with bench.session.get(URL(bench.url(lease, path), encoded=True)) as answer:
                assert (answer.status, text in await answer.text()) == (status, True), path


async def test_a_url_without_a_slash_leads_a_browser_to_the_one_with(bench: Bench) -> None:
    async with serving(echo) as port:
        await bench.add(port, port)
        lease = await bench.lease()

        for path in ("", "/_port/3001"):
            async with bench.session.get(bench.url(lease, path), allow_redirects=False) as answer:
                assert answer.status == 308
                assert bench.server.url + answer.headers["Location"] == bench.url(lease, path) + "/"
        async with bench.session.post(bench.url(lease, "?a=1"), data=b"x") as answer:
            assert (await answer.json())["path"] == "/?a=1"


async def test_places_in_the_container_are_told_as_clients_reach_them(bench: Bench) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async with serving(redirect) as port:
        await bench.add(port, port + 1, host_header="localhost:{port}")
        lease = await bench.lease()
        prefix = bench.url(lease).removeprefix(bench.server.url)
        for to, expected in [
            ("/login?x=1", f"{prefix}/login?x=1"),
            (f"http://127.0.0.1:{port}/a", f"{prefix}/a"),
            ("http://localhost:3000", f"{prefix}/"),
            (f"//127.0.0.1:{port}/a", f"{prefix}/a"),
            (f"http://127.0.0.1:{port + 1}/b", f"{prefix}/_port/3001/b"),
            ("next?x", "next?x"),
            ("http://elsewhere.example/x", "http://elsewhere.example/x"),
            ("//elsewhere.example/x", "//elsewhere.example/x"),
        ]:
            url = URL(bench.url(lease, "/r")).with_query(to=to)
            async with bench.session.get(url, allow_redirects=False) as answer:
                assert answer.headers["Location"] == expected


async def test_cookies_and_headers_of_the_container_stay_in_its_part_of_our_origin(bench: Bench) -> None:
    async def cookies(_: web.Request) -> web.StreamResponse:
        response = web.Response(
            headers={"Strict-Transport-Security": "max-age=1", "Clear-Site-Data": "*", "Alt-Svc": "x"}
        )
        for cookie in ("a=1", "b=2; Path=/; Domain=example.com; HttpOnly", "c=3; path=/app; Secure"):
            response.headers.add("Set-Cookie", cookie)
        return response

    async with serving(cookies) as port:
        await bench.add(port)
        lease = await bench.lease()
        prefix = bench.url(lease).removeprefix(bench.server.url)

        async with bench.session.get(bench.url(lease, "/dir/page")) as answer:
            pass

    assert answer.headers.getall("Set-Cookie") == [
        f"a=1; Path={prefix}/dir", f"b=2; HttpOnly; Path={prefix}/", f"c=3; Secure; Path={prefix}/app",
    ]  # fmt: skip
    assert not {"strict-transport-security", "clear-site-data", "alt-svc"} & {name.lower() for name in answer.headers}
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox")


async def test_a_page_of_a_pool_without_sandbox_is_left_as_it_is(bench: Bench) -> None:
    async with serving(echo) as port:
        await bench.add(port, sandbox=False)

        async with bench.session.get(bench.url(await bench.lease(), "/")) as answer:
            assert "Content-Security-Policy" not in answer.headers


async def test_a_lease_has_so_many_connections_and_no_more(bench: Bench) -> None:
    release = asyncio.Event()

    async def wait(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with serving(wait) as port:
        await bench.add(port, connections=2)
        url = bench.url(await bench.lease(), "/")
        open_ones = [asyncio.create_task(bench.session.get(url).__aenter__()) for _ in range(3)]
        done, pending = await asyncio.wait(open_ones, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        (refused,) = done
        release.set()
        answers = await asyncio.gather(*pending)

        assert refused.result().status == 429
        assert (await refused.result().json(content_type=None))["code"] == "too_many_connections"
        assert [answer.status for answer in answers] == [200, 200]
        async with bench.session.get(url) as again:
            assert again.status == 200


async def test_a_pool_that_is_reached_directly_has_no_gateway(bench: Bench) -> None:
    await bench.add(1, direct=True)

    async with bench.session.get(bench.url(await bench.lease(), "/")) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (404, "gateway_off")


async def test_a_lease_names_the_gateway_where_its_place_is_known(bench: Bench) -> None:
    async with serving(echo) as port:
        await bench.add(port, base=bench.server.url)
        lease = await bench.lease()

        assert lease.gateway_url == bench.url(lease)
        assert (lease.url, lease.to_json()["gateway_url"]) == (f"http://127.0.0.1:{port}", lease.gateway_url)
        assert replace(lease, container=replace(lease.container, url="")).url == lease.gateway_url
        assert lease.token not in repr(lease)
        assert "cpl_" not in repr(lease)
        async with bench.session.get(f"{lease.gateway_url}/x") as answer:
            assert answer.status == 200
