"""The inside of containers: one open shell for each, and a new one, by one exec, where it broke."""

from __future__ import annotations

import secrets

from pool.config import ContainerOptions, ResetRecipe
from pool.errors import ShellBroken
from pool.models import ResetLevel
from pool.ports import Runtime, ShellSession
from pool.reset.recipe import Script, build_listing, build_script
from pool.reset.report import ReportReader, StageReport

_NOTHING = StageReport((), frozenset())


class Inside:
    """Runs a pool's recipe in its containers.

    Args:
        runtime: The engine.
        recipe: What to run.
        options: How the containers are created.
    """

    def __init__(self, runtime: Runtime, recipe: ResetRecipe, options: ContainerOptions) -> None:
        self._runtime = runtime
        self._recipe = recipe
        self._tmpfs = options.tmpfs
        self._shells: dict[str, ShellSession] = {}

    async def close(self) -> None:
        """Close all shell sessions."""
        for shell in self._shells.values():
            await shell.close()
        self._shells.clear()

    async def drop(self, ref: str) -> None:
        """Close the shell in a container whose processes are about to end."""
        if shell := self._shells.pop(ref, None):
            await shell.close()

    def pid(self, ref: str) -> int | None:
        """Return the process id of the shell in a container, if one is open."""
        shell = self._shells.get(ref)
        return shell.pid if shell is not None and shell.alive else None

    async def run_stages(self, ref: str, level: ResetLevel, *, deadline_s: float) -> StageReport:
        """Run the stages of a level; nothing in an image without a shell.

        Raises:
            EngineError: They could not be run, or not to the end.
        """
        marker = secrets.token_hex(8)
        script = build_script(self._recipe, self._tmpfs, marker=marker, level=level)
        return await self._run(ref, script, marker, deadline_s)

    async def list_files(self, ref: str, *, deadline_s: float) -> frozenset[str]:
        """Return what is at the wiped paths and in tmpfs; nothing in an image without a shell.

        Raises:
            EngineError: It could not be listed.
        """
        marker = secrets.token_hex(8)
        script = Script("", build_listing(self._recipe, self._tmpfs, marker=marker))
        return (await self._run(ref, script, marker, deadline_s)).files

    async def _run(self, ref: str, script: Script, marker: str, deadline_s: float) -> StageReport:
        if self._recipe.shell is None:
            return _NOTHING
        try:
            return await self._send(ref, self._recipe.shell, script, marker, deadline_s)
        except ShellBroken:
            await self.drop(ref)
        # In place of `sh -c <script>`, which would show everybody in the container the marker, among its arguments.
        return await self._send(ref, self._recipe.shell, script, marker, deadline_s)

    async def _send(self, ref: str, path: str, script: Script, marker: str, deadline_s: float) -> StageReport:
        shell = await self._shell(ref, path)
        reader = ReportReader(marker)
        await shell.run(script.rest, before=script.before, deadline_s=deadline_s, on_output=reader.feed)
        return reader.report()

    async def _shell(self, ref: str, path: str) -> ShellSession:
        shell = self._shells.get(ref)
        if shell is None or not shell.alive:
            await self.drop(ref)  # a dead one still has its connection
            shell = await self._runtime.open_shell(ref, shell=path, user=self._recipe.user)
            self._shells[ref] = shell
        return shell
