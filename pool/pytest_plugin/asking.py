"""What a test asks for: the fixture `pool_request`, and before it the marker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pool.errors import InvalidRequest, PoolError

#: What the marker takes beside the pool's name.
MARKER_TAKES = ("priority", "timeout_s", "wait_s", "requirements", "label", "metadata")
#: What the fixture `pool_request` may hold. Neither the pool, which has a fixture of its own, nor the request's id: it
#: would be the same for all tests.
REQUEST_TAKES = (*MARKER_TAKES, "owner", "ttl_s", "max_retries", "on_lost", "on_deadline")
#: As long as a label may be, in characters; and what is enough of a test's name in metadata.
_LONGEST_LABEL = 200
_LONGEST_ID = 500


def refusal(error: PoolError) -> BaseException:
    """Return how a test fails for an error of the pool: with what to do about it, and without a traceback."""
    text = f"containerpool: {error.message} ({error.code})"
    return pytest.fail.Exception(f"{text}\n{error.hint}" if error.hint else text, pytrace=False)


def check_markers(item: pytest.Item) -> None:
    """Refuse what the marker does not take.

    Raises:
        pytest.fail.Exception: It has such arguments; names them.
    """
    try:
        _marked(item)
    except InvalidRequest as error:
        raise refusal(error) from None


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return what the markers of a test say; that of the test goes before that of its class or module.

    Raises:
        InvalidRequest: One has arguments that it does not take.
    """
    said: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("pool"))):
        if len(marker.args) > 1 or (marker.args and "name" in marker.kwargs):
            allowed = "it takes one argument without a name, the pool"
            raise InvalidRequest("@pytest.mark.pool", marker.args, allowed)
        for name in marker.kwargs:
            if name not in (*MARKER_TAKES, "name"):
                raise InvalidRequest("@pytest.mark.pool", name, f"use name, {', '.join(MARKER_TAKES)}")
        said |= dict(marker.kwargs) | ({"name": marker.args[0]} if marker.args else {})
    return said


def wish_of(
    item: pytest.Item | None, pool: str | None, given: Mapping[str, Any], *, run: str, worker: str
) -> tuple[str | None, dict[str, Any]]:
    """Return the pool and the arguments for `Client.acquire`.

    Args:
        item: The test; None for a lease of the whole process.
        pool: What the fixture `pool_container_name` says.
        given: What the fixture `pool_request` says.
        run: Id of the run, the same for all workers.
        worker: Name of this process.

    Raises:
        InvalidRequest: The fixture, or the marker, says what cannot be asked.
    """
    if not isinstance(given, Mapping):
        raise InvalidRequest("the fixture pool_request", given, "return a dict of arguments for Client.acquire")
    for name in given:
        if name not in REQUEST_TAKES:
            raise InvalidRequest("the fixture pool_request", name, f"use {', '.join(REQUEST_TAKES)}")
    marked = _marked(item) if item is not None else {}
    wish = {"label": label_of(item) if item is not None else "pytest session", **given, **marked}
    pool = wish.pop("name", None) or pool
    about = {"run": run, "worker": worker} | ({"nodeid": item.nodeid[:_LONGEST_ID]} if item is not None else {})
    wish["metadata"] = {**about, **_metadata(given), **_metadata(marked)}
    return pool, wish


def _metadata(said: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = said.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise InvalidRequest("metadata", metadata, "use a dict")
    return metadata


def label_of(item: pytest.Item) -> str:
    """Return a test's name without its parameters, so that its runs tell how long the next one takes."""
    name = item.nodeid
    if (callspec := getattr(item, "callspec", None)) is not None:
        name = name.removesuffix(f"[{callspec.id}]")
    return "".join(character if character.isprintable() else "_" for character in name)[-_LONGEST_LABEL:]
