from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pool.config import ResetOptions, ResetRecipe
from pool.models import ContainerInfo, ContainerRecord, Outcome, ResetLevel, ResetReason, State
from pool.ports import Change, ChangeKind, Process
from pool.reset import Baseline, first_level, next_level
from pool.reset.recipe import MEDIUM_STAGES, STAGES, build_script, shell_pattern, stage_names
from pool.reset.report import ReportReader, StageReport

INFO = ContainerInfo("a", "a", "127.0.0.1", {}, "")


def record(state: State = State.CLEANING, **fields: object) -> ContainerRecord:
    return ContainerRecord(INFO, state, 1, 0, 0.0, **fields)  # type: ignore[arg-type]  # fields of the record


@pytest.mark.parametrize(
    ("found", "level"),
    [
        (record(reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED), ResetLevel.SOFT),
        (record(reason=ResetReason.ON_RELEASE, outcome=Outcome.FAILED), ResetLevel.HARD),
        (record(reason=ResetReason.ON_RELEASE, outcome=Outcome.ERROR), ResetLevel.HARD),
        (record(State.RESETTING, reason=ResetReason.ON_EXPIRY), ResetLevel.HARD),
        (record(State.RESETTING, reason=ResetReason.ON_HEALTH_FAILURE), ResetLevel.HARD),
        (record(State.RESETTING, reason=ResetReason.MANUAL), ResetLevel.SOFT),
        (record(State.RESETTING, reason=ResetReason.MANUAL, level=ResetLevel.RECREATE), ResetLevel.RECREATE),
        (record(State.STARTING), ResetLevel.RECREATE),
    ],
)
def test_a_reset_begins_with_the_level_its_reason_asks_for(found: ContainerRecord, level: ResetLevel) -> None:
    assert first_level(found, ResetOptions()) is level


def test_the_level_of_a_reset_never_falls() -> None:
    reached = record(reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED, level=ResetLevel.HARD)

    assert first_level(reached, ResetOptions()) is ResetLevel.HARD
    assert next_level(ResetLevel.HARD, ResetOptions()) is ResetLevel.RECREATE
    assert next_level(ResetLevel.RECREATE, ResetOptions()) is ResetLevel.RECREATE


def test_a_reset_escalates_to_medium_only_where_the_recipe_says_what_that_is() -> None:
    bare, able = ResetOptions(), ResetOptions(recipe=ResetRecipe(medium_kill=["chrom*"]))
    asked = record(State.RESETTING, reason=ResetReason.MANUAL, level=ResetLevel.MEDIUM)

    assert next_level(ResetLevel.SOFT, bare) is ResetLevel.HARD
    assert next_level(ResetLevel.SOFT, able) is ResetLevel.MEDIUM
    assert next_level(ResetLevel.MEDIUM, able) is ResetLevel.HARD
    assert first_level(asked, bare) is ResetLevel.HARD
    assert first_level(asked, able) is ResetLevel.MEDIUM


@pytest.mark.parametrize(
    ("reason", "outcome", "level"),
    [
        (ResetReason.ON_ALLOCATION, None, ResetLevel.MEDIUM),
        (ResetReason.ON_RELEASE, Outcome.PASSED, ResetLevel.NONE),
        (ResetReason.ON_RELEASE, Outcome.FAILED, ResetLevel.SOFT),
        (ResetReason.ON_RELEASE, Outcome.ERROR, ResetLevel.RECREATE),
        (ResetReason.ON_HEALTH_FAILURE, None, ResetLevel.RECREATE),
        (ResetReason.MANUAL, None, ResetLevel.MEDIUM),
        (None, None, ResetLevel.MEDIUM),
    ],
)
def test_every_reason_and_outcome_has_a_level_of_its_own(
    reason: ResetReason | None, outcome: Outcome | None, level: ResetLevel
) -> None:
    options = ResetOptions(
        on_allocation=ResetLevel.MEDIUM,
        on_release=ResetLevel.NONE,
        on_failure=ResetLevel.SOFT,
        on_error=ResetLevel.RECREATE,
        on_health_failure=ResetLevel.RECREATE,
        manual=ResetLevel.MEDIUM,
        recipe=ResetRecipe(medium_kill=[]),
    )

    assert first_level(record(reason=reason, outcome=outcome), options) is level


def test_an_image_without_a_shell_is_restarted_at_least() -> None:
    options = ResetOptions(recipe=ResetRecipe(shell=None))

    assert first_level(record(reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED), options) is ResetLevel.HARD


def test_nothing_is_reset_where_the_configuration_says_none() -> None:
    options = ResetOptions(on_release=ResetLevel.NONE)

    assert first_level(record(reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED), options) is ResetLevel.NONE


def read(output: str, marker: str = "m") -> StageReport:
    reader = ReportReader(marker)
    reader.feed(output.encode())
    return reader.report()


def report(recipe: ResetRecipe, tmp_path: Path) -> StageReport:
    """Run all stages but the first, which kills every process it finds, in a shell of this machine."""
    script = "\n".join(build_script(recipe, {}, marker="m"))
    harmless = script[script.index("printf '%s stage %s %s\\n' m terminate_processes") :]
    done = subprocess.run(["sh", "-c", harmless], capture_output=True, text=True, cwd=tmp_path, check=False)
    return read(done.stdout)


def run(recipe: ResetRecipe, tmp_path: Path) -> dict[str, int]:
    return {stage.name: stage.exit_code for stage in report(recipe, tmp_path).stages}


def test_the_stages_wipe_files_hidden_ones_too_and_empty_logs(tmp_path: Path) -> None:
    wiped = tmp_path / "with space"
    wiped.mkdir()
    for name in ("a", ".hidden", "..odd"):
        (wiped / name).write_text("x")
    (wiped / "directory").mkdir()
    log, kept = tmp_path / "server.log", tmp_path / "kept"
    log.write_text("line")
    kept.write_text("x")
    (tmp_path / "link.log").symlink_to(kept)

    codes = run(ResetRecipe(temporary=[f"{wiped}/*"], logs=[f"{tmp_path}/*.log"]), tmp_path)

    assert codes == dict.fromkeys(STAGES, 0)
    assert list(wiped.iterdir()) == []
    assert log.read_text() == ""
    assert kept.read_text() == "x", "a log that is a link is not followed"


def test_a_command_that_fails_fails_its_stage_and_those_after_it_do_not_run(tmp_path: Path) -> None:
    recipe = ResetRecipe.model_validate(
        {"temporary": [], "environment": ["true", "exit 3", f"touch {tmp_path}/never"], "validate": ["true"]}
    )

    codes = run(recipe, tmp_path)

    assert codes["reset_environment"] == 3
    assert codes["validate"] == 0
    assert not (tmp_path / "never").exists()


def test_a_report_names_the_first_stage_that_failed_with_what_it_printed() -> None:
    printed = "rm: no\n  such luck\n"
    output = f"m begin\nm stage terminate_processes 0\n{printed}m stage clear_temporary 1\nm stage clear_caches 2\n"

    assert read(output).problem(STAGES) == "stage clear_temporary ended with code 1: rm: no such luck"
    assert read("").problem(STAGES) == "stage terminate_processes was not reached"


def test_a_report_is_the_same_however_its_output_is_cut() -> None:
    output = "m begin\nm stage terminate_processes 0\nsaid\nm stage clear_temporary 3\nm file /tmp/a b\n"
    reader = ReportReader("m")

    for letter in output.encode():
        reader.feed(bytes([letter]))

    found = reader.report()
    assert [(stage.name, stage.exit_code, stage.printed) for stage in found.stages] == [
        ("terminate_processes", 0, ""),
        ("clear_temporary", 3, "said"),
    ]
    assert all(stage.ms >= 0 for stage in found.stages)
    assert found.files == {"/tmp/a b"}


def test_what_a_stage_prints_is_cut_and_takes_no_room() -> None:
    reader = ReportReader("m")

    for _ in range(100):
        reader.feed(b"noise" * 5000 + b"\n" + b"x" * 50_000)
    reader.feed(b"\nm stage terminate_processes 1\n")

    (stage,) = reader.report().stages
    assert 0 < len(stage.printed) <= 300


def test_output_without_the_marker_of_this_run_is_no_report() -> None:
    forged = "".join(f"guess stage {stage} 0\n" for stage in STAGES)

    assert read(forged).problem(STAGES) == "stage terminate_processes was not reached"


def test_programs_that_a_tenant_put_first_on_the_path_are_not_run(tmp_path: Path) -> None:
    planted, wiped, ran = tmp_path / "bin", tmp_path / "wiped", tmp_path / "ran"
    planted.mkdir()
    wiped.mkdir()
    (wiped / "file").write_text("x")
    (planted / "rm").write_text(f"#!/bin/sh\necho ran >{ran}\n")
    (planted / "rm").chmod(0o755)
    rest = build_script(ResetRecipe(temporary=[f"{wiped}/*"], environment=["rm -f nothing"]), {}, marker="m").rest

    subprocess.run(["sh", "-c", f"PATH={planted}:$PATH; {rest}"], capture_output=True, cwd=tmp_path, check=True)

    assert list(wiped.iterdir()) == []
    assert not ran.exists()


def test_a_stage_that_is_reported_twice_counts_as_the_worse_one() -> None:
    output = "m begin\nm stage validate 0\nm stage validate 1\nm stage validate 0\nm stage clear_logs x\n"

    assert read(output).problem(["validate"]) == "stage validate ended with code 1"
    assert read(output).problem(["clear_logs"]) == "stage clear_logs ended with code 256"


def test_what_a_tenant_makes_a_stage_print_is_no_command_to_a_terminal() -> None:
    found = read("m begin\nrm: \x1b[2Jmine\x07\nm stage clear_temporary 1\n")

    assert found.problem(["clear_temporary"]) == r"stage clear_temporary ended with code 1: rm: \x1b[2Jmine\x07"


def test_a_stage_that_fails_says_why(tmp_path: Path) -> None:
    recipe = ResetRecipe.model_validate({"temporary": [], "validate": ["echo out of order; echo broken >&2; exit 4"]})

    assert report(recipe, tmp_path).problem(STAGES[1:]) == "stage validate ended with code 4: out of order broken"


def test_a_log_that_is_not_emptied_is_listed(tmp_path: Path) -> None:
    log, link = tmp_path / "a.log", tmp_path / "b.log"
    log.write_text("line")
    link.symlink_to(log)
    recipe = ResetRecipe(temporary=[], logs=[f"{tmp_path}/*.log"], environment=[f"echo again > {log}"])

    assert report(recipe, tmp_path).files == {f"{log} (not empty)", f"{link} (a link)"}


def test_only_a_medium_reset_kills_workers_and_starts_them_again(tmp_path: Path) -> None:
    recipe = ResetRecipe(
        keep_processes=["server", "worker"], medium_kill=["work*"], restart=[f"touch {tmp_path}/began"]
    )

    soft, medium = (
        "\n".join(build_script(recipe, {}, marker="m", level=level)) for level in (ResetLevel.SOFT, ResetLevel.MEDIUM)
    )

    assert stage_names(ResetLevel.MEDIUM) == MEDIUM_STAGES
    assert stage_names(ResetLevel.HARD) == STAGES
    assert "began" not in soft
    assert "work*) ;; *) continue" in medium
    assert medium.index("work*") < medium.index("clear_temporary") < medium.index("began") < medium.index("m validate")


@pytest.mark.parametrize("pattern", ["/a b/$(touch x)", "/a;b", "/a'b", "/`id`"])
def test_a_path_is_data_to_the_shell(tmp_path: Path, pattern: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f"printf %s {shell_pattern(pattern)}"], capture_output=True, text=True, cwd=tmp_path, check=True
    )

    assert done.stdout == pattern
    assert list(tmp_path.iterdir()) == []


def baseline(
    *, processes: tuple[str, ...] = ("init", "server"), changes: tuple[str, ...] = (), files: str = ""
) -> Baseline:
    return Baseline.of(
        1,
        [Process(n, command) for n, command in enumerate(processes)],
        [Change(ChangeKind(kind), path) for kind, _, path in (change.partition(" ") for change in changes)],
        files.split(),
    )


def test_an_unchanged_container_differs_in_nothing() -> None:
    assert baseline().differences(baseline(), ResetOptions()) == []
    assert Baseline.from_json(baseline().to_json()) == baseline()


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (baseline(processes=("init", "server", "stray")), ["process stray"]),
        (baseline(processes=("init", "server", "server")), ["process server"]),
        (baseline(processes=("init",)), ["missing process server"]),
        (baseline(changes=("added /opt/x",)), ["file /opt/x (added)"]),
        (baseline(changes=("modified /etc/passwd",)), ["file /etc/passwd (modified)"]),
        (baseline(changes=("deleted /bin/sh",)), ["file /bin/sh (deleted)"]),
        (baseline(changes=("added /tmp/x",)), ["file /tmp/x (added)"]),
        (baseline(files="/dev/shm/x"), ["file /dev/shm/x"]),
        (baseline().with_changes_of(baseline(changes=("added /x",))), ["file /x (added)"]),
        (baseline(changes=("modified /tmp",)), []),
        (baseline(changes=("modified /var", "modified /var/tmp")), []),
    ],
)
def test_every_difference_is_named_and_a_wiped_directory_is_none(now: Baseline, named: list[str]) -> None:
    assert baseline().differences(now, ResetOptions()) == named


def seen(*changes: tuple[ChangeKind, str, str | None]) -> Baseline:
    return Baseline.of(1, [], [Change(*change) for change in changes], ())


OPT_X = "file /opt/x (type, permissions or owner)"
ADDED, MODIFIED = ChangeKind.ADDED, ChangeKind.MODIFIED


@pytest.mark.parametrize(
    ("before", "now", "named"),
    [
        ([], [(MODIFIED, "/tmp", "")], []),
        ([], [(MODIFIED, "/tmp", "40000 0 0 0")], ["file /tmp (type, permissions or owner)"]),
        ([(MODIFIED, "/tmp", "40700 0 0 0")], [(MODIFIED, "/tmp", "40700 0 0 0")], []),
        ([(MODIFIED, "/tmp", "40700 0 0 0")], [], ["file /tmp (type, permissions or owner)"]),
        ([(ADDED, "/opt/x", "40700 0 0 0")], [(ADDED, "/opt/x", "40777 0 0 0")], [OPT_X]),
        ([(ADDED, "/opt/x", None)], [(ADDED, "/opt/x", "40777 0 0 0")], []),
        ([(MODIFIED, "/tmp", "")], [(MODIFIED, "/tmp", None)], []),
        ([(ADDED, "/tmp/x", "100644 0 0 0")], [], []),
        ([], [(ADDED, "/log/new", "100644 0 0 0")], ["file /log/new (added)"]),
        ([], [(MODIFIED, "/log/server", "")], []),
        ([], [(MODIFIED, "/log/server", "100000 0 0 0")], ["file /log/server (type, permissions or owner)"]),
    ],
)  # fmt: skip
def test_what_a_tenant_did_to_the_permissions_of_what_stays_is_a_difference(
    before: list[tuple[ChangeKind, str, str | None]], now: list[tuple[ChangeKind, str, str | None]], named: list[str]
) -> None:
    options = ResetOptions(recipe=ResetRecipe(logs=["/log/*"]))
    was = Baseline.from_json(seen(*before).to_json())

    assert was.differences(seen(*now), options) == named


def test_a_baseline_of_an_older_manager_is_read() -> None:
    assert (
        Baseline.from_json('[1, ["init"], [], ["/tmp/x"]]').differences(baseline(processes=("init",)), ResetOptions())
        == []
    )


def test_what_the_configuration_ignores_is_no_difference() -> None:
    options = ResetOptions(ignore_files=["/home/*"], ignore_processes=["cron*"], recipe=ResetRecipe(logs=["/log/*"]))
    now = baseline(
        processes=("init", "server", "cron -f"),
        changes=("added /home/x", "modified /log", "modified /log/server"),
    )
    now = replace(now, files=("/home/y", "/home/z.log (not empty)"))

    assert baseline().differences(now, options) == []
