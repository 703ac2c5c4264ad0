"""What one user of a browser could leave for the next one: left on purpose, and looked for."""

from __future__ import annotations

import json
import shlex

import docker

from browser import Browser

_KEY = "left-by"
_OUTPUT = "/tmp/out"  # noqa: S108 - a path in the container, where the server keeps downloads
#: A second browser that nobody drives, as a crashed test leaves one.
_STRAY = "exec setsid {browser} --headless --no-sandbox --user-data-dir=/tmp/stray about:blank"
_PROGRAM = "chromium-headless-shell"
_FIND_KEPT = f"() => [document.cookie, localStorage.getItem('{_KEY}')]"
_KEEP = f"() => {{ document.cookie = '{_KEY}=' + NAME + '; max-age=86400'; localStorage.setItem('{_KEY}', NAME) }}"


class Traces:
    """The traces in one container.

    Args:
        engine: The engine that runs it: what lies and runs in it is looked at from outside.
        name: The container's name.
        browser: The browser in it.
        shop_url: A site to leave a cookie with.
    """

    def __init__(self, engine: docker.DockerClient, name: str, browser: Browser, shop_url: str) -> None:
        self._container = engine.containers.get(name)
        self._browser = browser
        self._shop_url = shop_url

    def found(self) -> list[str]:
        """Return what there is, before this test did anything. Leaves the browser on the shop's first page."""
        found = ["a browser process"] if any(name.startswith("chrom") for name in self._processes()) else []
        found += [f"the file {name}" for name in self._run(f"ls -A {_OUTPUT} 2>/dev/null").split()]
        self._browser.open(self._shop_url)
        cookie, kept = self._browser.evaluate(_FIND_KEPT)
        found += [f"the cookie {cookie}"] if cookie else []
        found += [f"{kept} in localStorage"] if kept else []
        if (who := self._browser.text("#who")) != "not logged in":
            found.append(f"the login of {who}")
        return found

    def leave(self, name: str) -> None:
        """Leave a cookie, an entry in localStorage, a download, and a browser."""
        self._browser.open(self._shop_url)
        self._browser.evaluate(_KEEP.replace("NAME", json.dumps(name)))
        self._browser.evaluate("() => { const a = document.createElement('a'); a.href = '/prices.csv'; a.click() }")
        self._container.exec_run(["sh", "-c", _STRAY.format(browser=_PROGRAM)], user="1000", detach=True)

    def _processes(self) -> list[str]:
        return [name for _, name in self._container.top(ps_args="-eo pid,comm")["Processes"]]

    def _run(self, script: str) -> str:
        _, output = self._container.exec_run(f"sh -c {shlex.quote(script)}", user="1000")
        return output.decode() if isinstance(output, bytes) else ""
