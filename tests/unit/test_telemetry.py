"""What logs never show, and what nobody can write into them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pool.models import LeaseRef
from pool.redaction import redact
from pool.telemetry import escape

SECRET = "x7Qd-_" * 6
REF = LeaseRef("browsers", "run-1", 1_790_000_000_000_000, SECRET)
API_TOKEN = "cpt_0123456789ab_" + "S" * 43


@pytest.mark.parametrize(
    "text",
    [
        f"POST /c/{REF.sealed()}/mcp?x=1",
        f"GET /c/{REF.sealed().replace('_', '%5F', 1)}/mcp",
        f"lease {REF} is lost",
        f"cannot reach http://127.0.0.1:8700/c/{REF.sealed()}",
        f"{{'Authorization': 'Bearer {API_TOKEN}'}}",
        f"b'Authorization: Bearer {API_TOKEN}'",
        f"authorization: bearer\t{API_TOKEN}",
        f"Bearer {SECRET}",
        f"Basic {SECRET}",
        f"Set-Cookie: sid={SECRET}; Path=/",
        f"Cookie: a=b; sid={SECRET}",
        f"'cookie', 'sid={SECRET}'",
        f"rediss://user:{SECRET}@cache:6379/0",
        f"{API_TOKEN}",
        f"<{API_TOKEN}>",
    ],
)
def test_what_proves_something_to_us_is_hidden_wherever_it_stands(text: str) -> None:
    hidden = redact(text)

    assert "•••" in hidden
    assert SECRET not in hidden
    assert "S" * 43 not in hidden
    assert REF.sealed()[8:40] not in hidden


@pytest.mark.parametrize(
    "text", ["browsers/run-1", "GET /v1/pools/web/queue", "1790000000000000", "a basic token", "http://web:80/x"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "a\nb",
        "a\rb",
        "a\x1b[31mb",
        "a\x00b",
        "a\u2028b",
        "a\u2029b",
        "a\x85b",
        "a\u202eb",
        "a\u200bb",
        "\x9b31m",
        "\ud800",
    ],
)
def test_what_steers_a_terminal_or_ends_a_line_is_escaped(text: str) -> None:
    shown = escape(text)

    assert shown.isprintable()
    assert "\\" in shown


SCRIPT = """
import logging, sys
import structlog
from pool.telemetry import configure_logging

configure_logging(sys.argv[1], verbose=True)
secret, forged = sys.argv[2], "x\\n2026-01-01T00:00:00Z [info     ] lease.granted owner=forged\\x1b[2J\\u2028y"
log = structlog.get_logger()
log.info("lease.granted", owner=forged, token="hunter22", headers={"Authorization": "hunter22", "X": [secret]})
log.info(forged, **{forged: 1})
try:
    raise ValueError(forged + secret)
except ValueError:
    log.exception("broken", why=secret)
logging.getLogger("aiohttp.server").error("Error handling request %s", forged + secret)
try:
    raise ValueError(forged + secret)
except ValueError as error:
    logging.getLogger("asyncio").error("Task exception", exc_info=error)
"""


def logged(fmt: str) -> str:
    """What a process of its own logs, since logging is a process's own."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, fmt, f"{API_TOKEN} {REF} {REF.sealed()}"],
        capture_output=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    return done.stderr.decode()


def test_no_secret_gets_into_a_log_and_no_entry_can_be_forged_as_text() -> None:
    text = logged("text")

    entries = [line for line in text.splitlines() if line.startswith("20")]
    assert len(entries) == 5
    assert all(line.startswith("  ") for line in text.splitlines() if line not in entries)
    assert not [character for character in text if character != "\n" and not character.isprintable()]
    assert not [secret for secret in (SECRET, "S" * 43, "hunter22", REF.sealed()) if secret in text]


def test_no_secret_gets_into_a_log_and_each_entry_is_one_line_as_json() -> None:
    text = logged("json")

    entries = [json.loads(line) for line in text.split("\n") if line]
    assert [entry["level"] for entry in entries] == ["info", "info", "error", "error", "error"]
    assert text.isascii()
    assert entries[0]["owner"].startswith("x\n2026")
    assert not [secret for secret in (SECRET, "S" * 43, "hunter22", REF.sealed()) if secret in text]


def test_configuring_twice_writes_an_entry_once() -> None:
    script = (
        "import logging\nfrom pool.telemetry import configure_logging\n"
        "configure_logging()\nconfigure_logging()\nlogging.getLogger('x').warning('once')"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)

    assert done.stderr.count("once") == 1
