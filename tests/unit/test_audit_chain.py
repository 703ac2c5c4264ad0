"""A chain of entries shows what was done to it afterwards; and what it cannot show."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from pool.audit import GENESIS, Head, canonical, digest, verify
from pool.audit.chain import extend
from pool.audit.describe import describe, is_audited
from pool.models import Event

Links = list[tuple[str, str, str]]


def chain() -> Links:
    """A chain of five entries, each with where it stands, its hash and its text."""
    entries = [{"pool": "web", "who": f"person {n}", "what": "é\u2028"} for n in range(5)]
    return [(f"line {n}", head.hash, text) for n, (head, text) in enumerate(extend(Head(), entries), start=1)]


def changed(links: Links, index: int, *, rehash: bool, **fields: Any) -> Links:
    """The chain with one entry changed, and with or without its hash made to fit."""
    where, known, text = links[index]
    text = canonical(json.loads(text) | fields)
    return [*links[:index], (where, digest(text) if rehash else known, text), *links[index + 1 :]]


def rewritten(links: Links, index: int, **fields: Any) -> Links:
    """The chain as somebody leaves it who can hash: all entries from one on are written anew."""
    before = json.loads(links[index][2])
    entries = [json.loads(text) for _, _, text in links[index:]]
    entries[0] |= fields
    return links[:index] + [
        (f"line {n}", head.hash, text)
        for n, (head, text) in enumerate(extend(Head(before["n"] - 1, before["prev"]), entries), start=index + 1)
    ]


def test_a_chain_that_nobody_touched_fits() -> None:
    verdict = verify("web", chain())

    assert (verdict.fault, verdict.entries, verdict.first) == (None, 5, 1)
    assert str(verdict.head) == f"5:{chain()[-1][1]}"


def test_a_chain_whose_beginning_was_trimmed_fits() -> None:
    assert verify("web", chain()[2:]).fault is None
    assert verify("web", chain()[2:]).first == 3


def test_an_empty_chain_fits() -> None:
    assert verify("web", []).head == Head(0, GENESIS)


TAMPERINGS: dict[str, tuple[Callable[[Links], Links], str, str]] = {
    "changed": (lambda links: changed(links, 2, rehash=False, who="nobody"), "line 3", "was changed"),
    "changed and hashed anew": (lambda links: changed(links, 2, rehash=True, who="x"), "line 4", "entry 3 was changed"),
    "the last one changed": (lambda links: changed(links, 4, rehash=False, who="nobody"), "line 5", "was changed"),
    "removed": (lambda links: links[:2] + links[3:], "line 4", "what was between them is missing"),
    "twice": (lambda links: [*links[:3], links[2], *links[3:]], "line 3", "inserted or moved"),
    "two change places": (lambda links: [*links[:2], links[3], links[2], links[4]], "line 4", "missing"),
    "inserted, as somebody's own": (
        lambda links: [*links[:3], ("forged", *changed(links, 3, rehash=True, who="me")[3][1:]), *links[3:]],
        "line 4",
        "inserted or moved",
    ),
    "of another chain": (lambda links: changed(links, 2, rehash=True, pool="other"), "line 3", "belongs to the chain"),
    "no JSON": (lambda links: [*links[:2], ("line 3", "0" * 64, "{"), *links[3:]], "line 3", "no entry"),
    "no number": (lambda links: changed(links, 2, rehash=True, n="3"), "line 3", "no entry"),
    "written otherwise": (
        lambda links: [*links[:2], ("line 3", links[2][1], links[2][2].replace(",", ", ")), *links[3:]],
        "line 3",
        "was changed",
    ),
    "a first one that follows another": (
        lambda links: changed(links, 0, rehash=True, prev="1" * 64),
        "line 1",
        "first",
    ),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_the_first_entry_that_does_not_fit_is_named(name: str) -> None:
    tamper, where, what = TAMPERINGS[name]

    verdict = verify("web", tamper(chain()))

    assert verdict.fault is not None
    assert verdict.fault.where == where
    assert what in verdict.fault.what


def test_only_an_anchor_shows_that_a_chain_was_written_anew_or_cut_short() -> None:
    honest = verify("web", chain())
    rewrote, cut = verify("web", rewritten(chain(), 2, who="nobody")), verify("web", chain()[:3])

    assert rewrote.fault is None
    assert cut.fault is None
    assert "written anew" in str(rewrote.anchored(honest.head))
    assert "later ones were removed" in str(cut.anchored(honest.head))
    assert honest.anchored(honest.head) is None
    assert "not kept any more" in str(verify("web", chain()[2:]).anchored(Head(1, chain()[0][1])))


def event(kind: str, **fields: str) -> Event:
    return Event("1-0", 1_800_000_000.0, kind, fields)


@pytest.mark.parametrize(
    ("happened", "who", "what", "why", "result"),
    [
        (
            event("lease.granted", container="web-1", request="r", owner="ci"),
            "ci", "container web-1, request r", "", "granted",
        ),
        (
            event("lease.released", container="web-1", request="r", owner="ci", outcome="failed", reason="on_release"),
            "ci", "container web-1, request r", "on_release", "failed",
        ),
        (
            event("lease.lost", container="web-1", request="r", owner="ci", note="too late", reason="on_expiry"),
            "manager", "container web-1, request r", "too late", "lost",
        ),
        (
            event("lease.extension_denied", container="web-1", request="r", owner="ci", reason="slow", why="count"),
            "ci", "container web-1, request r", "count", "denied",
        ),
        (
            event(
                "container.moved", container="web-1", **{"from": "available"}, to="quarantined", reason="manual",
                note="a look", by="alice@desk", why="a look",
            ),
            "alice@desk", "container web-1", "a look", "available to quarantined",
        ),
        (
            event("container.moved", container="web-1", **{"from": "cleaning"}, to="available", reset_level="soft"),
            "manager", "container web-1", "", "cleaning to available, soft reset",
        ),
        (
            event("operator.refused", action="reset", container="web-1", by="bob", error="it is leased"),
            "bob", "container web-1", "", "refused: it is leased",
        ),
        (event("pool.draining", by="bob", why="upgrade"), "bob", "pool web", "upgrade", "draining"),
    ],
)  # fmt: skip
def test_an_event_says_who_did_what_why_and_with_what_result(
    happened: Event, who: str, what: str, why: str, result: str
) -> None:
    entry = describe("web", happened)

    assert is_audited(happened)
    assert (entry["who"], entry["what"], entry["why"], entry["result"]) == (who, what, why, result)


@pytest.mark.parametrize(
    "happened",
    [
        event("request.queued", request="r"),
        event("lease.confirmed", request="r"),
        event("container.moved", **{"from": "allocated"}, to="cleaning"),
        event("container.available", container="web-1"),
    ],
)
def test_what_changes_nothing_for_anybody_is_not_audited(happened: Event) -> None:
    assert not is_audited(happened)


def test_a_secret_in_a_reason_is_hidden() -> None:
    entry = describe("web", event("pool.draining", by="bob", why="leaked: cpt_0123456789ab_" + "S" * 43))

    assert "SSSS" not in json.dumps(entry)
