"""From the problems of an HTTP API to the errors of the pool: the same classes as on Redis, found by their `code`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from pool.errors import Forbidden, InvalidRequest, PoolError, StoreUnsupported, Unauthenticated


def _tree(root: type[PoolError]) -> Iterator[type[PoolError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == PoolError.__module__:
            yield from _tree(child)


#: Every error by its code.
ERRORS: Mapping[str, type[PoolError]] = MappingProxyType({error.code: error for error in _tree(PoolError)})

#: What a status means where its answer has no code of ours: something between us and the server gave it.
_BY_STATUS: Mapping[int, type[PoolError]] = MappingProxyType(
    {HTTPStatus.UNAUTHORIZED: Unauthenticated, HTTPStatus.FORBIDDEN: Forbidden}
)
_HINT = "give a token with token=, POOL_TOKEN or POOL_TOKEN_FILE; `poolctl token create` makes one"


def error_of(status: int, problem: Mapping[str, Any], *, call: str) -> PoolError:
    """Return the error that an answer stands for.

    Args:
        status: Of the answer.
        problem: Its JSON, if it is a problem; empty if it is none.
        call: What was asked, in words.
    """
    code, detail = str(problem.get("code", "")), str(problem.get("detail", ""))
    hint = str(problem.get("hint", ""))
    if not code:
        return _foreign(status, call)
    kind = ERRORS.get(code, _BY_STATUS.get(status, PoolError))
    if kind is InvalidRequest or issubclass(kind, InvalidRequest):
        return _invalid(problem, detail)
    if kind is Unauthenticated and not hint:
        hint = _HINT
    facts: dict[str, Any] = {"hint": hint}
    if "retry_after_s" in problem and "retry_after_s" in inspect.signature(kind).parameters:
        facts["retry_after_s"] = float(problem["retry_after_s"])
    error = kind(detail or f"{call}: {code}", **facts)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and (request_id := problem.get("request_id")):
        error.add_note(f"the server's log has it as request_id {request_id}")
    return error


def _invalid(problem: Mapping[str, Any], detail: str) -> InvalidRequest:
    error = InvalidRequest(
        str(problem.get("field", "request")), problem.get("value"), str(problem.get("allowed", detail))
    )
    if detail:
        error.message = detail
        error.args = (detail,)
    return error


def _foreign(status: int, call: str) -> PoolError:
    """Return the error of an answer that no server of ours gave."""
    if kind := _BY_STATUS.get(status):
        return kind(f"{call} was answered {status}", hint=_HINT)
    return StoreUnsupported(
        f"{call} was answered {status}, without a word of the pool's API",
        hint="give the URL of a manager's HTTP server, as `poolctl serve` logs it",
    )
