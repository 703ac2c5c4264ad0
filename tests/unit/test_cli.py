"""The command line without a server: help, configuration, exit codes, start-up."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import pool.app
import pool.demo
from pool.cli import app
from pool.cli.exits import MEANING, Exit, exit_code
from pool.cli.render import span, status_view
from pool.config import Config
from pool.errors import (
    AcquireTimeout,
    AlreadyReleased,
    EngineUnavailable,
    Forbidden,
    LeaseLost,
    PoolDraining,
    PoolError,
    PortTaken,
    QueueFull,
    RequestConflict,
    StoreUnavailable,
    Unauthenticated,
    UnknownPool,
)
from pool.models import ContainerInfo, ContainerRecord, PoolStatus, Priority, State, WaitingRequest

ROOT = Path(__file__).parents[2]
VALID = "pools: {web: {size: 2, container: {image: nginx, ports: [{container: 80, host: 8000}]}}}"
COMMANDS = [
    "serve",
    "run",
    "acquire",
    "release",
    "status",
    "reset",
    "quarantine",
    "restore",
    "drain",
    "resume",
    "gc",
    "evidence",
    "evidence list",
    "evidence show",
    "evidence get",
    "demo",
    "top",
    "events",
    "logs",
    "doctor",
    "queue",
    "extend",
    "config",
    "config check",
    "config show",
    "config schema",
]

runner = CliRunner(env={"POOL_CONFIG": None, "POOL_URL": None, "POOL_LEASE": None, "COLUMNS": "200"})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    path = tmp_path / "valid.yaml"
    path.write_text(VALID)
    return path


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    result = runner.invoke(app, [*command.split(), "--help"])

    assert result.exit_code == 0
    assert f"poolctl {command.split(maxsplit=1)[0]}" in result.stdout.split("Examples")[1]


def test_the_version_is_that_of_the_package() -> None:
    result = runner.invoke(app, ["--version"])

    assert result.stdout == f"poolctl {pool.__version__}\n"


def test_unknown_commands_and_options_are_usage_errors() -> None:
    assert runner.invoke(app, ["nonsense"]).exit_code == Exit.BAD_INPUT
    assert runner.invoke(app, ["status", "--nonsense"]).exit_code == Exit.BAD_INPUT
    assert runner.invoke(app, ["acquire", "--json", "--shell"]).exit_code == Exit.BAD_INPUT


def test_starting_is_quick_since_no_client_of_redis_or_docker_is_loaded(valid: Path) -> None:
    script = (
        "import sys; from pool.cli import app\n"
        "for words in (['--help'], ['config', 'check', sys.argv[1]]): app(words, standalone_mode=False)\n"
        "print(sorted({'redis', 'docker', 'aiohttp', 'structlog'} & {*sys.modules}), file=sys.stderr)"
    )

    ran = subprocess.run([sys.executable, "-c", script, valid], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stderr.strip() == "[]"


# Errors and exit codes


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AcquireTimeout, 3),
        (QueueFull, 3),
        (PoolDraining, 3),
        (LeaseLost, 4),
        (AlreadyReleased, 4),
        (Unauthenticated, 6),
        (Forbidden, 6),
        (UnknownPool, 2),
        (RequestConflict, 2),
        (StoreUnavailable, 2),
        (EngineUnavailable, 2),
        (PortTaken, 2),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: type[PoolError], code: int) -> None:
    assert exit_code(error("x")) == code


def test_the_page_shows_the_table_of_exit_codes_that_the_code_has() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()

    table = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)

    assert table == [(str(int(code)), meaning) for code, meaning in MEANING.items()]
    assert {*MEANING} == {*Exit}


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, valid: Path) -> None:
    monkeypatch.setattr("pool.cli.config.describe", lambda config: 1 / 0)

    result = runner.invoke(app, ["config", "check", str(valid)])

    assert isinstance(result.exception, ZeroDivisionError)


# Configuration


def test_check_says_what_a_configuration_describes(valid: Path) -> None:
    result = runner.invoke(app, ["config", "check", str(valid)])

    assert result.exit_code == 0
    assert "pool web: 2 × nginx" in result.stdout
    assert "web-2  default-web-2  127.0.0.1:8001 → 80" in result.stdout


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_the_configurations_of_the_project_are_valid(path: Path) -> None:
    assert runner.invoke(app, ["config", "check", str(path)]).exit_code == 0


def test_check_writes_one_line_for_each_problem(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("pools: {web: {sise: 2, size: -1, container: {image: nginx}}}")

    result = runner.invoke(app, ["config", "check", str(path)])

    assert result.exit_code == Exit.BAD_INPUT
    lines = sorted(result.stderr.splitlines())
    assert [line.split(";")[0] for line in lines] == [
        f"error: {path}: pools.web.sise: unknown key",
        f"error: {path}: pools.web.size: -1 is not allowed",
    ]


def test_a_typo_in_the_yaml_is_named_by_line_and_a_missing_file_by_path(tmp_path: Path) -> None:
    path = tmp_path / "typo.yaml"
    path.write_text("pools:\n  web: {size: 2")

    typo = runner.invoke(app, ["config", "check", str(path)])
    missing = runner.invoke(app, ["config", "check", "nowhere.yaml"])

    assert (typo.exit_code, missing.exit_code) == (Exit.BAD_INPUT, Exit.BAD_INPUT)
    assert "typo.yaml: line 2" in typo.stderr
    assert missing.stderr.startswith("error: nowhere.yaml: cannot be read")


def test_show_writes_yaml_or_json_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text(
        "redis: {url: 'redis://u:hush@h'}\npools: {web: {size: 1, container: {image: i}, health: {tcp: null}}}"
    )

    as_yaml = runner.invoke(app, ["config", "show", str(path)])
    as_json = runner.invoke(app, ["config", "show", "--json", str(path)])

    assert "deployment: default\n" in as_yaml.stdout
    assert json.loads(as_json.stdout)["pools"]["web"]["limits"]["ttl_s"] == 15
    assert "hush" not in as_yaml.stdout + as_json.stdout


def test_schema_is_the_json_schema_of_the_configuration() -> None:
    document = json.loads(runner.invoke(app, ["config", "schema"]).stdout)

    assert document["title"] == "containerpool configuration"
    assert document["properties"]["pools"]["description"] == "The pools by name."
    assert "$id" not in document


# serve and demo


def test_serve_hands_the_configuration_on(monkeypatch: pytest.MonkeyPatch, valid: Path) -> None:
    served: list[tuple[str, bool]] = []

    async def serve(config: Config, *, remove: bool = False) -> None:
        served.append((next(iter(config.pools)), remove))

    monkeypatch.setattr(pool.app, "serve", serve)
    monkeypatch.setattr("pool.telemetry.configure_logging", lambda fmt, *, verbose: served.append((fmt, verbose)))

    result = runner.invoke(app, ["serve", "--remove", "--log-format", "json", "-v"], env={"POOL_CONFIG": str(valid)})

    assert result.exit_code == 0
    assert served == [("json", True), ("web", True)]


def test_serve_tells_why_it_cannot_start(monkeypatch: pytest.MonkeyPatch, valid: Path) -> None:
    async def serve(config: Config, *, remove: bool = False) -> None:
        await asyncio.sleep(0)
        raise PortTaken("port 8000 is taken", hint="choose another one")

    monkeypatch.setattr(pool.app, "serve", serve)
    monkeypatch.setattr("pool.telemetry.configure_logging", lambda fmt, *, verbose: None)

    result = runner.invoke(app, ["serve", str(valid)])

    assert result.exit_code == Exit.BAD_INPUT
    assert result.stderr == "error: port 8000 is taken\nhint: choose another one\n"


def test_serve_takes_the_default_file_and_says_so_when_there_is_none(tmp_path: Path) -> None:
    nothing = runner.invoke(app, ["serve", "--check"])
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pool.yaml").write_text(VALID)
    default = runner.invoke(app, ["serve", "--check"])

    assert nothing.exit_code == Exit.BAD_INPUT
    assert "POOL_CONFIG" in nothing.stderr
    assert "pool web: 2 × nginx" in default.stdout


def test_demo_passes_its_options_and_its_exit_code_on(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[bool] = []

    def run_demo(*, console: Console, as_json: bool = False, keep: bool = False) -> int:
        options.extend([as_json, keep])
        return 1

    monkeypatch.setattr(pool.demo, "run_demo", run_demo)

    assert runner.invoke(app, ["demo", "--json"]).exit_code == Exit.CHECK_FAILED
    assert options == [True, False]


# What a status looks like


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (4.2, "4s"), (99.4, "99s"), (184, "3m04s"), (5999, "99m59s"), (7500, "2h05m"), (400_000, "4d15h")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_what_others_wrote_is_shown_as_it_is_and_steers_no_terminal() -> None:
    info = ContainerInfo("web-1", "n", "127.0.0.1", {80: 8000}, "http://127.0.0.1:8000")
    record = ContainerRecord(
        info, State.ALLOCATED, 1, 1, since=90, owner="[red]eve\x1b[2J", priority=Priority.HIGH, expires_at=115
    )
    queue = (WaitingRequest("r1", "[bold]bob\n", Priority.LOW, 1, 12.0, Priority.LOW),)
    status = PoolStatus("web", 100, "i", draining=True, manager="", containers=(record,), queue=queue)
    console = Console(width=200, highlight=False)

    with console.capture() as captured:
        console.print(status_view([status]))

    text = captured.get()
    assert "[red]eve�[2J" in text
    assert "[bold]bob�" in text
    assert "\x1b" not in text
    assert re.search(r"web-1 +allocated +10s .*, high +15s +0 +1 +http://127.0.0.1:8000", text)
    assert "no active manager" in text
    assert "draining" in text
