"""Configuration files for tests, in one line each, and what is wrong with them."""

from __future__ import annotations

import pytest

from pool.config import parse_config
from pool.errors import ConfigError


def pool(text: str = "", *, container: str = "", size: str = "size: 2") -> str:
    """A file with one pool `p`, its port 80 published, and more options in flow style."""
    box = ", ".join(filter(None, ["image: i", "ports: [{container: 80, host: 8000}]", container]))
    return "pools: {p: {" + ", ".join(filter(None, [size, text, f"container: {{{box}}}"])) + "}}"


def problems(text: str, **environment: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, source="file.yaml", environment=environment)
    error = caught.value
    assert error.message == f"file.yaml: {'; '.join(error.problems)}" or not error.problems
    return error.problems or (error.message,)


def problem(text: str, **environment: str) -> str:
    (only,) = problems(text, **environment)
    return only
