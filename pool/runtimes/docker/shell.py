"""A shell kept open in a container: scripts go in through its stdin, a random word marks the end of each.

    echo "<nonce>+"; { <before>
    } </dev/null 2>&1; (eval '<script>') </dev/null 2>&1; echo "
    <nonce>-$?"

The script is one quoted word, so it may contain whatever it likes, and it runs in a subshell, so it can neither exit
nor redirect the session. The words are new for each run: a tenant cannot forge them in advance, and late output of an
earlier run's background child is told from this run's by the first one. Only `eval` and `echo` are needed, both built
into every shell.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import shlex

from pool.errors import ShellBroken
from pool.ports import ExecResult, OnOutput
from pool.runtimes.docker.streams import Stream

#: Output beyond this is dropped. A reset's stages print little; a tenant's leftovers may print anything.
OUTPUT_LIMIT_BYTES = 256 * 1024


class Capture:
    """Finds one run's output and exit code in what the shell prints."""

    def __init__(self, nonce: str) -> None:
        self._begin = f"{nonce}+\n".encode()
        self._end = re.compile(rb"\n%s-(\d+)\n" % nonce.encode())
        self._tail = len(nonce) + len("\n-255\n")  # an end mark that has come in part is at most this long
        self._buffer = bytearray()
        self._begun = False
        self._searched = 0

    def feed(self, data: bytes) -> ExecResult | None:
        """Take a piece of what the shell prints; return the result once it is complete."""
        self._buffer += data
        if not self._begun:
            at = self._buffer.find(self._begin)
            if at < 0:
                del self._buffer[:-OUTPUT_LIMIT_BYTES]
                return None
            del self._buffer[: at + len(self._begin)]
            self._begun = True
        if end := self._end.search(self._buffer, self._searched):
            return ExecResult(int(end[1]), decode(self._buffer[: end.start()]))
        if len(self._buffer) > OUTPUT_LIMIT_BYTES + self._tail:
            del self._buffer[OUTPUT_LIMIT_BYTES : -self._tail]
        self._searched = max(0, len(self._buffer) - self._tail)
        return None

    @property
    def text(self) -> str:
        """What has come so far, for messages."""
        return decode(self._buffer).strip()


def decode(output: bytes | bytearray) -> str:
    """Return output as text, cut to the limit; what is not UTF-8 becomes a replacement character."""
    return output[:OUTPUT_LIMIT_BYTES].decode(errors="replace")


class DockerShell:
    """A `ShellSession` over a hijacked connection.

    Args:
        stream: The connection to the shell's stdin and output.
        where: What the session is, for messages.
    """

    def __init__(self, stream: Stream, where: str) -> None:
        self._stream = stream
        self._where = where
        self._one_at_a_time = asyncio.Lock()
        self._alive = True
        self._pid = 0

    def identify(self, pid: int) -> None:
        """Remember the shell's process id on the engine's host."""
        self._pid = pid

    async def run(
        self, script: str, *, before: str = "", deadline_s: float, on_output: OnOutput | None = None
    ) -> ExecResult:
        """Run a script in a subshell and wait for its end.

        Args:
            script: What to run; its stdin is empty.
            before: What the shell itself does before; it must be valid, and must not leave the shell another one.
            deadline_s: Seconds it may take. A run that waits for another does not count them yet.
            on_output: Gets what the shell prints as it comes, marks included.

        Raises:
            ShellBroken: The shell ended, or did not answer within the deadline. The session is unusable then.
        """
        async with self._one_at_a_time:
            if not self._alive:
                raise ShellBroken(f"{self._where} is closed")
            nonce = secrets.token_hex(16)
            capture = Capture(nonce)
            try:
                async with asyncio.timeout(deadline_s):
                    await self._send(script, before, nonce)
                    return await self._hear(capture, on_output)
            except TimeoutError as error:
                await self.close()
                raise ShellBroken(f"{self._where} did not answer within {deadline_s:g} s") from error
            except (OSError, EOFError) as error:
                await self.close()
                raise ShellBroken(f"{self._where} ended: {capture.text[-500:] or 'no output'}") from error
            except asyncio.CancelledError:
                await self.close()  # nobody knows what it is doing now
                raise

    async def _send(self, script: str, before: str, nonce: str) -> None:
        both = f"{{ {before or ':'}\n}} </dev/null 2>&1; (eval {shlex.quote(script)}) </dev/null 2>&1"
        await self._stream.send(f'echo "{nonce}+"; {both}; echo "\n{nonce}-$?"\n'.encode())

    async def _hear(self, capture: Capture, on_output: OnOutput | None) -> ExecResult:
        while output := await self._stream.frame():
            if on_output is not None:
                on_output(output)
            if result := capture.feed(output):
                return result
        raise EOFError

    async def close(self) -> None:
        """End the shell: it ends when its stdin does. May be called twice."""
        self._alive = False
        await self._stream.close()

    @property
    def pid(self) -> int:
        """Process id of the shell on the engine's host."""
        return self._pid

    @property
    def alive(self) -> bool:
        """False once the session is known to be broken or closed."""
        return self._alive and not self._stream.ended
