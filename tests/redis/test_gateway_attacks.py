"""What is tried on the gateway: other people's leases, other hosts, and requests inside requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pool.models import LeaseData, LeaseRef
from tests.support_gateway import Bench, gateway_bench, speaking


@pytest.fixture
async def bench(redis_url: str) -> AsyncIterator[Bench]:
    async with gateway_bench(redis_url) as bench:
        yield bench


class Recorder:
    """A server that keeps every byte it is sent, and answers each head."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.heard)
        self.heard.append(b"")
        while piece := await reader.read(65536):
            self.heard[number] += piece
            if b"\r\n\r\n" in piece:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()


@pytest.fixture
async def recorder(bench: Bench) -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with speaking(recorder.answer) as port:
        await bench.add(port)
        yield recorder


def variants(lease: LeaseData) -> dict[str, str]:
    ref = LeaseRef.parse(lease.ref)
    return {
        "another secret": LeaseRef(ref.pool, ref.request_id, ref.fence, "x" * len(ref.token)).sealed(),
        "a shorter secret": LeaseRef(ref.pool, ref.request_id, ref.fence, ref.token[:-1]).sealed(),
        "a secret that is no ASCII": LeaseRef(ref.pool, ref.request_id, ref.fence, "ü☃").sealed(),
        "another request": LeaseRef(ref.pool, "nobody", ref.fence, ref.token).sealed(),
        "another pool": LeaseRef("nowhere", ref.request_id, ref.fence, ref.token).sealed(),
        "a pool that can be none": LeaseRef("{x}:meta", ref.request_id, ref.fence, ref.token).sealed(),
        "a key of somebody else": LeaseRef(ref.pool, "x}:c:a", ref.fence, ref.token).sealed(),
        "the reference unsealed": str(ref),
        "padding": ref.sealed() + "=",
        "an API token": "cpt_0123456789abcdef0123456789",
        "nothing": "",
        "a dot": ".",
        "too long": "cpl_" + "A" * 3000,
    }


async def test_no_token_but_the_leases_own_opens_anything(bench: Bench, recorder: Recorder) -> None:
    lease = await bench.lease()
    for name, token in variants(lease).items():
        reply = await bench.raw(f"GET /c/{token}/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

        status = int(reply.split(b" ", 2)[1])
        assert status in (401, 404, 429), (name, reply)
        assert lease.token.encode() not in reply
    assert recorder.heard == []


async def test_who_guesses_has_to_wait_and_who_holds_has_not(bench: Bench, recorder: Recorder) -> None:
    lease = await bench.lease()
    wrong = bench.server.url + "/c/" + variants(lease)["another secret"] + "/"
    statuses = []
    for _ in range(25):
        async with bench.session.get(wrong) as answer:
            statuses.append(answer.status)

    assert statuses == [401] * 20 + [429] * 5
    assert int(answer.headers["Retry-After"]) > 0
    async with bench.session.get(bench.url(lease, "/x")) as answer:
        assert answer.status == 200


async def test_a_former_fence_opens_nothing(bench: Bench, recorder: Recorder) -> None:
    lease = await bench.lease()
    ref = LeaseRef.parse(lease.ref)
    for fence in (ref.fence - 1, ref.fence + 1, 0):
        token = LeaseRef(ref.pool, ref.request_id, fence, ref.token).sealed()
        async with bench.session.get(f"{bench.server.url}/c/{token}/") as answer:
            assert (answer.status, (await answer.json(content_type=None))["code"]) == (410, "lease_lost")
    assert recorder.heard == []


SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: evil\r\n\r\n"


@pytest.mark.parametrize(
    ("name", "head", "body"),
    [
        ("CL and TE", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED),
        ("TE and CL", b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n" + SMUGGLED),
        ("two CL", b"Content-Length: 4\r\nContent-Length: 0\r\n", SMUGGLED),
        ("two equal CL", b"Content-Length: 4\r\nContent-Length: 4\r\n", b"body" + SMUGGLED),
        ("a list of CL", b"Content-Length: 4, 4\r\n", b"body" + SMUGGLED),
        ("a signed CL", b"Content-Length: +4\r\n", b"body" + SMUGGLED),
        ("a negative CL", b"Content-Length: -4\r\n", b"body" + SMUGGLED),
        ("a CL in hex", b"Content-Length: 0x4\r\n", b"body" + SMUGGLED),
        ("TE twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n" + SMUGGLED),
        ("TE obscured", b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + SMUGGLED),
        ("TE after a tab", b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n" + SMUGGLED),
        ("TE, chunked not last", b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n" + SMUGGLED),
        ("a space before the colon", b"Content-Length : 4\r\n", b"body" + SMUGGLED),
        ("a folded line", b"X-A: 1\r\n Transfer-Encoding: chunked\r\n", b""),
        ("a folded line with a tab", b"X-A: 1\r\n\tX: 2\r\n", b""),
        ("a bare LF", b"X-A: 1\nTransfer-Encoding: chunked\r\n", b""),
        ("a bare CR", b"X-A: 1\rX-B: 2\r\n", b""),
        ("a NUL", b"X-A: 1\x002\r\n", b""),
        ("no name", b": 1\r\n", b""),
        ("a name with a space", b"X A: 1\r\n", b""),
        ("a chunk that lies", b"Transfer-Encoding: chunked\r\n", b"zz\r\n" + SMUGGLED),
        ("a chunk with a bare LF", b"Transfer-Encoding: chunked\r\n", b"1\na\n0\n\n" + SMUGGLED),
        ("two hosts", b"Host: evil\r\n", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_request_that_can_be_read_in_two_ways_is_refused(
    bench: Bench, recorder: Recorder, name: str, head: bytes, body: bytes
) -> None:
    path = bench.url(await bench.lease(), "/x").removeprefix(bench.server.url).encode()

    reply = await bench.raw(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n" + body)

    statuses = [int(line.split(b" ")[1]) for line in reply.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    print(f"{name}: {statuses}")
    assert statuses == [400], reply
    assert b"evil" not in b"".join(recorder.heard)
    assert b"/admin" not in b"".join(recorder.heard)


async def test_a_body_that_looks_like_a_request_is_a_body(bench: Bench, recorder: Recorder) -> None:
    path = bench.url(await bench.lease(), "/x").removeprefix(bench.server.url).encode()
    length = str(len(SMUGGLED)).encode()

    reply = await bench.raw(
        b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close, Content-Length\r\n"
        b"Content-Length: " + length + b"\r\n\r\n" + SMUGGLED)  # fmt: skip

    assert reply.startswith(b"HTTP/1.1 200 ")
    (heard,) = recorder.heard
    head, _, body = heard.partition(b"\r\n\r\n")
    assert body == SMUGGLED
    assert b"Content-Length: " + length in head


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        ("GET http://evil.example{path} HTTP/1.1", {400}),
        ("GET http://127.0.0.1:6379{path} HTTP/1.1", {400}),
        ("GET https://localhost{path} HTTP/1.1", {400}),
        ("GET {path}#fragment HTTP/1.1", {400}),
        ("GET {path}\x7f HTTP/1.1", {400}),
        ("GET {path}/ü HTTP/1.1", {400}),
        ("GET {path}\\..\\x HTTP/1.1", {200}),
        ("GET {path}@evil.example/ HTTP/1.1", {200}),
        ("CONNECT evil.example:80 HTTP/1.1", {400, 404, 405}),
        ("CONNECT {path} HTTP/1.1", {400, 404, 405}),
        ("OPTIONS * HTTP/1.1", {404, 405}),
        ("GET {path} HTTP/2.0", {505}),
        ("GET {path} HTTP/0.9", {505}),
    ],
)
async def test_the_request_line_names_no_other_host(
    bench: Bench, recorder: Recorder, line: str, statuses: set[int]
) -> None:
    path = bench.url(await bench.lease(), "/x").removeprefix(bench.server.url)

    reply = await bench.raw(f"{line.format(path=path)}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    assert int(reply.split(b" ", 2)[1]) in statuses, reply
    assert all(b"\r\nHost: 127.0.0.1:" in heard for heard in recorder.heard)
    assert b"evil.example" not in b"".join(recorder.heard).replace(b"/x@evil.example/", b"")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1@evil.example", "evil.example:8700", "", "a b"])
async def test_the_host_header_decides_nothing(bench: Bench, recorder: Recorder, host: str) -> None:
    path = bench.url(await bench.lease(), "/x").removeprefix(bench.server.url)

    reply = await bench.raw(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())

    assert int(reply.split(b" ", 2)[1]) in (400, 421)
    assert recorder.heard == []


async def test_an_upgrade_to_something_else_is_an_ordinary_request(bench: Bench, recorder: Recorder) -> None:
    path = bench.url(await bench.lease(), "/x").removeprefix(bench.server.url).encode()

    reply = await bench.raw(
        b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + SMUGGLED,
        patience_s=0.5,
    )

    assert b"HTTP/1.1 101" not in reply
    assert not any(b"pgrade" in heard or b"/admin" in heard or b"HTTP2" in heard for heard in recorder.heard)


async def test_a_container_cannot_answer_twice(bench: Bench) -> None:
    """What stands behind its answer on the connection is thrown away, not given to whoever comes next."""

    async def two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
            await writer.drain()

    async with speaking(two) as port:
        await bench.add(port)
        lease = await bench.lease()
        for _ in range(3):
            async with bench.session.get(bench.url(lease, "/")) as answer:
                assert await answer.text() == "first"


async def test_a_container_cannot_split_our_answer(bench: Bench) -> None:
    async def split(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: x=1\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with speaking(split) as port:
        await bench.add(port)
        async with bench.session.get(bench.url(await bench.lease(), "/")) as answer:
            assert "Set-Cookie" not in answer.headers
