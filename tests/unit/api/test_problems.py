"""Errors as problems: one table, complete, and nothing secret in what it says."""

from __future__ import annotations

import inspect

import pytest

import pool.errors
from pool.api.problems import STATUS, of_error, status_of
from pool.errors import AcquireTimeout, InvalidRequest, PoolError, QueueFull

ERRORS = [
    kind for _, kind in inspect.getmembers(pool.errors, inspect.isclass) if issubclass(kind, PoolError)
]  # fmt: skip
#: Kinds that have the status of the one above them on purpose.
_AS_ABOVE = {
    "AcquireTimeout", "NoneFit", "Degraded", "PoolDraining", "ShuttingDown",  # Refused: 503
    "StoreUnavailable", "StoreUnsupported",  # StoreError: 503
    "EngineUnavailable", "EngineTooOld", "ImageMissing", "PortTaken", "NameTaken", "ContainerGone", "ShellBroken",
    "Forbidden",  # AccessDenied: 403
    "TargetUnreachable", "GatewayUnknown",  # GatewayError: 502
}  # fmt: skip


@pytest.mark.parametrize("kind", ERRORS)
def test_every_kind_of_error_has_its_row_or_the_one_above_on_purpose(kind: type[PoolError]) -> None:
    assert (kind in STATUS) != (kind.__name__ in _AS_ABOVE)
    assert 400 <= status_of(kind) <= 504


def test_only_what_is_no_fault_of_a_client_nor_of_the_moment_is_a_500() -> None:
    assert {kind.__name__ for kind in ERRORS if status_of(kind) == 500} == {"PoolError", "ConfigError"}


def test_a_refusal_says_when_to_ask_again() -> None:
    assert of_error(QueueFull("full", retry_after_s=5)).facts["retry_after_s"] == 5
    assert of_error(AcquireTimeout("late")).status == 503


def test_a_wrong_field_is_named_with_its_value_and_what_is_allowed() -> None:
    problem = of_error(InvalidRequest("wait_s", -1, "use seconds from 0"))

    assert (problem.status, problem.code) == (422, "request_invalid")
    assert problem.facts == {"field": "wait_s", "value": "-1", "allowed": "use seconds from 0"}
