"""`poolctl explain`: every name that users meet is explained, from the tables that the docs show."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pool.catalogue.events import AUDIT_ONLY, EVENTS
from pool.catalogue.logs import LOGS
from pool.cli import app, completion, explain
from pool.cli.error_reference import ADVICE, HTTP_ONLY
from pool.metrics import FAMILIES


def run(*words: str, width: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(width)}).invoke(app, list(words))


def found(*words: str) -> list[dict[str, Any]]:
    result = run("explain", "--json", *words)
    assert result.exit_code == 0
    explanations: list[dict[str, Any]] = json.loads(result.stdout)["explanations"]
    return explanations


def test_an_event_is_explained_with_its_facts_and_what_to_do() -> None:
    shown = run("explain", "lease.lost").stdout

    assert shown.startswith("lease.lost  event\n  The lease ended under its holder")
    assert "what to do: See `note`." in shown
    assert "  held_us    from the grant to the end, in microseconds" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_name_that_stands_for_several_things_is_explained_as_each_of_them() -> None:
    both = found("pool_degraded")

    assert [(each["kind"], each["name"]) for each in both] == [("error", "pool_degraded"), ("metric", "pool_degraded")]
    assert (both[0]["class"], both[0]["http"], both[0]["exit"]) == ("Degraded", 503, 3)
    assert both[1]["labels"] == {"pool": "name of the pool"}


def test_all_events_log_lines_errors_and_metrics_can_be_asked_for() -> None:
    kinds: dict[str, set[str]] = {}
    for each in found():
        kinds.setdefault(each["kind"], set()).add(each["name"])

    assert kinds == {
        "event": {*EVENTS},
        "audit entry": {kind.name for kind in AUDIT_ONLY},
        "log line": {*LOGS},
        "error": {*ADVICE, *HTTP_ONLY},
        "metric": {*FAMILIES},
    }
    assert all(each["meaning"] for each in found())
    assert not [name for kind in ("error", "metric") for name in kinds[kind] if "." in name]  # see `beginning`


def test_a_pattern_explains_all_that_match() -> None:
    assert {each["name"] for each in found("pool.re*")} == {
        "pool.recovered", "pool.ready", "pool.removed", "pool.resumed", "pool.retired",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"), [("lease.lots", "did you mean lease.lost"), ("§", "`poolctl explain` lists all names")]
)
def test_a_name_that_nothing_has_is_refused_with_those_that_are_like_it(name: str, said: str) -> None:
    result = run("explain", name)

    assert result.exit_code == 2
    assert said in result.stderr


def test_links_of_pages_are_paths_in_the_terminal() -> None:
    assert "](" not in "".join(each.do for each in explain.everything())
    assert "docs/how-to/size.md" in run("explain", "acquire_timeout", width=200).stdout


def test_all_names_are_offered_at_the_tab_key() -> None:
    assert {"lease.lost", "lease_lost"} <= {*completion.explained("lease")}
    assert completion.explained("pool_lease_dur") == ["pool_lease_duration_seconds"]


def test_the_types_of_events_are_offered_and_told_of_without_a_pool() -> None:
    told = run("events", "--explain", "--type", "lease.*", "--json")

    assert {each["name"] for each in json.loads(told.stdout)["explanations"]} == {
        name for name in EVENTS if name.startswith("lease.")
    }
    assert completion.event_types("lease.e") == ["lease.extended", "lease.extension_denied"]
    assert "operator.*" in completion.event_types("")
