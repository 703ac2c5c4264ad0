from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pool.config import ResetOptions, ResetRecipe
from pool.models import ContainerInfo, ContainerRecord, Outcome, ResetLevel, ResetReason, State
from pool.ports import Change, ChangeKind, Process
from pool.reset import Baseline, first_level, next_level
from pool.reset.recipe import STAGES, build_script, read_report, shell_pattern

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
    assert next_level(ResetLevel.HARD) is ResetLevel.RECREATE
    assert next_level(ResetLevel.RECREATE) is ResetLevel.RECREATE


def test_an_image_without_a_shell_is_restarted_at_least() -> None:
    options = ResetOptions(recipe=ResetRecipe(shell=None))

    assert first_level(record(reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED), options) is ResetLevel.HARD


def test_nothing_is_reset_where_the_configuration_says_none() -> None:
    options = ResetOptions(on_release=ResetLevel.NONE)

    assert first_level(record(reason=ResetReason.ON_RELEASE, outcome=Outcome.PASSED), options) is ResetLevel.NONE


def run(recipe: ResetRecipe, tmp_path: Path) -> dict[str, int]:
    """Run all stages but the first, which kills every process it finds, in a shell of this machine."""
    script = build_script(recipe, {}, marker="m")
    harmless = script[script.index("printf '%s stage %s %s\\n' m terminate_processes") :]
    done = subprocess.run(["sh", "-c", harmless], capture_output=True, text=True, cwd=tmp_path, check=False)
    return dict(read_report(done.stdout, marker="m").exit_codes)


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


def test_a_report_names_the_first_stage_that_failed_or_was_not_reached() -> None:
    assert read_report("m stage terminate_processes 0\nm stage clear_temporary 1\n", marker="m").problem == (
        "stage clear_temporary ended with code 1"
    )
    assert read_report("", marker="m").problem == "stage terminate_processes was not reached"


def test_output_without_the_marker_of_this_run_is_no_report() -> None:
    forged = "".join(f"guess stage {stage} 0\n" for stage in STAGES)

    assert read_report(forged, marker="m").problem


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
        (baseline(changes=("modified /tmp",)), []),
        (baseline(changes=("modified /var", "modified /var/tmp")), []),
    ],
)
def test_every_difference_is_named_and_a_wiped_directory_is_none(now: Baseline, named: list[str]) -> None:
    assert baseline().differences(now, ResetOptions()) == named


def test_what_the_configuration_ignores_is_no_difference() -> None:
    options = ResetOptions(ignore_files=["/home/*"], ignore_processes=["cron*"], recipe=ResetRecipe(logs=["/log/*"]))
    now = baseline(
        processes=("init", "server", "cron -f"),
        changes=("added /home/x", "modified /log", "modified /log/server"),
    )

    assert baseline().differences(now, options) == []
