"""What is in `deploy/prometheus`: valid, tested by `promtool`, about metrics that exist, and led to by pages."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from pool.config import Config, PoolOptions
from tests.support_prometheus import PROMETHEUS, ROOT, find_tool, known_series, mistakes, rules_of, selectors

RECORDED = [rule["record"] for rule in rules_of("recording.yml")]
ALERTS = {rule["alert"]: rule for rule in rules_of("alerts.yml")}
UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
PAGES = ROOT / "docs" / "runbook"
SEVERITIES = {"critical", "warning", "info"}
#: What looks like an option, and is an event or an entry of the audit.
EVENTS_AND_FILES = {"audit.gap", "manager.standby", "manager.claim_lost", "manager.active"}


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        [find_tool("promtool"), *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def unit_tests() -> list[dict[str, Any]]:
    return [test for path in UNIT_TESTS for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]


def looks(name: str) -> Iterator[tuple[bool, str]]:
    """For each unit test of an alert, whether it fires at each look, in a row."""
    for test in unit_tests():
        found = [bool(each.get("exp_alerts")) for each in test.get("alert_rule_test", []) if each["alertname"] == name]
        if found:
            yield any(found), "".join("fires " if each else "silent " for each in found)


def test_promtool_finds_the_configuration_and_the_rules_valid() -> None:
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "--lint-fatal", "rules/recording.yml", "rules/alerts.yml")


@pytest.mark.long
@pytest.mark.parametrize("name", [path.name for path in UNIT_TESTS])
def test_the_unit_tests_of_the_rules_pass(name: str) -> None:
    promtool("test", "rules", f"tests/{name}")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_tested_to_fire_to_clear_and_not_to_fire_just_below(name: str) -> None:
    seen = list(looks(name))

    assert any("fires silent" in row for _, row in seen), "no test in which it clears"
    assert any(row.startswith("silent fires") for _, row in seen), "no test in which it waits before it fires"
    assert name in {"PoolEventsLost", "PoolNoActiveManager"} or any(not fires for fires, _ in seen), "none just below"


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_rule_is_tested_with_two_servers_that_show_the_same(name: str) -> None:
    tests = [
        test
        for test in unit_tests()
        for each in test.get("promql_expr_test", [])
        if each["expr"] == name and each.get("exp_samples")
    ]

    assert any('instance="a' in one["series"] and _twin(one, test) for test in tests for one in test["input_series"])


def _twin(one: dict[str, Any], test: dict[str, Any]) -> bool:
    other = one["series"].replace('instance="a', 'instance="b')
    return any(each["series"] == other for each in test["input_series"])


@pytest.mark.parametrize(
    "rule", [*rules_of("recording.yml"), *ALERTS.values()], ids=lambda rule: next(iter(rule.values()))
)
def test_every_series_label_and_value_that_a_rule_names_exists(rule: dict[str, Any]) -> None:
    assert mistakes(rule["expr"], known_series()) == []


@pytest.mark.parametrize(
    ("query", "mistake"),
    [
        ("pool_contaners", "there is no series pool_contaners"),
        ('pool_containers{stat="available"}', "pool_containers has no label stat"),
        ('pool_containers{state=~"available|freed"}', "pool_containers: state is never freed"),
        ("sum by (container) (pool_containers)", "nothing in it has the label container"),
        ("rate(pool_acquire_wait_seconds[5m])", "there is no series pool_acquire_wait_seconds"),
    ],
)
def test_a_query_for_what_there_is_not_is_found(query: str, mistake: str) -> None:
    assert mistakes(query, known_series()) == [mistake]


@pytest.mark.parametrize("name", RECORDED)
def test_a_recording_rule_is_named_level_metric_operations(name: str) -> None:
    level, metric, operation = name.split(":")

    assert level.startswith("pool")
    assert metric.startswith("pool_")
    assert re.fullmatch(r"(max|min|sum|rate|increase|ratio|p50|p95)(_?(rate|increase)?\d+[mh])?", operation)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_is_the_matter_and_where_its_page_is(name: str) -> None:
    alert = ALERTS[name]
    notes = alert["annotations"]

    assert alert["labels"]["severity"] in SEVERITIES
    assert "for" in alert
    assert notes["summary"]
    assert notes["description"].endswith(".")
    assert f'reReplaceAll "ALERT" "{name}"' in notes["runbook_url"]
    assert f"docs/runbook/{name}.md" in notes["runbook_url"]


@pytest.mark.parametrize("name", ALERTS)
def test_the_page_of_an_alert_has_its_four_parts_and_says_how_urgent_it_is(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")

    assert page.startswith(f"# {name}\n\n**{ALERTS[name]['labels']['severity']}**")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == ["Meaning", "Look", "Do", "Afterwards"]


def test_every_page_of_the_runbook_is_of_an_alert_and_stands_in_its_index() -> None:
    index = (PAGES / "index.md").read_text(encoding="utf-8")

    assert {page.stem for page in PAGES.glob("*.md")} == {*ALERTS, "index"}
    assert re.findall(r"^\| \[(\w+)\]\(\1\.md\) \|", index, re.MULTILINE) == list(ALERTS)


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_queries_and_options_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    queries = [
        query
        for block in re.findall(r"^```promql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        for query in block.splitlines()
    ]
    known, options = known_series(), {*options_of(Config), *options_of(PoolOptions)}
    sections = {option.partition(".")[0] for option in options if "." in option}

    assert [wrong for query in queries for wrong in mistakes(query, known)] == []
    assert [query for query in queries if not list(selectors(query))] == []
    named = {
        name for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)\b[^`]*`", text) if name.partition(".")[0] in sections
    }
    assert named - options - EVENTS_AND_FILES == set()


def options_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Yield the path of every option, such as `limits.ttl_s`."""
    for name, field in model.model_fields.items():
        yield path + name
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from options_of(kind, f"{path}{name}.")
