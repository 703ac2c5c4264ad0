"""A browser behind a Playwright-MCP server, driven through the official `mcp` client. Synchronous, like most tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from mcp.types import CallToolResult, ImageContent, TextContent

_ANSWER_S = 60.0


class BrowserError(Exception):
    """The server could not do what it was told; says why."""


class Browser:
    """One MCP session: a browser with one tab.

    Args:
        portal: Runs the client, which is asynchronous.
        client: Of the server.
    """

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self._client = client

    @classmethod
    @contextmanager
    def at(cls, url: str) -> Iterator[Browser]:
        """Open a session with the server at a container's URL; the browser ends with the block."""
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(Client(f"{url}/mcp", read_timeout_seconds=_ANSWER_S)) as client,
        ):
            yield cls(portal, client)

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("browser_navigate", url=url)

    def click(self, target: str) -> None:
        """Click on what a selector finds."""
        self.call("browser_click", target=target)

    def type(self, target: str, text: str) -> None:
        """Type a text into what a selector finds."""
        self.call("browser_type", target=target, text=text)

    def text(self, target: str) -> str:
        """Return the text of what a selector finds."""
        return str(self.evaluate(f"() => document.querySelector({json.dumps(target)}).textContent"))

    def evaluate(self, function: str) -> Any:
        """Run a JavaScript function in the page, and return what it returns, None for nothing."""
        _, _, answer = self._say(self.call("browser_evaluate", function=function)).partition("### Result\n")
        return None if answer.startswith("undefined") else json.JSONDecoder().raw_decode(answer)[0]

    def screenshot(self, path: Path) -> None:
        """Write a picture of the page to a file, as JPEG if it is named so, else as PNG."""
        kind = "jpeg" if path.suffix in (".jpg", ".jpeg") else "png"
        for content in self.call("browser_take_screenshot", type=kind).content:
            if isinstance(content, ImageContent):
                path.write_bytes(base64.b64decode(content.data))
                return
        raise BrowserError("the server took no picture")

    def call(self, tool: str, **arguments: object) -> CallToolResult:
        """Use any tool of the server.

        Raises:
            BrowserError: It failed.
        """
        result: CallToolResult = self._portal.call(self._client.call_tool, tool, arguments)
        if result.is_error:
            raise BrowserError(f"{tool}: {self._say(result)}")
        return result

    @staticmethod
    def _say(result: CallToolResult) -> str:
        return "\n".join(content.text for content in result.content if isinstance(content, TextContent))
