"""What `poolctl events`, `run --many` and `top` make of words: moments, filters, variables, resets."""

from __future__ import annotations

import pytest
from typer import BadParameter

from pool.cli.environment import bundle_environment, check_words, without_outer_lease
from pool.cli.events import Filter
from pool.cli.run import _counts
from pool.cli.top import Resets
from pool.errors import InvalidRequest
from pool.models import Event, LeaseData, Priority
from pool.moments import moment
from tests.support import info


def event(kind: str, at: float = 100.0, **fields: str) -> Event:
    return Event("1-0", at, kind, fields)


# events


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 10), ("1.5m", 10), ("0s", 100), ("1970-01-01T00:00:07Z", 7), ("1970-01-01T00:00:07", 7)],
)
def test_a_moment_is_how_long_ago_or_when(text: str, seconds: float) -> None:
    assert moment(text, 100.0) == seconds


@pytest.mark.parametrize("text", ["", "soon", "5", "5w", "-5m", "2026-13-01"])
def test_what_is_no_moment_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"since: .* is not allowed; say how long ago"):
        moment(text, 100.0)


def test_events_are_chosen_by_type_container_and_time() -> None:
    wanted = Filter(("lease.*", "pool.degraded"), "a", 50.0)

    assert wanted.wants(event("lease.lost", container="a"))
    assert not wanted.wants(event("lease.lost", container="b"))
    assert not wanted.wants(event("lease.lost", 49.0, container="a"))
    assert not wanted.wants(event("container.moved", container="a"))
    assert Filter().wants(event("anything"))


# top


def test_the_last_reset_is_the_last_that_ended_well_since_the_pool_was_created() -> None:
    resets = Resets()
    moved = {"container": "a", "to": "available", "reset_level": "soft", "reset_ms": "14"}

    resets.note("web", event("container.moved", 1.0, **moved))
    resets.note("web", event("container.moved", 2.0, **moved | {"reset_level": "hard", "reset_ms": "400"}))
    resets.note("web", event("container.moved", 3.0, **moved | {"to": "resetting"}))
    last = resets.of("web", "a")

    assert last is not None
    assert (last.at, last.level, last.ms) == (2.0, "hard", 400)
    assert resets.of("mail", "a") is None
    resets.note("web", event("pool.created", 4.0))
    assert resets.of("web", "a") is None


# run --many


def lease(pool: str, name: str) -> LeaseData:
    return LeaseData(pool, "r", info(name), "me", Priority.NORMAL, 1, "secret", 0, 10, 20, 10, 0)


def test_several_leases_are_told_by_pool() -> None:
    webs, mails = [lease("my-web", "a"), lease("my-web", "b")], [lease("mail", "c")]

    variables = bundle_environment({"my-web": webs, "mail": mails})

    assert variables["POOL_MY_WEB_IDS"] == "a b"
    assert variables["POOL_MAIL_URLS"] == "http://127.0.0.1:3001"
    assert '"token": "secret"' in variables["POOL_LEASES"]


def test_pools_whose_variables_would_have_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"many: 'a-b and a\.b' is not allowed; both would be POOL_A_B_URLS"):
        check_words(["a-b", "mail", "a.b"])


def test_a_command_does_not_see_the_lease_that_we_ourselves_run_under() -> None:
    outer = {"POOL_LEASE": "x", "POOL_CONTAINER_PORT_80": "1", "POOL_URL": "u", "POOL_TOKEN": "t", "PATH": "p"}

    assert without_outer_lease(outer) == {"POOL_URL": "u", "POOL_TOKEN": "t", "PATH": "p"}


@pytest.mark.parametrize("pairs", [["web"], ["web="], ["web=0"], ["web=x"], ["=1"], ["web=1", "web=2"]])
def test_what_is_no_number_of_containers_is_refused(pairs: list[str]) -> None:
    with pytest.raises(BadParameter, match="--many"):
        _counts(pairs)
