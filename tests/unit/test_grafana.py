"""The dashboard of Grafana: as its code says, about metrics that exist, in queries that Prometheus can read."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from pool.metrics import FAMILIES
from pool.states import TRANSITIONS
from tests.support_grafana import DASHBOARD, GRAFANA, PANELS, QUERIES, plain
from tests.support_prometheus import find_tool, known_series, mistakes

#: What differs from server to server; everything else is the same in all of them.
OF_SERVERS = {name for name, family in FAMILIES.items() if family.source == "server"}


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("grafana_build", GRAFANA / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "grafana_build", module)
        spec.loader.exec_module(module)
    return module


def variables() -> Iterator[dict[str, Any]]:
    yield from DASHBOARD["templating"]["list"]


def test_the_committed_dashboard_is_what_its_code_builds(builder: ModuleType) -> None:
    committed = (GRAFANA / "dashboards" / "containerpool.json").read_text(encoding="utf-8")

    assert committed == builder.build(), "run .venv/bin/python deploy/grafana/build.py"


@pytest.mark.parametrize("panel", QUERIES)
def test_a_query_names_only_metrics_labels_and_values_that_there_are(panel: str) -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    known = dict(known_series())
    own = {sample.name for family in registry.collect() for sample in family.samples}
    known |= dict.fromkeys(own, known["up"])

    assert mistakes(plain(QUERIES[panel]), known) == []


def test_prometheus_reads_every_query(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": plain(expr)} for number, expr in enumerate(QUERIES.values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

    done = subprocess.run([find_tool("promtool"), "check", "rules", file], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout


@pytest.mark.parametrize("panel", QUERIES)
def test_what_all_servers_show_alike_is_taken_once(panel: str) -> None:
    expr = QUERIES[panel]
    named = set(re.findall(r"\b(?:pool|process)_\w+", re.sub(r"\bby \([^)]*\)", "", expr)))
    shared = {name for name in named if name.startswith("pool_")} - OF_SERVERS

    once = len(re.findall(r"max without \(instance\) \((?:rate|increase)?\(?pool_", expr))
    assert once >= len(shared)
    assert not shared or 'pool=~"$pool"' in expr


def test_it_asks_for_most_of_the_metrics_that_there_are() -> None:
    asked = " ".join(QUERIES.values())
    left = {name for name in FAMILIES if not re.search(rf"\b{name}(_bucket)?\b", asked)}

    assert left <= {"pool_containers_draining", "pool_events_total"}, left


def test_every_panel_says_what_it_shows_and_asks_the_chosen_source() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"], panel["title"]


def test_the_variables_are_source_pool_and_container() -> None:
    named = {variable["name"]: variable for variable in variables()}

    assert list(named) == ["datasource", "pool", "container"]
    for name in ("pool", "container"):
        metric, label = re.fullmatch(r"label_values\((\w+).*, (\w+)\)", named[name]["query"]).groups()  # type: ignore[union-attr] # fails as well
        assert label in FAMILIES[metric].names


def test_every_state_has_its_color_on_the_map_of_containers() -> None:
    [panel] = [panel for panel in PANELS if panel["type"] == "state-timeline"]
    [mapping] = panel["fieldConfig"]["defaults"]["mappings"]

    shown = {option["text"] for option in mapping["options"].values()}
    assert shown == {state.value for state in TRANSITIONS}


def test_panels_have_ids_and_places_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]

    assert len(set(places)) == len(panels)
    assert [panel["title"] for panel in panels if panel["type"] == "row"] == [
        "Overview", "Allocation", "Resets", "Health", "Containers",
    ]  # fmt: skip


def test_what_grafana_is_told_at_its_start_fits_the_compose_file() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/containerpool.yml").read_text())["providers"]
    compose = yaml.safe_load((GRAFANA.parent / "compose.yaml").read_text())["services"]
    mounted = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"] if volume.startswith("./"))

    assert mounted["./grafana/dashboards"] == provider["options"]["path"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"
    assert f"--web.listen-address={source['url'].removeprefix('http://')}" in compose["prometheus"]["command"]
