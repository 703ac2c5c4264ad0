"""The demo's checks, each on a story that is right and on one that is not."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import pytest
from rich.console import Console

from pool.config import parse_config
from pool.demo import checks
from pool.demo.history import Look, Strike, recovery, tenures
from pool.demo.plan import POOL, RUNNERS, Fate, Run, planned_runs
from pool.demo.report import Recording, Report, make_report
from pool.demo.view import print_report, words
from pool.models import Event, Priority

T0 = 1000.0


class Story:
    """Writes events as the Lua commands and the manager do, a tenth of a second apart."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = T0
        self._fence = 0

    def tell(self, kind: str, **fields: str) -> Story:
        self.now += 0.1
        self.events.append(Event(f"{len(self.events) + 1}-0", self.now, kind, fields))
        return self

    def queued(self, run: str, priority: Priority = Priority.NORMAL) -> Story:
        return self.tell("request.queued", request=f"r-{run}", owner=run, priority=str(int(priority)))

    def granted(self, run: str, container: str = "c-1", priority: Priority = Priority.NORMAL) -> Story:
        self._fence += 1
        return self.tell(
            "lease.granted", container=container, request=f"r-{run}", owner=run, priority=str(int(priority)),
            fence=str(self._fence), waited_us="250000",
        )  # fmt: skip

    def confirmed(self, run: str, container: str = "c-1") -> Story:
        return self.tell("lease.confirmed", container=container, request=f"r-{run}")

    def ended(self, run: str, how: str = "released", container: str = "c-1", **facts: str) -> Story:
        fence = next(e.fields["fence"] for e in reversed(self.events) if e.fields.get("owner") == run)
        return self.tell(
            f"lease.{how}", container=container, request=f"r-{run}", owner=run, fence=fence, held_us="1", **facts
        )

    def started(self, container: str = "c-1") -> Story:
        self.tell("container.registered", container=container, state="starting", generation="1")
        return self.tell("container.moved", container=container, **{"from": "starting", "to": "available"})

    def cleaned(self, container: str = "c-1", *, level: str = "soft", verified: str = "yes") -> Story:
        facts = {"from": "cleaning", "to": "available", "reset_level": level, "reset_ms": "400", "verified": verified}
        return self.tell("container.moved", container=container, **facts)

    def available(self, container: str = "c-1") -> Story:
        return self.tell("container.available", container=container)


@pytest.fixture
def story() -> Story:
    return Story()


def test_leases_one_after_the_other_are_one_holder_at_a_time(story: Story) -> None:
    story.granted("a").ended("a").granted("b").ended("b")

    check = checks.one_holder(story.events)

    assert check.passed
    assert "2 leases" in check.figure


def test_a_grant_of_a_held_container_is_two_holders_at_once(story: Story) -> None:
    story.granted("a").granted("b")

    check = checks.one_holder(story.events)

    assert not check.passed
    assert "c-1 went to b while it was held" in check.figure


def test_a_fence_that_falls_is_found(story: Story) -> None:
    story.granted("a").ended("a")
    story.events += [story.events[0]]

    assert not checks.one_holder(story.events).passed


def test_the_end_of_a_lease_that_does_not_hold_is_found(story: Story) -> None:
    story.granted("a").ended("a").ended("a")

    assert not checks.one_holder(story.events).passed


def test_a_verified_reset_between_two_leases_is_a_clean_hand_over(story: Story) -> None:
    story.granted("a").ended("a").cleaned().granted("b")

    check = checks.clean_hand_overs(story.events)

    assert check.passed
    assert "1 hand-over" in check.figure


def test_a_hand_over_without_a_reset_is_not_clean(story: Story) -> None:
    story.granted("a").ended("a").cleaned("c-2").granted("b")

    assert not checks.clean_hand_overs(story.events).passed


def test_a_hand_over_after_an_unverified_reset_is_not_clean(story: Story) -> None:
    story.granted("a").ended("a").cleaned(verified="off").granted("b")

    assert not checks.clean_hand_overs(story.events).passed


def test_an_unconfirmed_grant_leaves_nothing_to_clean(story: Story) -> None:
    story.queued("ghost").granted("ghost").ended("ghost", "lost").granted("b")

    assert checks.clean_hand_overs(story.events).passed


def test_an_unconfirmed_grant_does_not_hide_a_missing_reset_before_it(story: Story) -> None:
    story.queued("ghost").granted("a").ended("a").granted("ghost").ended("ghost", "lost").granted("b")

    assert not checks.clean_hand_overs(story.events).passed


def test_a_confirmed_grant_counts_as_used(story: Story) -> None:
    story.queued("a").granted("a").confirmed("a").ended("a").granted("b")

    assert not checks.clean_hand_overs(story.events).passed


def test_a_look_at_a_clean_container_finds_nothing(story: Story) -> None:
    story.granted("a")

    assert checks.nothing_found(story.events, [Look("a", "r-a", "c-1", ())]).passed


def test_a_leftover_is_reported_with_its_finder(story: Story) -> None:
    story.granted("a")

    check = checks.nothing_found(story.events, [Look("a", "r-a", "c-1", ("file /tmp/x",))])

    assert not check.passed
    assert "a found in c-1: file /tmp/x" in check.figure


def test_a_holder_that_did_not_look_is_reported(story: Story) -> None:
    story.granted("a").ended("a")

    assert not checks.nothing_found(story.events, []).passed


def test_a_higher_priority_and_an_earlier_arrival_have_precedence(story: Story) -> None:
    story.queued("low", Priority.LOW).queued("first").queued("second").queued("high", Priority.HIGH)
    story.granted("high", priority=Priority.HIGH).granted("first").granted("second").granted("low")

    assert checks.in_order(story.events).passed


def test_a_request_overtaken_by_a_lower_priority_is_reported(story: Story) -> None:
    story.queued("high", Priority.HIGH).queued("low", Priority.LOW).granted("low", priority=Priority.LOW)

    check = checks.in_order(story.events)

    assert not check.passed
    assert "low overtook high" in check.figure


def test_a_request_overtaken_by_a_later_one_of_its_priority_is_reported(story: Story) -> None:
    story.queued("first").queued("second").granted("second")

    assert not checks.in_order(story.events).passed


def test_who_gets_a_container_at_once_while_others_wait_has_overtaken_them(story: Story) -> None:
    story.queued("waiter").granted("barger")

    assert not checks.in_order(story.events).passed


def test_a_request_that_left_the_queue_is_not_overtaken(story: Story) -> None:
    story.queued("high", Priority.HIGH).queued("low", Priority.LOW)
    story.tell("request.lost", request="r-high", owner="high").granted("low", priority=Priority.LOW)

    assert checks.in_order(story.events).passed


def test_a_run_that_only_lost_its_lease_was_not_served(story: Story) -> None:
    story.granted("a").ended("a").cleaned().granted("b").ended("b", "lost")

    check = checks.all_served(story.events, ["a", "b"])

    assert not check.passed
    assert check.figure == "b was not served"
    assert checks.all_served(story.events, ["a"]).passed


def test_a_recovery_is_measured_from_the_strike_to_the_clean_container(story: Story) -> None:
    story.granted("a").ended("a", "lost", note="no heartbeat within the ttl").cleaned(level="hard")

    found = recovery(story.events, Strike(Fate.RUNNER_KILLED, "a", "c-1", T0 + 0.1))

    assert found.lost_after_s == pytest.approx(0.1)
    assert found.back_after_s == pytest.approx(0.2)
    assert (found.resets_s, found.level, found.note) == (0.4, "hard", "no heartbeat within the ttl")


def test_the_failed_levels_of_an_escalated_reset_count_into_its_time(story: Story) -> None:
    story.granted("a").ended("a", "lost")
    story.tell("container.moved", container="c-1", to="resetting", reset_level="hard", reset_ms="600").cleaned()

    assert recovery(story.events, Strike(Fate.RUNNER_KILLED, "a", "c-1", T0)).resets_s == pytest.approx(1.0)


def test_a_dead_holders_container_may_take_ttl_and_reset(story: Story) -> None:
    story.granted("a").ended("a", "lost").cleaned(level="hard")
    found = recovery(story.events, Strike(Fate.RUNNER_KILLED, "a", "c-1", T0 - 4))

    assert checks.dead_holder_replaced(found, ttl_s=2, reap_interval_s=0.5).passed
    assert not checks.dead_holder_replaced(found, ttl_s=1, reap_interval_s=0.5).passed


def test_a_dead_container_may_take_its_reset_only(story: Story) -> None:
    story.granted("a").ended("a", "lost").cleaned(level="hard")

    assert checks.dead_container_replaced(recovery(story.events, Strike(Fate.CONTAINER_KILLED, "a", "c-1", T0))).passed
    late = recovery(story.events, Strike(Fate.CONTAINER_KILLED, "a", "c-1", T0 - 4))
    assert not checks.dead_container_replaced(late).passed


def test_a_container_that_never_comes_back_is_reported(story: Story) -> None:
    story.granted("a").ended("a", "lost")

    check = checks.dead_container_replaced(recovery(story.events, Strike(Fate.CONTAINER_KILLED, "a", "c-1", T0)))

    assert check.figure == "c-1 never came back"


def test_a_lease_that_survives_its_holder_is_reported(story: Story) -> None:
    story.granted("a").ended("a").cleaned()

    check = checks.dead_container_replaced(recovery(story.events, Strike(Fate.CONTAINER_KILLED, "a", "c-1", T0)))

    assert check.figure == "a never lost its lease"


def test_containers_that_wait_for_their_next_user_are_available(story: Story) -> None:
    story.started("c-1").available("c-1").started("c-2").granted("a", "c-2").ended("a", container="c-2")
    story.cleaned("c-2").available("c-2")

    assert checks.all_available(story.events, size=2).passed


@pytest.mark.parametrize("end", ["released", "lost", "cancelled"])
def test_a_container_whose_last_lease_ended_without_a_reset_is_not_available(story: Story, end: str) -> None:
    story.started().available().granted("a").ended("a", end)

    assert not checks.all_available(story.events, size=1).passed


def test_a_container_that_is_held_at_the_end_is_not_available(story: Story) -> None:
    story.started().granted("a")

    assert checks.all_available(story.events, size=1).figure == "c-1 is allocated"


def test_a_container_that_was_never_seen_is_missed(story: Story) -> None:
    story.started().available()

    assert not checks.all_available(story.events, size=2).passed


def test_what_the_engine_still_lists_is_left_behind() -> None:
    assert checks.nothing_left([]).passed
    assert checks.nothing_left(["container x"]).figure == "container x is still there"


def test_a_long_list_of_faults_is_shortened() -> None:
    figure = checks.nothing_left([f"container {n}" for n in range(5)]).figure

    assert figure.endswith("(and 2 more)")
    assert "container 3" not in figure


def test_waits_leave_out_grants_that_nobody_confirmed(story: Story) -> None:
    story.queued("ghost").granted("ghost").ended("ghost", "lost").granted("a", priority=Priority.LOW)

    assert checks.waits_by_priority(story.events) == {Priority.LOW: [0.25]}


def test_resets_are_counted_by_level_without_the_first_start(story: Story) -> None:
    story.started().cleaned().cleaned(level="hard").cleaned()

    assert checks.resets_by_level(story.events) == {"soft": [400, 400], "hard": [400]}


def test_a_tenure_knows_how_it_ended(story: Story) -> None:
    story.granted("a").ended("a", outcome="failed").granted("b")

    first, second = tenures(story.events)

    assert (first.end, first.outcome, first.waited_s) == ("released", "failed", 0.25)
    assert first.ended_at - first.granted_at == pytest.approx(0.1)
    assert second.end == ""


def test_the_report_passes_when_all_checks_do(story: Story) -> None:
    report = _report(story.started().granted("a").ended("a", outcome="passed").cleaned().available())

    assert report.passed
    assert [check["passed"] for check in report.to_json()["checks"]] == [True] * len(report.checks)
    assert report.to_json()["waits"]["normal"] == {"count": 1, "mean_s": 0.25, "max_s": 0.25}
    assert report.to_json()["resets"]["soft"] == {"count": 1, "p50_ms": 400, "max_ms": 400}


def test_the_printed_report_marks_what_failed(story: Story) -> None:
    story.started().granted("a").ended("a", "lost", note="no heartbeat").cleaned(level="hard").available()
    console = Console(file=io.StringIO(), record=True, width=100)

    print_report(console, _report(story, Strike(Fate.RUNNER_KILLED, "a", "c-1", T0)))

    text = console.export_text()
    assert "✗   all runs served" in text
    assert "✓   never two holders at once" in text
    assert "a: its runner was killed" in text


def test_every_event_of_a_life_has_words(story: Story) -> None:
    story.queued("a").granted("a").ended("a", "lost", note="no heartbeat").cleaned()
    facts = {"container": "c-1", "from": "resetting", "to": "resetting", "reset_level": "hard", "reset_ms": "3"}
    story.tell("container.moved", **facts, note="left behind: file /x")

    assert [words(event) for event in story.events] == [
        "a waits (normal)",
        "a gets c-1 after 0.25 s",
        "a loses c-1: no heartbeat",
        "c-1 is clean (soft reset, 400 ms, verified)",
        "c-1 is not clean after its hard reset: left behind: file /x",
    ]


def test_the_plan_has_work_for_every_runner_and_one_of_each_strike() -> None:
    runs = planned_runs()

    assert len(runs) == 16
    assert {run.runner for run in runs} == set(range(RUNNERS))
    assert {run.priority for run in runs} == {priority.label for priority in Priority}
    assert sorted(run.fate for run in runs if run.fate is not Fate.NONE) == sorted(set(Fate) - {Fate.NONE})


def test_the_killed_runner_still_has_requests_in_the_queue() -> None:
    victim = next(run for run in planned_runs() if run.fate is Fate.RUNNER_KILLED)

    def asked_before(run: Run) -> bool:
        return run.runner == victim.runner and run.ask_after_s < victim.ask_after_s and run.priority == "low"

    assert victim.priority == "critical"
    assert any(map(asked_before, planned_runs()))


def test_the_packaged_configuration_is_the_one_in_the_repository() -> None:
    packaged = files("pool.demo").joinpath("demo.yaml").read_text(encoding="utf-8")
    repository = Path(__file__).parents[2] / "config" / "demo.yaml"

    assert packaged == repository.read_text(encoding="utf-8")
    assert POOL in parse_config(packaged).pools


def _report(story: Story, *strikes: Strike) -> Report:
    looks = [Look(lease.owner, lease.request, lease.container, ()) for lease in tenures(story.events)]
    recording = Recording(
        deployment="t", size=1, runs=["a"], events=story.events, looks=looks, strikes=strikes, start_s=1.0, ttl_s=2.0,
        reap_interval_s=0.5, left=[], kept=False,
    )  # fmt: skip
    return make_report(recording, seconds=2.0)
