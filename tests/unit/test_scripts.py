from __future__ import annotations

import re
from importlib import resources

import pytest

from pool.scripts import load_scripts
from pool.store import AuditStore, HistoryStore, MetricsStore, PoolStore

FOLDER = resources.files("pool") / "lua"
NAMES = sorted(load_scripts())


def source(name: str) -> str:
    return (FOLDER / f"{name}.lua").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_the_header_that_its_body_keeps(name: str) -> None:
    text = source(name)
    header = re.match(r"(-- .+\n)+-- KEYS: meta\n-- ARGV: (?P<argv>.+)\n-- Returns: .+\n(--  .+\n)*", text)

    assert header, f"{name}.lua begins with what it does, then KEYS, ARGV and Returns"
    named = [part.strip() for part in header["argv"].split(",")]
    plain = [part for part in named if re.fullmatch(r"[a-z_]+", part)]
    unpacked = re.search(r"^local (.+) = (?:unpack\(ARGV\)|.*ARGV\[.*)$", text, re.MULTILINE)
    assert unpacked, f"{name}.lua names its arguments in its first statement"
    assert [part.strip() for part in unpacked[1].split(",")] == plain


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_one_method_of_its_name(name: str) -> None:
    special = {
        "snapshot": (PoolStore, "status"),
        "audit": (AuditStore, "append"),
        "count": (MetricsStore, "count"),
        "roll": (HistoryStore, "roll"),
    }

    assert hasattr(*special.get(name, (PoolStore, name)))


@pytest.mark.parametrize("name", NAMES)
def test_no_command_but_the_shared_part_touches_an_index_by_hand(name: str) -> None:
    if name in ("reconcile", "forget"):  # repairing and removing them is their purpose
        return
    written = re.findall(r"'(?:ZADD|ZREM)', P \.\. '(ready|exp|work)'", source(name))

    assert not [index for index in written if (name, index) not in {("heartbeat", "exp"), ("extend", "exp")}]
