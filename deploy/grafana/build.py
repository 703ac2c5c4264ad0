"""The dashboard of Grafana, in code: `python deploy/grafana/build.py` writes dashboards/containerpool.json.

Several servers of one Redis show the same values, so every query takes each once, `max without (instance)`, and adds up
only what comes out of that. docs/grafana.md says what the rows show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
)

from pool.metrics import FAMILIES, Source
from pool.models import State

OUTPUT = Path(__file__).parent / "dashboards" / "containerpool.json"
RATE = "[$__rate_interval]"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: In the order in which a container passes through them.
COLORS = {
    State.AVAILABLE: "green",
    State.ALLOCATED: "blue",
    State.PAUSED: "light-blue",
    State.SPARE: "light-green",
    State.STARTING: "light-yellow",
    State.CLEANING: "yellow",
    State.RESETTING: "orange",
    State.UNHEALTHY: "red",
    State.QUARANTINED: "dark-red",
    State.STOPPED: "text",
}
Panel = timeseries.Panel | stat.Panel | statetimeline.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, statetimeline.Panel)


@dataclass(frozen=True)
class Query:
    """What to ask Prometheus, and how the answers are called."""

    expr: str
    legend: str = ""


def each(metric: str, *, suffix: str = "", **labels: str) -> str:
    """Return a query of a metric of the chosen pools and containers, each value once.

    Args:
        metric: Its name in `pool.metrics.FAMILIES`.
        suffix: Of a histogram.
        labels: Which values of a label; with a `~` in front it is a pattern.
    """
    return f"max without (instance) ({_selected(metric, suffix, labels)})"


def rate(metric: str, *, suffix: str = "", **labels: str) -> str:
    """Return how fast a counter rises, each once."""
    return f"max without (instance) (rate({_selected(metric, suffix, labels)}{RATE}))"


def increase(metric: str, **labels: str) -> str:
    """Return by how much a counter rose between two points of the plot, each once."""
    return f"max without (instance) (increase({_selected(metric, '', labels)}{RATE}))"


def _selected(metric: str, suffix: str, labels: dict[str, str]) -> str:
    family = FAMILIES[metric]
    chosen = {} if family.source is Source.SERVER else {"pool": "~$pool"}
    if "container" in family.labels:
        chosen["container"] = "~$container"
    chosen |= labels
    words = [f'{name}=~"{value[1:]}"' if value[0] == "~" else f'{name}="{value}"' for name, value in chosen.items()]
    return metric + suffix + (f"{{{','.join(words)}}}" if words else "")


def quantiles(metric: str, *, by: str = "", points: Sequence[float] = (0.5, 0.95, 0.99)) -> list[Query]:
    """Return the quantiles of a histogram, all pools together."""
    labels = f"le, {by}" if by else "le"
    summed = f"sum by ({labels}) ({rate(metric, suffix='_bucket')})"
    return [
        Query(f"histogram_quantile({point}, {summed})", f"p{point * 100:g}" + (f" {{{{{by}}}}}" if by else ""))
        for point in points
    ]


def summed(metric: str, by: str, *, per: str = "", **labels: str) -> Query:
    """Return a metric added up by a label; a counter's rate, or its `per="point"` increase."""
    values = {"": each, "second": rate, "point": increase}[per](metric, **labels)
    return Query(f"sum by ({by}) ({values})", f"{{{{{by}}}}}")


def plot(title: str, about: str, queries: Sequence[Query], *, unit: str = "short", stacked: bool = False) -> Panel:
    """Return a panel of lines over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .span(8)
        .height(8)
        .line_width(1)
        .fill_opacity(60 if stacked else 8)
        .show_points(styles.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI).sort(styles.SortOrder.DESCENDING))
        .legend(common.VizLegendOptions().display_mode(styles.LegendDisplayMode.LIST).show_legend(show_legend=True))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))
    return _with(panel, queries)


def figure(title: str, about: str, expr: str, *, unit: str = "short", red_from: float | None = None) -> Panel:
    """Return a panel of one number, red from some value on."""
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    panel = _figure(title, about, steps).unit(unit).graph_mode(styles.BigValueGraphMode.AREA)
    return _with(panel, [Query(expr)])


def answer(title: str, about: str, expr: str, *, yes: str, no: str) -> Panel:
    """Return a panel of one word: `yes` for 1, which is good, `no` for 0."""
    words = {
        "1": ValueMappingResult(text=yes, color="green", index=0),
        "0": ValueMappingResult(text=no, color="red", index=1),
    }
    panel = _figure(title, about, [Threshold(value=None, color="red"), Threshold(value=1, color="green")])
    return _with(panel.mappings([_mapped(words)]).graph_mode(styles.BigValueGraphMode.NONE), [Query(expr)])


def _figure(title: str, about: str, steps: list[Threshold]) -> stat.Panel:
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
    panel = stat.Panel().title(title).description(about).datasource(SOURCE).span(3).height(4)
    return panel.thresholds(thresholds).no_value("?").color_mode(styles.BigValueColorMode.BACKGROUND)


def states_over_time(title: str, about: str) -> Panel:
    """Return a panel with the state of each container over time."""
    known = list(COLORS)
    parts = [
        f"max by (pool, container) ({each('pool_container_state', state=state.value)}) * {number}"
        for number, state in enumerate(known)
    ]
    words = {
        str(number): ValueMappingResult(text=state.value, color=COLORS[state], index=number)
        for number, state in enumerate(known)
    }
    panel = statetimeline.Panel().title(title).description(about).datasource(SOURCE).span(24).height(10)
    panel = panel.mappings([_mapped(words)]).show_value(styles.VisibilityMode.AUTO).row_height(0.8).line_width(0)
    return _with(panel, [Query(" or ".join(parts), "{{container}}")])


def _mapped(words: dict[str, ValueMappingResult]) -> ValueMap:
    return ValueMap(options=words)


def _with(panel: P, queries: Sequence[Query]) -> P:
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE)
        panel = panel.with_target(target.legend_format(query.legend) if query.legend else target)
    return panel


def overview() -> list[Panel]:
    """Return what an operator looks at first."""
    held = f"sum by (pool) ({each('pool_containers', state='allocated')})"
    places = f"sum by (pool) ({each('pool_places')})"
    return [
        answer("Manager", "A manager leads every pool.", f"min({each('pool_manager_active')})", yes="leads", no="none"),
        answer("Redis", "Every server reaches Redis.", "min(pool_redis_up)", yes="up", no="away"),
        figure("Available", "To be had at once.", f"sum({each('pool_containers', state='available')})"),
        figure("Waiting", "Requests in the queue.", f"sum({each('pool_queue_requests')})", red_from=10),
        figure(
            "Oldest wait", "Of the requests that wait now.", f"max({each('pool_queue_oldest_seconds')})",
            unit="s", red_from=60,
        ),
        figure(
            "Quarantined", "An operator has to restore them.",
            f"sum({each('pool_containers', state='quarantined')})", red_from=1,
        ),
        figure("Degraded", "Pools that take less than usual.", f"sum({each('pool_degraded')})", red_from=1),
        figure("Draining", "Pools that take no new request.", f"sum({each('pool_draining')})", red_from=1),
        plot(
            "Containers by state", "Of the chosen pools together.", [summed("pool_containers", "state")], stacked=True
        ),
        plot(
            "Use", "Leased containers, of all that can be lent at once.",
            [Query(f"{held} / ({places} > 0)", "{{pool}}")], unit="percentunit",
        ),
        plot("Queue", "Waiting requests by pool.", [summed("pool_queue_requests", "pool")], stacked=True),
    ]  # fmt: skip


def allocation() -> list[Panel]:
    """Return how long requests wait, and how leases end."""
    return [
        plot(
            "Wait for a container", "From the request to its grant, of those that were served.",
            quantiles("pool_acquire_wait_seconds"), unit="s",
        ),
        plot(
            "Wait by priority", "The 95th percentile.",
            quantiles("pool_acquire_wait_seconds", by="priority", points=(0.95,)), unit="s",
        ),
        plot(
            "Oldest waiting request", "By its own priority; aging may serve it before others.",
            [Query(f"max by (priority) ({each('pool_queue_oldest_seconds')})", "{{priority}}")], unit="s",
        ),
        plot(
            "Leases that ended", "Each second, by how.", [summed("pool_leases_total", "outcome", per="second")],
            unit="ops", stacked=True,
        ),
        plot("Length of leases", "However they ended.", quantiles("pool_lease_duration_seconds"), unit="s"),
        plot(
            "Requests without a container", "They left the queue with nothing.",
            [summed("pool_requests_unserved_total", "outcome", per="point")], stacked=True,
        ),
        plot(
            "Expired leases", "At their deadline, or without a heartbeat.",
            [summed("pool_lease_expirations_total", "cause", per="point")], stacked=True,
        ),
        plot(
            "Extensions", "Deadlines that were to be moved.",
            [summed("pool_lease_extensions_total", "result", per="point")], stacked=True,
        ),
        plot(
            "HTTP answers", "Each second, by status; all servers together.",
            [Query(f"sum by (status) (rate(pool_http_requests_total{RATE}))", "{{status}}")],
            unit="reqps", stacked=True,
        ),
    ]  # fmt: skip


def resets() -> list[Panel]:
    """Return how containers are cleaned, and how long that takes."""
    failed, tried = rate("pool_resets_total", outcome="failed"), rate("pool_resets_total")
    return [
        plot(
            "Time of a reset", "Attempts after which the container was clean: the 95th percentile by level.",
            quantiles("pool_reset_duration_seconds", by="level", points=(0.95,)), unit="s",
        ),
        plot(
            "Median time of a reset", "By level.",
            quantiles("pool_reset_duration_seconds", by="level", points=(0.5,)), unit="s",
        ),
        plot(
            "Resets by level", "Each second.", [summed("pool_resets_total", "level", per="second")],
            unit="ops", stacked=True,
        ),
        plot(
            "Resets by reason", "Each second.", [summed("pool_resets_total", "reason", per="second")],
            unit="ops", stacked=True,
        ),
        plot(
            "Failed resets", "Share of the attempts; the next level follows.",
            [Query(f"sum by (level) ({failed}) / (sum by (level) ({tried}) > 0)", "{{level}}")], unit="percentunit",
        ),
        plot(
            "Replaced and swapped", "Recycled for uses, age or size; places taken by a spare; quarantines.",
            [
                Query(f"sum({increase('pool_recycles_total')})", "recycled"),
                Query(f"sum({increase('pool_swaps_total')})", "swapped"),
                Query(f"sum({increase('pool_quarantines_total')})", "quarantined"),
            ],
        ),
    ]  # fmt: skip


def health() -> list[Panel]:
    """Return what is wrong with containers, and how the servers do."""
    ours = "and on (instance, job) pool_build_info"
    return [
        plot(
            "Failed checks", "By the probe that failed.",
            [summed("pool_health_checks_total", "probe", per="point", result="failed")], stacked=True,
        ),
        plot(
            "Faults", "Containers that left rotation.",
            [summed("pool_container_faults_total", "fault", per="point")], stacked=True,
        ),
        plot("In trouble", "They stay in rotation all the same.", [summed("pool_containers_troubled", "condition")]),
        plot(
            "Manager and state of the pools", "1: it is so.",
            [
                Query(f"min by (pool) ({each('pool_manager_active')})", "{{pool}} is managed"),
                Query(f"max by (pool) ({each('pool_degraded')})", "{{pool}} is degraded"),
                Query(f"max by (pool) ({each('pool_draining')})", "{{pool}} is draining"),
            ],
        ),
        plot(
            "Time of Redis", "How long it took to answer a PING, by server.",
            [Query("pool_redis_latency_seconds", "{{instance}}")], unit="s",
        ),
        plot(
            "Memory of the servers", "", [Query(f"process_resident_memory_bytes {ours}", "{{instance}}")], unit="bytes"
        ),
        plot(
            "CPU of the servers", "1 is one core.",
            [Query(f"rate(process_cpu_seconds_total{RATE}) {ours}", "{{instance}}")], unit="percentunit",
        ),
        plot(
            "Gateway", "What is passed on to containers right now, by server.",
            [Query("pool_gateway_connections", "{{instance}} {{kind}}")],
        ),
        plot(
            "Events that were never counted", "They were trimmed while no manager led.",
            [Query(f"sum by (pool) ({increase('pool_event_gaps_total')})", "{{pool}}")],
        ),
    ]  # fmt: skip


def containers() -> list[Panel]:
    """Return what each container does and uses."""
    memory, limit = each("pool_container_memory_bytes"), each("pool_container_memory_limit_bytes")
    return [
        states_over_time("State", "Of each container."),
        plot(
            "Memory", "Of the limit.",
            [Query(f"{memory} / {limit}", "{{container}}")], unit="percentunit",
        ),
        plot("CPU", "Of its share.", [Query(each("pool_container_cpu_ratio"), "{{container}}")], unit="percentunit"),
        plot("Processes and threads", "", [Query(each("pool_container_pids"), "{{container}}")]),
        plot(
            "Until its memory is full", "By the trend; absent where that is not in sight.",
            [Query(each("pool_container_memory_full_seconds"), "{{container}}")], unit="s",
        ),
        plot("Time in its state", "", [Query(each("pool_container_state_seconds"), "{{container}}")], unit="s"),
        plot(
            "Failed resets in a row", "Quarantine follows, see reset.quarantine_after.",
            [Query(each("pool_container_failed_resets"), "{{container}}")],
        ),
    ]  # fmt: skip


def chosen(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """Return a variable: any number of the values that Prometheus knows, all at first."""
    variable = dashboard.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    return (
        variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
    )


def build() -> str:
    """Return the dashboard as JSON."""
    board = (
        dashboard.Dashboard("Container pool")
        .uid("containerpool")
        .description("Pools of pre-started containers. Built by deploy/grafana/build.py; changes here are lost.")
        .tags(["containerpool"])
        .readonly()
        .refresh("15s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(chosen("pool", "Pool", "label_values(pool_places, pool)"))
        .with_variable(
            chosen("container", "Container", 'label_values(pool_container_state_seconds{pool=~"$pool"}, container)')
        )
    )
    for title, panels in {
        "Overview": overview(), "Allocation": allocation(), "Resets": resets(), "Health": health(),
        "Containers": containers(),
    }.items():  # fmt: skip
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    OUTPUT.write_text(build(), encoding="utf-8")
