"""A test runner, as a process: `python -m pool.demo.runner URL POOL`, its runs as one line of JSON on stdin.

It does its runs side by side on one client. What happens it tells on stdout, a JSON object a line:

- `looked`: a run has a container and lists what it found there that is not its own
- `working`: the run has left its own dirt, and works
- `finished`, `interrupted`: it gave the container back; it lost it, and starts over
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, urlsplit

import pool
from pool.client import Client, Lease
from pool.demo.plan import Fate, Run
from pool.errors import LeaseLost

STEP_S = 0.1
_WAIT_S = 45.0


class Browser:
    """Talks to the server in the sample image, as an MCP client would."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._session: dict[str, str] = {}

    def leftovers(self) -> list[str]:
        """Return what former users left, one thing each."""
        _, found = self._call("GET", "/leftovers")
        return found.splitlines()

    def open_session(self) -> None:
        """Open a session; the container starts a browser process for it."""
        headers, _ = self._call("POST", "/mcp")
        self._session = {"Mcp-Session-Id": headers["Mcp-Session-Id"]}

    def use_session(self) -> None:
        """Do something in the open session."""
        self._call("POST", "/mcp", headers=self._session)

    def close_session(self) -> None:
        """Close the session, and so its browser process."""
        self._call("DELETE", "/mcp", headers=self._session)

    def leave_dirt(self, whose: str) -> None:
        """Leave behind one of everything that a reset has to find."""
        name = quote(whose)
        self._call("POST", f"/file?path=/tmp/{name}.png", body=b"a screenshot")
        for path in (f"/cookie?user={name}", f"/cache?name={name}", f"/log?line={name}", "/stray"):
            self._call("POST", path)

    def _call(
        self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[Message, str]:
        connection = HTTPConnection(*self._address, timeout=5)
        try:
            connection.request(method, path, body=body or None, headers=headers or {})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status != 200:
            raise HTTPException(f"{method} {path}: {answer.status} {answer.reason}")
        return answer.headers, text


def _tell(what: str, run: Run, **facts: object) -> None:
    """Tell the director; one write a line, since several threads do so."""
    os.write(sys.stdout.fileno(), json.dumps({"what": what, "run": run.name, **facts}).encode() + b"\n")


def _carry_out(client: Client, pool_name: str, run: Run) -> None:
    """Do one run, and again if its container is lost."""
    time.sleep(run.ask_after_s)
    while not _attempt(client, pool_name, run):
        run = replace(run, fate=Fate.NONE)


def _attempt(client: Client, pool_name: str, run: Run) -> bool:
    lost = threading.Event()
    lease = client.acquire(
        pool_name, priority=run.priority, owner=run.name, wait_s=_WAIT_S, on_lost=lambda _: lost.set()
    )
    try:
        _work(lease, run)
        lease.release(run.outcome)
    except (LeaseLost, HTTPException, OSError) as error:
        # The connection to a dying container breaks a moment before its lease does.
        if not lost.wait(2 * lease.data.ttl_s):
            lease.release("error")
        _tell("interrupted", run, container=lease.container.id, why=str(error))
        return False
    _tell("finished", run)
    return True


def _work(lease: Lease, run: Run) -> None:
    browser = Browser(lease.url)
    found = browser.leftovers()
    _tell("looked", run, request=lease.request_id, container=lease.container.id, fence=lease.fence, leftovers=found)
    browser.open_session()
    browser.leave_dirt(run.name)
    _tell("working", run, container=lease.container.id)
    steps: Iterable[int] = range(run.steps) if run.fate is Fate.NONE else itertools.count()
    for _ in steps:
        lease.check()
        browser.use_session()
        time.sleep(STEP_S)
    if not run.leaves_session:
        browser.close_session()


def _end_with_parent() -> None:
    """End this process when its stdin is closed: nobody listens any more."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main(url: str, pool_name: str) -> None:
    """Read the runs from stdin and do them all."""
    with pool.connect(url) as client:
        runs = [Run(**entry | {"fate": Fate(entry["fate"])}) for entry in json.loads(sys.stdin.readline())]
        threading.Thread(target=_end_with_parent, daemon=True).start()
        with ThreadPoolExecutor(len(runs)) as threads:
            for _ in threads.map(partial(_carry_out, client, pool_name), runs):
                pass


if __name__ == "__main__":
    main(*sys.argv[1:])
