"""The Lua commands as Redis receives them: the shared part, then the command's own file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_SHARED = "_common.lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One command.

    Attributes:
        source: What Redis runs.
        sha: What Redis knows it by, hexadecimal SHA-1 of the source.
    """

    name: str
    source: str
    sha: str


@cache
def load_scripts() -> Mapping[str, Script]:
    """Return all commands by name; the folder `pool/lua` is their registry."""
    folder = resources.files("pool") / "lua"
    shared = (folder / _SHARED).read_text(encoding="utf-8")
    scripts = {}
    for file in folder.iterdir():
        if file.name.endswith(".lua") and file.name != _SHARED:
            source = shared + file.read_text(encoding="utf-8")
            name = file.name.removesuffix(".lua")
            scripts[name] = Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
    return scripts
