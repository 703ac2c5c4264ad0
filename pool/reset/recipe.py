"""The six stages of a reset, and the two more of a medium one, as one POSIX shell script.

It needs nothing but `sh` and `rm` in the image: processes are found in /proc, since pkill and pgrep are
missing from many images. Children get none of the session's input.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from pool.config import ResetRecipe
from pool.models import ResetLevel

STAGES = (
    "terminate_processes",
    "clear_temporary",
    "clear_caches",
    "clear_logs",
    "reset_environment",
    "validate",
)

#: Those of a medium reset. Workers are started again when everything is wiped: what they create at their start must
#: stay, and while they start they may not have the names yet that `terminate_processes` spares.
MEDIUM_STAGES = ("kill_workers", *STAGES[:-1], "restart_workers", "validate")

# Runs in the shell that reads the script, not in a subshell of it: it must know itself to spare itself. It goes round
# until it finds nobody to kill, so that nothing can write any more when the rest is wiped. On a busy host, a process
# that was killed takes milliseconds to end: hence so many rounds. Zombies are not waited for: that is up to their
# parents. They are killed all the same, since one may still have threads that run.
_KILL = """\
read -r self _ < /proc/self/stat
round=0 killed=1
while [ $killed = 1 ] && [ $round -lt 300 ]; do
  killed=0
  for entry in /proc/[0-9]*; do
    pid=${{entry#/proc/}}
    [ "$pid" = 1 ] || [ "$pid" = "$$" ] || [ "$pid" = "$self" ] && continue
    {{ read -r name < "$entry/comm"; }} 2>/dev/null || continue
    {choose}
    {{ read -r stat < "$entry/stat"; }} 2>/dev/null || continue
    stat=${{stat##*) }}
    kill -9 "$pid" 2>/dev/null || continue
    [ "${{stat%% *}}" = Z ] || killed=1 victim=$name
  done
  round=$((round + 1))
done
[ $killed = 0 ] || {{ echo "does not end, or always comes back: $victim"; false; }}
"""

#: Nothing that a reset runs may read the session's input. What it says tells why it failed; yet what is to go on
#: running must not hold the session's output.
_HEARD = "</dev/null 2>&1"
_SILENT = "</dev/null >/dev/null 2>&1"

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

_LIST_LOGS = """\
for file in {paths}; do
  if [ -L "$file" ]; then printf '%s file %s\\n' {marker} "$file (a link)"
  elif [ -s "$file" ]; then printf '%s file %s\\n' {marker} "$file (not empty)"; fi
done
"""


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


def stage_names(level: ResetLevel) -> tuple[str, ...]:
    """Return the stages of a level in their order."""
    return MEDIUM_STAGES if level is ResetLevel.MEDIUM else STAGES


def stage_bodies(recipe: ResetRecipe) -> dict[str, str]:
    """Return what each stage does, as a script of its own."""
    kill = recipe.keep_processes if recipe.medium_kill is None else recipe.medium_kill
    return {
        "kill_workers": _KILL.format(choose=_choose(kill, spare=recipe.medium_kill is None)),
        "restart_workers": _commands(recipe.restart, _SILENT),
        "terminate_processes": _KILL.format(choose=_choose(recipe.keep_processes, spare=True)),
        "clear_temporary": _remove(recipe.temporary),
        "clear_caches": _remove(recipe.caches),
        "clear_logs": _EMPTY_LOGS.format(paths=_join(recipe.logs)) if recipe.logs else ":",
        "reset_environment": _commands(recipe.environment, _HEARD),
        "validate": _commands(recipe.validate_with, _HEARD),
    }


def build_script(
    recipe: ResetRecipe, tmpfs: Mapping[str, str], *, marker: str, level: ResetLevel = ResetLevel.SOFT
) -> str:
    """Return the script of a level's stages; each reports its exit code on a line that begins with `marker`.

    A line with the marker alone comes first, and the listing last.
    """
    bodies = stage_bodies(recipe)
    lines = [f"{{ {bodies[stage]}\n}}\nprintf '%s stage %s %s\\n' {marker} {stage} $?" for stage in stage_names(level)]
    return "\n".join([f"printf '%s begin\\n' {marker}", *lines, build_listing(recipe, tmpfs, marker=marker)])


def build_listing(recipe: ResetRecipe, tmpfs: Mapping[str, str], *, marker: str) -> str:
    """Return the script that lists what is at the wiped paths and in tmpfs, which `docker diff` never shows, and logs.

    A log counts while there is something in it, or once it is a link. `docker diff` says the same of an empty one.
    """
    paths = [*recipe.temporary, *recipe.caches, *(f"{path.rstrip('/')}/*" for path in tmpfs)]
    listing = _LIST.format(paths=_join(paths), marker=marker) if paths else ""
    return listing + (_LIST_LOGS.format(paths=_join(recipe.logs), marker=marker) if recipe.logs else "") or ":"


def _join(patterns: list[str]) -> str:
    return " ".join(shell_pattern(pattern) for pattern in patterns)


def _choose(names: list[str], *, spare: bool) -> str:
    """Return what lets a loop pass over the processes of these names, or over all others."""
    if not names:
        return "" if spare else "continue"
    patterns = "|".join(shell_pattern(name) for name in names)
    chosen = "continue ;;" if spare else ";; *) continue ;;"
    return f'case "$name" in {patterns}) {chosen} esac'


def _remove(patterns: list[str]) -> str:
    return f"rm -rf -- {_join(patterns)} {_HEARD}" if patterns else ":"


def _commands(commands: list[str], streams: str) -> str:
    return " && ".join(f"( {command}\n) {streams}" for command in commands) or ":"
