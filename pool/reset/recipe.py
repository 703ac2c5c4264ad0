"""The six stages of a reset as one POSIX shell script, and what it reports.

The script needs nothing but `sh` and `rm` in the image: processes are found in /proc, since pkill and pgrep are
missing from many images. Children get neither the session's input nor its output.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from pool.config import ResetRecipe

STAGES = (
    "terminate_processes",
    "clear_temporary",
    "clear_caches",
    "clear_logs",
    "reset_environment",
    "validate",
)

# Runs in the shell that reads the script, not in a subshell of it: it must know itself to spare itself.
_TERMINATE = """\
read -r self _ < /proc/self/stat
round=0
while [ $round -lt 5 ]; do
  killed=0
  for entry in /proc/[0-9]*; do
    pid=${{entry#/proc/}}
    [ "$pid" = 1 ] || [ "$pid" = "$$" ] || [ "$pid" = "$self" ] && continue
    {{ read -r name < "$entry/comm"; }} 2>/dev/null || continue
    {keep}
    kill -9 "$pid" 2>/dev/null && killed=1
  done
  [ $killed = 0 ] && break
  round=$((round + 1))
done
"""

_EMPTY_LOGS = """\
for file in {paths}; do
  if [ -f "$file" ] && [ ! -L "$file" ]; then : > "$file"; fi
done
"""

_LIST = """\
for file in {paths}; do
  if [ -e "$file" ] || [ -L "$file" ]; then printf '%s file %s\\n' {marker} "$file"; fi
done
"""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What the script said.

    Attributes:
        exit_codes: By stage name; a stage that is missing was not reached.
        files: What is left at the paths that were to be wiped, and in other tmpfs.
    """

    exit_codes: Mapping[str, int]
    files: frozenset[str]

    @property
    def problem(self) -> str:
        """The first stage that failed, in words; empty if all succeeded."""
        for stage in STAGES:
            if stage not in self.exit_codes:
                return f"stage {stage} was not reached"
            if self.exit_codes[stage]:
                return f"stage {stage} ended with code {self.exit_codes[stage]}"
        return ""


def shell_pattern(pattern: str) -> str:
    """Quote everything in a path but its wildcards; `/*` also means the hidden files there.

    >>> shell_pattern("/tmp/*")
    '/tmp/* /tmp/.[!.]* /tmp/..?*'
    >>> shell_pattern("/var/my cache")
    "'/var/my cache'"
    """
    parts = re.split(r"([*?\[\]]+)", pattern)
    quoted = "".join(part if index % 2 else shlex.quote(part) if part else "" for index, part in enumerate(parts))
    if pattern.endswith("/*"):
        return f"{quoted} {quoted[:-1]}.[!.]* {quoted[:-1]}..?*"
    return quoted


def build_script(recipe: ResetRecipe, tmpfs: Mapping[str, str], *, marker: str) -> str:
    """Return the script of all six stages; each reports its exit code on a line that begins with `marker`."""
    bodies = {
        "terminate_processes": _TERMINATE.format(keep=_keep(recipe.keep_processes)),
        "clear_temporary": _remove(recipe.temporary),
        "clear_caches": _remove(recipe.caches),
        "clear_logs": _EMPTY_LOGS.format(paths=_join(recipe.logs)) if recipe.logs else ":",
        "reset_environment": _commands(recipe.environment),
        "validate": _commands(recipe.validate_with),
    }
    lines = [f"{{ {bodies[stage]}\n}}\nprintf '%s stage %s %s\\n' {marker} {stage} $?" for stage in STAGES]
    return "\n".join([*lines, build_listing(recipe, tmpfs, marker=marker)])


def build_listing(recipe: ResetRecipe, tmpfs: Mapping[str, str], *, marker: str) -> str:
    """Return the script that lists what is at the wiped paths, and in tmpfs, which `docker diff` never shows."""
    paths = [*recipe.temporary, *recipe.caches, *(f"{path.rstrip('/')}/*" for path in tmpfs)]
    return _LIST.format(paths=_join(paths), marker=marker) if paths else ":"


def read_report(output: str, *, marker: str) -> StageReport:
    """Read what the script printed."""
    exit_codes: dict[str, int] = {}
    files: set[str] = set()
    for line in output.splitlines():
        if not line.startswith(f"{marker} "):
            continue
        kind, _, rest = line.removeprefix(f"{marker} ").partition(" ")
        if kind == "file":
            files.add(rest)
        else:
            stage, _, code = rest.partition(" ")
            exit_codes[stage] = int(code)
    return StageReport(exit_codes, frozenset(files))


def _join(patterns: list[str]) -> str:
    return " ".join(shell_pattern(pattern) for pattern in patterns)


def _keep(names: list[str]) -> str:
    return f'case "$name" in {"|".join(shell_pattern(name) for name in names)}) continue ;; esac' if names else ""


def _remove(patterns: list[str]) -> str:
    return f"rm -rf -- {_join(patterns)} </dev/null >/dev/null 2>&1" if patterns else ":"


def _commands(commands: list[str]) -> str:
    return " && ".join(f"( {command}\n) </dev/null >/dev/null 2>&1" for command in commands) or ":"
