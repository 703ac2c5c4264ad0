"""What the routes say and do, beside waiting: status, operators' wishes, logs and evidence, and how they refuse."""

from __future__ import annotations

import asyncio
import io
import tarfile
from pathlib import Path

import pytest

from pool.api.schemas import Container, Lease, Pool
from pool.config import Config
from pool.evidence import Shelf
from tests.support import eventually, open_pool, pool_config
from tests.support_api import Api, serving
from tests.support_manager import MakeBench, make_bench, running

__all__ = ["make_bench"]


async def test_the_probes_say_whether_server_and_pools_are_there(redis_url: str, make_bench: MakeBench) -> None:
    async with running(make_bench) as bench, serving(redis_url, config=bench.config) as api:
        alive, ready = await api.call("GET", "/healthz"), await api.call("GET", "/readyz")
        unknown = pool_config("t", "nobody-opened-this")
        async with serving(redis_url, config=unknown) as early:
            alive_too, not_ready = await early.call("GET", "/healthz"), await early.call("GET", "/readyz")

    assert (alive.status, ready.status, alive_too.status) == (200, 200, 200)
    assert (not_ready.status, not_ready.body["code"]) == (503, "not_ready")
    assert "nobody-opened-this: not open yet" in not_ready.body["detail"]


async def test_pools_and_containers_are_shown_as_their_schemas_say(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1", "a-2") as store, serving(redis_url) as api:
        lease = (await api.take(pool=store.pool, owner="me", metadata={"n": 1})).body
        await api.take(pool=store.pool, owner="me")
        queued = (await api.take(pool=store.pool, owner="you", wait_s=0.01)).body
        pool = (await api.call("GET", f"/v1/pools/{store.pool}")).body
        listed = (await api.call("GET", "/v1/pools")).body
        waiting = (await api.call("GET", f"/v1/pools/{store.pool}/queue")).body
        containers = (await api.call("GET", f"/v1/containers?pool={store.pool}")).body["containers"]
        one = (await api.call("GET", "/v1/containers/a-1")).body
        why = (await api.call("GET", f"/v1/pools/{store.pool}/requests/{queued['request_id']}")).body
        advice = (await api.call("GET", f"/v1/pools/{store.pool}/timeouts/me")).body

    Lease.model_validate(lease)
    Pool.model_validate(pool)
    assert store.pool in [item["pool"] for item in listed["pools"]]
    assert [entry["owner"] for entry in waiting["queue"]] == ["you"]
    assert [container["id"] for container in containers] == ["a-1", "a-2"]
    Container.model_validate({name: value for name, value in one.items() if name != "pool"})
    assert (one["pool"], one["owner"], one["metadata"]) == (store.pool, "me", {"n": 1})
    assert why["explanation"].startswith("Next in line")
    assert advice == {"label": "me", "recommendation": None}
    assert lease["token"] not in str([pool, listed, waiting, containers, one])


@pytest.mark.parametrize("verb", ["reset", "quarantine", "drain", "resume", "pause"])
async def test_what_was_meant_for_another_state_is_not_done(redis_url: str, verb: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        seen = (await api.call("GET", "/v1/containers/a-1")).body["revision"]
        await api.take(pool=store.pool, owner="carol")
        taken = await store.container("a-1")
        order = {"revision": seen, "reason": "looks odd"} | ({"force": True} if verb == "quarantine" else {})
        refused = await api.call("POST", f"/v1/containers/a-1/{verb}", json=order)
        after = await store.container("a-1")

    assert (refused.status, refused.body["code"]) == (409, "container_changed")
    assert refused.body["detail"] == "container 'a-1' changed meanwhile: now it is allocated, leased by 'carol'"
    assert after == taken


async def test_what_was_meant_for_this_state_is_done(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1"), serving(redis_url) as api:
        seen = (await api.call("GET", "/v1/containers/a-1")).body["revision"]
        paused = await api.call("POST", "/v1/containers/a-1/pause", json={"revision": seen})
        freed = await api.call("POST", "/v1/containers/a-1/unpause", json={"revision": paused.body["revision"]})
        force = {"reason": "odd", "revision": freed.body["revision"]}
        quarantined = await api.call("POST", "/v1/containers/a-1/quarantine", json=force)

    assert [reply.status for reply in (paused, freed, quarantined)] == [202, 202, 202]
    assert quarantined.body["state"] == "quarantined"


async def test_operators_wishes_reach_the_manager_with_their_reason(redis_url: str, make_bench: MakeBench) -> None:
    async with running(make_bench) as bench, serving(redis_url, config=bench.config) as api:
        one = f"{bench.pool}-1"
        quarantined = await api.call("POST", f"/v1/containers/{one}/quarantine", json={"reason": "odd"})
        twice = await api.call("POST", f"/v1/containers/{one}/quarantine", json={"reason": "odd"})
        restored = await api.call("POST", f"/v1/containers/{one}/restore")
        await eventually(bench.all_available)
        reset = await api.call("POST", f"/v1/containers/{one}/reset", json={"level": "hard", "reason": "to be sure"})
        await eventually(bench.all_available)
        drained = await api.call("POST", f"/v1/containers/{one}/drain", json={"reason": "new image"})
        resumed = await api.call("POST", f"/v1/containers/{one}/resume")
        closed = await api.call("POST", f"/v1/pools/{bench.pool}/drain", json={})
        refused = await api.take(pool=bench.pool)
        opened = await api.call("POST", f"/v1/pools/{bench.pool}/resume")
        [told] = [facts for facts in await bench.facts("container.moved") if facts.get("why") == "to be sure"]

    assert (quarantined.status, quarantined.body["state"], quarantined.body["note"]) == (202, "quarantined", "odd")
    assert (twice.status, twice.body["code"]) == (409, "wrong_state")
    assert (restored.status, reset.status) == (202, 202)
    assert [drained.body["draining"], resumed.body["draining"]] == [True, False]
    assert (closed.body["draining"], refused.status, refused.body["code"]) == (True, 503, "pool_draining")
    assert opened.body == {"pool": bench.pool, "draining": False}
    assert told["by"] == "everybody"


async def test_logs_and_statistics_come_from_the_engine(redis_url: str, make_bench: MakeBench) -> None:
    async with running(make_bench) as bench, serving(redis_url, config=bench.config, runtime=bench.runtime) as api:
        bench.inside().logs.extend(["one", "two", "three"])
        path = f"/v1/containers/{bench.pool}-1"
        last = await api.call("GET", f"{path}/logs?tail=2")
        followed = await api.call("GET", f"{path}/logs?follow=true")
        stats = await api.call("GET", f"{path}/stats")
        async with serving(redis_url, config=bench.config) as without:
            nowhere = await without.call("GET", f"{path}/logs")

    assert (last.status, last.text, last.headers["Content-Type"]) == (200, "two\nthree\n", "text/plain; charset=utf-8")
    assert followed.text.endswith("three\n")
    assert stats.body["id"] == f"{bench.pool}-1"
    assert (nowhere.status, nowhere.body["code"]) == (502, "engine_unavailable")


async def test_evidence_is_listed_and_fetched_without_what_its_author_planted(redis_url: str, tmp_path: Path) -> None:
    async with open_pool(redis_url, "a-1", "a-2") as store:
        config = _with_evidence(pool_config("t", store.pool), tmp_path)
        shelf = Shelf(tmp_path, config.deployment, store.pool)
        bundle_id, folder = shelf.begin("a-1", 1_800_000_000)
        (folder / "log.txt").write_text("what it said")
        (folder / "out").symlink_to("/etc")
        (folder / "passwd").symlink_to("/etc/passwd")
        shelf.finish(bundle_id, folder, {"container": "a-1", "pool": store.pool, "cause": "unhealthy"})
        async with serving(redis_url, config=config) as api:
            listed = await api.call("GET", "/v1/containers/a-1/evidence")
            others = await api.call("GET", "/v1/containers/a-2/evidence")
            archive = await _bytes(api, f"/v1/containers/a-1/evidence/{bundle_id}")
            wrong = [
                await api.call("GET", f"/v1/containers/{path}")
                for path in (f"a-2/evidence/{bundle_id}", "a-1/evidence/..%2f..", "a-1/evidence/x")
            ]

    assert [bundle["id"] for bundle in listed.body["bundles"]] == [bundle_id]
    assert others.body == {"bundles": []}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        names = {member.name: member.isfile() for member in tar}
        log = tar.extractfile(f"{bundle_id}/log.txt")
        assert log is not None
        assert log.read() == b"what it said"
    assert names == {f"{bundle_id}/log.txt": True, f"{bundle_id}/evidence.json": True}
    assert [reply.status for reply in wrong] == [404, 404, 404]


def _with_evidence(config: Config, path: Path) -> Config:
    document = config.model_dump(mode="json", exclude_unset=True)
    for options in document["pools"].values():
        options["evidence"] = {"dir": str(path)}
    return Config.model_validate(document)


async def _bytes(api: Api, path: str) -> bytes:
    async with api.session.get(api.server.url + path) as response:
        assert response.status == 200
        return await response.read()


async def test_a_lease_obeys_nobody_but_its_holder(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1", "a-2") as store, serving(redis_url) as api:
        mine, yours = [(await api.take(pool=store.pool)).body for _ in range(2)]
        other = await api.call("GET", f"/v1/leases/{mine['id']}", token=yours["token"])
        nobody = await api.call("GET", f"/v1/leases/{mine['id']}")
        shown = await api.call("GET", f"/v1/leases/{mine['id']}", token=mine["token"])
        await api.release(mine)
        ended = [
            await api.call(method, f"/v1/leases/{mine['id']}{verb}", token=mine["token"])
            for method, verb in (("GET", ""), ("POST", "/heartbeat"), ("DELETE", ""))
        ]
        extended = await api.call(
            "POST", f"/v1/leases/{mine['id']}/extend", token=mine["token"], json={"seconds": 1, "reason": "x"}
        )
        unknown = await api.call("POST", f"/v1/leases/{yours['id']}/nothing", token=yours["token"])

    assert (other.status, other.body["code"]) == (403, "lease_token_mismatch")
    assert (nobody.status, "WWW-Authenticate" in nobody.headers) == (401, True)
    assert shown.body["id"] == mine["id"]
    assert [(reply.status, reply.body["code"]) for reply in ended] == [(409, "lease_already_released")] * 3
    assert (extended.status, extended.body["code"]) == (409, "lease_lost")
    assert (unknown.status, unknown.body["code"]) == (404, "route_unknown")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"{", 400, "json_malformed", None),
        (b'"\\ud800"', 400, "json_malformed", None),
        (b"[" * 10_000, 400, "json_malformed", None),
        (b"[]", 422, "request_invalid", "body"),
        (b'{"wait_s": "5"}', 422, "request_invalid", "wait_s"),
        (b'{"wait_s": -1}', 422, "request_invalid", "wait_s"),
        (b'{"wait_s": NaN}', 422, "request_invalid", "wait_s"),
        (b'{"max_wait_s": 1e9}', 422, "request_invalid", "max_wait_s"),
        (b'{"max_wait_s": 86400}', 422, "request_invalid", "max_wait_s"),
        (b'{"owner": "a\\nb"}', 422, "request_invalid", "owner"),
        (b'{"priority": "urgent"}', 422, "request_invalid", "priority"),
        (b'{"pool": "../x"}', 422, "request_invalid", "pool"),
        (b'{"pool": "nobody-has-this"}', 404, "pool_unknown", None),
        (b'{"request_id": "a b"}', 422, "request_invalid", "request_id"),
        (b'{"requirements": {"gpu": 1}}', 422, "request_invalid", "requirements.gpu"),
        (b'{"requirements": {"labels": {"x": "y"}}}', 422, "requirements_unmet", None),
        (b'{"metadata": {"a": NaN}}', 422, "request_invalid", "metadata"),
        (b'{"colour": "red"}', 422, "request_invalid", "colour"),
        (b'{"owner": "' + b"x" * 70_000 + b'"}', 413, "body_too_large", None),
    ],
)
async def test_a_wrong_body_is_refused_by_name(
    redis_url: str, body: bytes, status: int, code: str, field: str | None
) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        if b"pool" not in body and body.startswith(b"{") and len(body) > 1:
            body = body[:-1] + f', "pool": "{store.pool}"}}'.encode()
        reply = await api.call("POST", "/v1/leases", data=body, headers={"Content-Type": "application/json"})

    assert (reply.status, reply.body["code"], reply.body.get("field")) == (status, code, field)
    assert reply.headers["Content-Type"] == "application/problem+json"
    assert reply.body["request_id"] == reply.headers["X-Request-Id"]


async def test_what_is_no_json_is_refused_by_its_kind(redis_url: str) -> None:
    async with serving(redis_url) as api:
        reply = await api.call("POST", "/v1/leases", data=b"{}", headers={"Content-Type": "text/plain"})

    assert (reply.status, reply.body["allowed"]) == (415, "application/json")


@pytest.mark.parametrize(
    ("query", "field"), [("wait_s=x", "wait_s"), ("wait_s=1&wait_s=2", "wait_s"), ("colour=red", "colour")]
)
async def test_a_wrong_query_is_refused_by_name(redis_url: str, query: str, field: str) -> None:
    async with serving(redis_url) as api:
        reply = await api.call("GET", f"/v1/requests/x?{query}")

    assert (reply.status, reply.body["field"]) == (422, field)


async def test_requests_have_ids_that_are_taken_from_the_client_if_they_are_some(redis_url: str) -> None:
    async with serving(redis_url) as api:
        given = await api.call("GET", "/healthz", headers={"X-Request-Id": "run-42.a_b"})
        odd = await api.call("GET", "/healthz", headers={"X-Request-Id": "a b<script>"})
        wrong = await api.call("PUT", "/v1/leases", headers={"X-Request-Id": "mine"})

    assert given.headers["X-Request-Id"] == "run-42.a_b"
    assert odd.headers["X-Request-Id"] not in ("", "a b<script>")
    assert (wrong.status, wrong.body["request_id"], wrong.headers["Allow"]) == (405, "mine", "POST")


async def test_the_page_and_the_document_are_served(redis_url: str) -> None:
    async with serving(redis_url) as api:
        page, document = await api.call("GET", "/docs"), await api.call("GET", "/openapi.json")

    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "style-src 'sha256-" in page.headers["Content-Security-Policy"]
    assert document.body["openapi"] == "3.1.0"


async def test_requirements_find_the_pool(redis_url: str) -> None:
    async with open_pool(redis_url, "a-1") as store, serving(redis_url) as api:
        taken = await api.take(pool=store.pool, requirements={"min_memory_mb": 1})
        unnamed = await api.take(requirements={"max_cpu_percent": 1})

    assert taken.status == 201
    assert (unnamed.status, unnamed.body["code"]) == (422, "requirements_unmet")


async def test_what_is_no_http_is_answered_and_fills_no_log(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(redis_url) as api:
        host, port = api.server.url.removeprefix("http://").split(":")
        answers = []
        for nonsense in (b"\x16\x03\x01\x02", b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n", b"GET  /  HTTP/9\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(nonsense + b"\r\n\r\n")
            answers.append(await reader.readline())
            writer.close()
        alive = await api.call("GET", "/healthz")

    assert [answer.split()[1] for answer in answers] == [b"400"] * 3
    assert alive.status == 200
    assert [record for record in caplog.records if record.exc_info] == []
