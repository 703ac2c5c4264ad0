"""A server that logs all it can logs no secret, and nobody can write a line of his own into its log."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support_access import own_redis
from tests.talkative import FORGED


@pytest.mark.parametrize("fmt", ["text", "json"])
async def test_neither_log_nor_event_nor_audit_has_a_secret_or_a_forged_line(fmt: str) -> None:
    async with own_redis() as url:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-X", "dev", "-W", "ignore", "-m", "tests.talkative", url, fmt],
            capture_output=True, cwd=Path(__file__).parents[2], timeout=100, check=False,
        )  # fmt: skip

    log = done.stderr.decode()
    assert done.returncode == 0, log[-3000:]
    said = json.loads(done.stdout)
    assert "http.request" in log
    assert "lease.granted" in said["redis"]
    for secret in said["secrets"]:
        for part in (secret, secret[8:40]):
            assert part not in log, [line for line in log.splitlines() if part in line][:3]
            assert part not in said["redis"]
    assert not [line for line in log.splitlines() if line.startswith(FORGED)]
    assert not [character for character in log if character != "\n" and not character.isprintable()]
