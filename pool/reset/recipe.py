"""The six stages of a reset, and the two more of a medium one, as one POSIX shell script.

It needs nothing but `sh` and `rm` in the image: processes are found in /proc, since pkill and pgrep are
missing from many images. Children get none of the session's input.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

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

#: Where commands are looked for first. The image's own PATH may lead to places that tenants can write to.
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Memory that every container has, and that outlives its processes.
_SHARED_MEMORY = ("/dev/shm", "/dev/mqueue")  # noqa: S108 - paths in the container

# Runs in the shell that reads the script, not in a subshell of it: it must know itself to spare itself. It goes round
# until it finds nobody to kill, so that nothing can write any more when the rest is wiped. On a busy host, a process
# that was killed takes milliseconds to end: hence so many rounds. Zombies are not waited for: that is up to their
# parents. They are killed all the same, since one may still have threads that run. But orphans' zombies count among the
# processes that there may be until process 1 has seen to them, which it does at once if it does so at all: what comes
# next may need one. Where new ones keep coming, they are all stopped first: whoever dies makes room for a child of
# somebody else's, who is stopped neither has children nor makes room.
_KILL = """\
read -r self _ < /proc/self/stat
round=0 killed=1
while [ $killed = 1 ] && [ $round -lt 300 ]; do
  killed=0 signal=KILL
  [ $round -lt 3 ] || [ $((round % 8)) -gt 5 ] || signal=STOP
  for entry in /proc/[0-9]*; do
    pid=${{entry#/proc/}}
    [ "$pid" = 1 ] || [ "$pid" = "$$" ] || [ "$pid" = "$self" ] && continue
    {{ read -r name < "$entry/comm"; }} 2>/dev/null || continue
    {choose}
    {{ read -r stat < "$entry/stat"; }} 2>/dev/null || continue
    stat=${{stat##*) }}
    kill -$signal "$pid" 2>/dev/null || continue
    case $stat in
    "Z 1 "*) [ $round -ge 20 ] || killed=1 ;;
    Z*) ;;
    *) killed=1 victim=$name ;;
    esac
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

# A line says one name. One with a line break in it is told from the one that it begins with.
_LIST = """\
new_line='
'
say() {{
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then return 1; fi
  case $1 in *"$new_line"*) printf '%s file %s (and a line break)\\n' {marker} "${{1%%"$new_line"*}}" ;;
  *) printf '%s file %s\\n' {marker} "$1" ;; esac
}}
say_all() {{
  for file in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if say "$file" && [ -d "$file" ] && [ ! -L "$file" ]; then say_all "$file"; fi
  done
}}
for file in {paths}; do say "$file"; done
for place in {places}; do say_all "$place"; done
for kind in shm sem msg; do
  count=-1
  {{ while read -r _; do count=$((count + 1)); done < "/proc/sysvipc/$kind"; }} 2>/dev/null
  if [ $count -gt 0 ]; then printf '%s file %s\\n' {marker} "/proc/sysvipc/$kind ($count)"; fi
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


class Script(NamedTuple):
    """What a shell is to run.

    Attributes:
        before: What needs no new process: it makes room for those that the rest needs.
        rest: To be run after it, in a subshell.
    """

    before: str
    rest: str


def build_script(
    recipe: ResetRecipe, tmpfs: Mapping[str, str], *, marker: str, level: ResetLevel = ResetLevel.SOFT
) -> Script:
    """Return the script of a level's stages; each reports its exit code on a line that begins with `marker`.

    A line with the marker alone comes first, and the listing last.
    """
    bodies, names = stage_bodies(recipe), stage_names(level)
    lines = [f"{{ {bodies[name]}\n}}\nprintf '%s stage %s %s\\n' {marker} {name} $?" for name in names]
    kills = names.index("terminate_processes") + 1
    return Script(
        "\n".join([f"printf '%s begin\\n' {marker}", *lines[:kills]]),
        "\n".join([f"PATH={_SYSTEM_PATH}:$PATH", *lines[kills:], build_listing(recipe, tmpfs, marker=marker)]),
    )


def build_listing(recipe: ResetRecipe, tmpfs: Mapping[str, str], *, marker: str) -> str:
    """Return the script that lists what is at the wiped paths and in memory, which `docker diff` never shows, and logs.

    In memory is what lies in tmpfs, however deep, and what processes share there.

    A log counts while there is something in it, or once it is a link. `docker diff` says the same of an empty one.
    """
    places = dict.fromkeys([*_SHARED_MEMORY, *(path.rstrip("/") for path in tmpfs)])
    paths = _join([*recipe.temporary, *recipe.caches])
    listing = _LIST.format(paths=paths, places=" ".join(map(shlex.quote, places)), marker=marker)
    return listing + (_LIST_LOGS.format(paths=_join(recipe.logs), marker=marker) if recipe.logs else "")


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
