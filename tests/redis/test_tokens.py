"""API tokens: what Redis keeps of them, what they are bound to, and `poolctl token` and `poolctl audit`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pool.access import Identity, Role, TokenKeeper, identity_of, matches, parse_token, valid
from pool.allocator import Order, request_drain
from pool.audit import Auditor
from pool.errors import Forbidden, InvalidRequest
from pool.store import AuditStore, Connection, TokenStore
from pool.store.token_store import TOKENS_KEY
from tests.poolctl import Poolctl, one_container
from tests.support_access import open_site, own_redis

pytestmark = pytest.mark.long

DAY_S = 86_400


class Time:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def keeper(connection: Connection, time: Time) -> AsyncIterator[TokenKeeper]:
    async with connection.plain() as redis:
        await redis.delete(TOKENS_KEY)
    yield TokenKeeper(TokenStore(connection), time)
    async with connection.plain() as redis:
        await redis.delete(TOKENS_KEY)


async def test_redis_keeps_nothing_that_gives_the_token_away(keeper: TokenKeeper, connection: Connection) -> None:
    record, token = await keeper.create("ci", owner="ci", pools=["web"], max_leases=3, by="alice")

    async with connection.plain() as redis:
        kept = str(await redis.hgetall(TOKENS_KEY))
    parsed = parse_token(token)
    assert parsed is not None
    assert re.fullmatch(r"cpt_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token)
    assert token[17:] not in kept
    assert matches(record, parsed)
    assert token not in repr(record)
    assert record.digest not in repr(record)
    assert identity_of(record) == Identity("ci", Role.CLIENT, "ci", frozenset({"web"}), {"max_leases": 3}, record.id)


async def test_no_two_tokens_are_alike(keeper: TokenKeeper) -> None:
    tokens = [(await keeper.create(f"t{number}"))[1] for number in range(20)]

    assert len({token[17:] for token in tokens}) == len({token[:17] for token in tokens}) == 20


@pytest.mark.parametrize(
    "text",
    [
        "", "cpt_", "cpt_0123456789ab", "cpt_0123456789ab_", "cpt_0123456789AB_" + "a" * 43,
        "cpt_0123456789ab_" + "a" * 42, "cpt_0123456789ab_" + "a" * 44, "cpl_0123456789ab_" + "a" * 43,
        " cpt_0123456789ab_" + "a" * 43, "cpt_0123456789ab_" + "a" * 43 + "\n", "cpt_0123456789аb_" + "a" * 43,
        "cpt_0123456789ab_" + "é" * 43, "cpt_０123456789ab_" + "a" * 43,
    ],
)  # fmt: skip
def test_what_is_no_token_is_not_looked_up(text: str) -> None:
    assert parse_token(text) is None


async def test_another_secret_under_a_known_id_does_not_match(keeper: TokenKeeper) -> None:
    record, token = await keeper.create("ci")
    _, other = await keeper.create("other")

    forged = parse_token(token[:17] + other[17:])

    assert forged is not None
    assert not matches(record, forged)
    assert not matches(None, forged)


async def test_a_token_is_valid_until_it_expires_or_is_revoked(keeper: TokenKeeper, time: Time) -> None:
    record, _ = await keeper.create("ci", expires_days=2)

    assert valid(record, time.now + 2 * DAY_S - 1)
    assert not valid(record, time.now + 2 * DAY_S)
    revoked = await keeper.revoke("ci")
    [kept] = await keeper.list()
    assert revoked.id == record.id
    assert not valid(kept, time.now)


async def test_noting_a_use_never_undoes_a_revocation(keeper: TokenKeeper, connection: Connection, time: Time) -> None:
    record, _ = await keeper.create("ci")
    await keeper.revoke("ci")

    await TokenStore(connection).used(record.id, at=time.now)

    [kept] = await keeper.list()
    assert (kept.last_used_at, kept.revoked_at) == (time.now, time.now)


async def test_a_name_is_free_again_after_its_token_was_revoked_or_expired(keeper: TokenKeeper, time: Time) -> None:
    await keeper.create("ci")
    with pytest.raises(InvalidRequest, match="has it"):
        await keeper.create("ci")

    await keeper.revoke("ci")
    await keeper.create("ci", expires_days=1)
    time.now += 2 * DAY_S
    record, _ = await keeper.create("ci")

    assert (await keeper.revoke("ci")).id == record.id


@pytest.mark.parametrize(
    ("field", "wish"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "a b"}),
        ("name", {"name": "a\nb"}),
        ("name", {"name": "ｃｉ"}),
        ("name", {"name": "a" * 65}),
        ("role", {"role": "admin"}),
        ("owner", {"owner": ""}),
        ("owner", {"owner": "a/b"}),
        ("owner", {"owner": "bоb"}),  # a Cyrillic o
        ("owner", {"owner": "bo\u200bb"}),
        ("owner", {"owner": "Zoe\u0308"}),
        ("pool", {"pools": ["No Pool"]}),
        ("max_leases", {"max_leases": 0, "owner": "ci"}),
        ("max_leases", {"max_leases": 3}),
        ("max_queued", {"max_queued": 3}),
        ("expires_days", {"expires_days": 0}),
        ("expires_days", {"expires_days": float("nan")}),
        ("owner", {"role": "operator", "owner": "ci"}),
        ("pools", {"role": "operator", "pools": ["web"]}),
    ],
)
async def test_a_wrong_field_is_named(keeper: TokenKeeper, field: str, wish: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await keeper.create(**({"name": "ci"} | wish))  # type: ignore[arg-type]  # a test may send nonsense

    assert raised.value.field == field


async def test_two_tokens_are_not_bound_to_owners_that_only_look_alike(keeper: TokenKeeper) -> None:
    await keeper.create("one", owner="bob")
    await keeper.create("two", owner="bob")

    with pytest.raises(InvalidRequest, match="differ in case only"):
        await keeper.create("three", owner="Bob")


@pytest.mark.parametrize(
    "owner", ["Bob", "BOB", "bob2", "bob ", " bob", "bоb", "bob\u200b", "bo", "ｂob", "alice", "/bob"]
)
def test_a_bound_token_acts_for_nobody_whose_name_only_looks_like_its_owner(owner: str) -> None:
    identity = Identity("ci", Role.CLIENT, owner="bob")

    with pytest.raises(Forbidden):
        identity.owner_for(owner, "default")


@pytest.mark.parametrize(("owner", "becomes"), [(None, "bob"), ("bob", "bob"), ("bob/run-7", "bob/run-7")])
def test_a_bound_token_acts_for_its_owner(owner: str | None, becomes: str) -> None:
    assert Identity("ci", Role.CLIENT, owner="bob").owner_for(owner, "default") == becomes


# As users run it


@pytest.fixture
async def private(tmp_path: Path) -> AsyncIterator[tuple[Poolctl, str]]:
    async with own_redis() as url, Poolctl(url, tmp_path) as poolctl:
        yield poolctl, url


async def test_a_token_is_made_shown_once_and_revoked(private: tuple[Poolctl, str]) -> None:
    poolctl, _ = private

    made = await poolctl("token", "create", "ci", "--owner", "ci", "-p", "web", "--max-leases", "2")
    boss = await poolctl("token", "create", "alice", "--role", "operator", "--expires-days", "30", "--json")
    shown = await poolctl("token", "list", "--json")
    table = await poolctl("token", "list")
    revoked = await poolctl("token", "revoke", "ci", "--reason", "it leaked")
    again = await poolctl("token", "revoke", "ci")

    token = made.out.strip()
    assert parse_token(token)
    assert parse_token(json.loads(boss.out)["token"])
    assert [(each["name"], each["role"]) for each in json.loads(shown.out)["tokens"]] == [
        ("ci", "client"),
        ("alice", "operator"),
    ]
    assert token not in shown.out + table.out + made.err
    assert json.loads(shown.out)["tokens"][0]["limits"] == {"max_leases": 2}
    assert (revoked.code, again.code) == (0, 2)
    assert "valid are: alice" in again.err


async def test_mistakes_about_tokens_are_told(private: tuple[Poolctl, str]) -> None:
    poolctl, _ = private

    wrong = await poolctl("token", "create", "a b")
    http = await poolctl("token", "list", "--url", "http://127.0.0.1:1")
    none = await poolctl("token", "list")

    assert [wrong.code, http.code, none.code] == [2, 2, 0]
    assert "name: 'a b' is not allowed" in wrong.err
    assert "give the URL of Redis" in http.err
    assert "no token was ever made" in none.out
    assert all("Traceback" not in each.err for each in (wrong, http, none))


async def test_the_audit_shows_who_did_what_and_verifies_it(private: tuple[Poolctl, str]) -> None:
    poolctl, url = private
    async with one_container(url) as store:
        await request_drain(store, "a", order=Order("bob@desk", "a look"))
        await poolctl("token", "create", "ci")
        await Auditor(store.connection, store.pool, keep=1000).look()

        everything = await poolctl("audit")
        his = await poolctl("audit", "--who", "bob@*", "--json")
        old = await poolctl("audit", "--since", "2020-01-01", "--pool", "~access", "--json")
        fits = await poolctl("audit", "verify")
        head = re.search(rf"{store.pool}: 2 entries fit; head (\d+:\w+)", fits.out)
        assert head
        anchored = await poolctl("audit", "verify", "--pool", store.pool, "--anchor", head[1])
        [first] = await AuditStore(store.connection, store.pool).read(count=1)
        async with store.connection.plain() as redis:
            await redis.xdel(f"cp:{{{store.pool}}}:audit", first.id)
        cut = await poolctl("audit", "verify", "--pool", store.pool, "--anchor", "1:" + "0" * 64)
        bad = await poolctl("audit", "verify", "--pool", store.pool, "--anchor", "nonsense")

    assert "bob@desk  container.draining  container a: draining  (a look)" in everything.out
    [entry] = [json.loads(line) for line in his.out.splitlines()]
    assert (entry["what"], entry["why"]) == ("container a", "a look")
    assert [json.loads(line)["type"] for line in old.out.splitlines()] == ["token.created"]
    assert (fits.code, anchored.code, cut.code, bad.code) == (0, 0, 1, 2)
    assert "is not kept any more" in cut.err


async def test_the_audit_is_shown_over_http_to_operators(tmp_path: Path) -> None:
    async with own_redis() as url, open_site(url, "a") as site, Poolctl(url, tmp_path) as poolctl:
        made = await poolctl("token", "create", "alice", "--role", "operator")
        client = await poolctl("token", "create", "ci")
        poolctl.environment["POOL_TOKEN"] = made.out.strip()
        shown = await poolctl("audit", "--url", site.url, "--since", "1h", "--json")
        followed = await poolctl("audit", "--url", site.url, "-f")
        poolctl.environment["POOL_TOKEN"] = client.out.strip()
        refused = await poolctl("audit", "--url", site.url)

    assert [json.loads(line)["what"] for line in shown.out.splitlines()] == ["token alice", "token ci"]
    assert followed.code == 2
    assert refused.code != 0
    assert "is a client's; this needs an operator's" in refused.err


async def test_a_file_is_verified_without_redis(private: tuple[Poolctl, str], tmp_path: Path) -> None:
    poolctl, _ = private
    path = tmp_path / "audit.jsonl"
    path.write_text('{"entry":{},"hash":""}\n')

    wrong = await poolctl("audit", "verify", "--file", str(path))
    none = await poolctl("audit", "verify", "--file", str(tmp_path / "none"))

    assert (wrong.code, none.code) == (1, 2)
    assert "line 1: it is no entry" in wrong.err
    assert "cannot be read" in none.err
