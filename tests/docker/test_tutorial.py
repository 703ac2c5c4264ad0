"""The tutorial, done word by word."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker import APIClient

from pool.embedded import stop_server
from tests.docker.cleaning import left_of
from tests.docs_commands import DOCS, ROOT
from tests.docs_shell import Command, File, looks_like, open_shell, steps_of

pytestmark = pytest.mark.long


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody who never used a pool; it has a short path, since Redis listens on a socket in it."""
    state_dir = tempfile.mkdtemp(prefix="cp")
    given = {name: value for name, value in os.environ.items() if not name.startswith(("POOL_", "PYTEST_", "PYTHON"))}
    bin_dir = str(Path(sys.executable).parent)
    yield given | {
        "PATH": f"{bin_dir}:{given.get('PATH', '')}",
        "POOL_STATE_DIR": state_dir,
        "TMPDIR": str(tmp_path),
        "COLUMNS": "160",
    }
    stop_server(Path(state_dir))
    shutil.rmtree(state_dir, ignore_errors=True)


@pytest.mark.timeout(300)  # some twenty commands, each a process of its own
async def test_the_tutorial_does_what_it_says(
    sample_image: str,
    deployment: str,
    docker_api: APIClient,
    free_port: int,
    reader: dict[str, str],
    tmp_path: Path,
) -> None:
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    mine = page.replace("8700", str(free_port)).replace("tutorial", deployment)

    async with open_shell(ROOT, reader) as shell:
        for step in steps_of(mine):
            match step:
                case File(name, text):
                    here, _ = await shell.type("pwd", deadline_s=30)
                    assert tmp_path in Path(here.strip()).parents
                    (Path(here.strip()) / name).write_text(text)
                case Command(text, said):
                    printed, code = await shell.type(text, deadline_s=90)
                    assert (code, looks_like(printed, said)) == (0, True), f"$ {text}\n{printed}"

    assert left_of(docker_api, deployment) == []
