"""A configuration that would fill memory or time is refused before it does, with a word about why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.config import load_config, parse_config
from pool.errors import ConfigError


def laughs(levels: int, *, merged: bool = False) -> str:
    """Each level names the one before it nine times: 9 to the power of the levels, written out."""
    lines = ["l0: &l0 {k: lol}" if merged else "l0: &l0 [lol]"]
    for level in range(1, levels):
        nine = ", ".join([f"*l{level - 1}"] * 9)
        lines.append(f"l{level}: &l{level} {{<<: [{nine}]}}" if merged else f"l{level}: &l{level} [{nine}]")
    return "\n".join(lines)


BOMBS = {
    "a billion laughs": (laughs(10), "more than 100000 values"),
    "a billion laughs, far more": (laughs(60), "nested deeper than"),
    "merged laughs": (laughs(10, merged=True), "more than 100000 values"),
    "one alias many times": ("a: &a [" + "x, " * 500 + "]\nb: [" + "*a, " * 500 + "]", "more than 100000 values"),
    "deep lists": ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 50 levels"),
    "deep mappings": ("{a: " * 3000 + "1" + "}" * 3000, "nested deeper than 50 levels"),
    "unclosed": ("[" * 100_000, "nested deeper than 50 levels"),
    "deep by aliases": (
        "a: &a " + "[" * 30 + "x" + "]" * 30 + "\nb: &b " + "[" * 30 + "*a" + "]" * 30 + "\nc: *b",
        "nested deeper than 50 levels",
    ),
    "long": ("# " + "x" * 1_100_000, "longer than 1048576 bytes"),
    "a knot": ("a: &a {b: [*a]}", "an alias (*) refers to something that contains it"),
    "objects of Python": ("pools: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "a file of the host": ("pools: !include /etc/passwd", "could not determine a constructor"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(name: str) -> None:
    text, why = BOMBS[name]

    with pytest.raises(ConfigError) as raised:
        parse_config(text, source="file.yaml")

    assert raised.value.message.startswith("file.yaml: ")
    assert why in raised.value.message
    assert len(raised.value.message) < 500


@pytest.mark.timeout(30)
def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        load_config(Path("/dev/zero"))


def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load_config(path)


def test_aliases_in_reason_are_fine() -> None:
    text = "x: &x {image: i, ports: [{container: 80}]}\n"

    with pytest.raises(ConfigError, match="x: unknown key"):
        parse_config(text + "pools: {a: {size: 1, container: *x}, b: {size: 2, container: {<<: *x, image: j}}}")
    config = parse_config(
        "pools: {a: {size: 1, container: &x {image: i, ports: [{container: 80}]}},\n"
        " b: {size: 2, container: {<<: *x, image: j}}}"
    )

    assert config.pools["b"].container.image == "j"
