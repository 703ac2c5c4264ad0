"""What may be asked for: wrong fields are refused by name, with what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pool.allocator import build_request, check_counts, check_retries
from pool.errors import InvalidRequest
from pool.store import RequestSpec


def request(**wish: Any) -> RequestSpec:
    fields: dict[str, Any] = {"owner": "o", "wait_s": 1.0, "ttl_s": None, "timeout_s": None} | wish
    return build_request(process="p", priority="normal", **fields)


@pytest.mark.parametrize(
    ("pools", "field"),
    [
        ({}, "pools"),
        (["playwright"], "pools"),
        ({"a": 0}, "pools.a"),
        ({"a": -1}, "pools.a"),
        ({"a": True}, "pools.a"),
        ({"a": 1.0}, "pools.a"),
        ({"a": "2"}, "pools.a"),
        ({"a": 10**9}, "pools.a"),
        ({"No Such": 1}, "pool"),
        ({7: 1}, "pool"),
    ],
)
def test_a_bundle_of_no_pools_or_no_numbers_is_refused(pools: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_counts(pools)

    assert caught.value.field == field


def test_pools_are_asked_in_the_order_of_their_names() -> None:
    assert list(check_counts({"b": 1, "a": 2, "a-1": 3}).items()) == [("a", 2), ("a-1", 3), ("b", 1)]


@pytest.mark.parametrize("max_retries", [-1, 11, 1.0, "2", None, True])
def test_retries_are_a_small_whole_number(max_retries: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"max_retries: .* use a whole number from 0 to 10"):
        check_retries(max_retries)


def test_metadata_are_kept_as_json() -> None:
    metadata = {"run": 7, "branch": "é", "tags": ["a", None]}

    assert json.loads(request(metadata=metadata).metadata) == metadata
    assert request().metadata == request(metadata=None).metadata == ""


@pytest.mark.parametrize(
    "metadata",
    [
        ["a"],
        "text",
        {1: "a"},
        {"a": object()},
        {"a": float("nan")},
        {"a": {1, 2}},
        {"a": "x" * 10_000},
        {"a": "x" * 10_000_000},
    ],
    ids=["list", "text", "number as name", "object", "nan", "set", "long", "10 MB"],
)
def test_metadata_that_are_no_json_object_or_too_long_are_refused_in_few_words(metadata: Any) -> None:
    with pytest.raises(InvalidRequest, match="10000 characters") as caught:
        request(metadata=metadata)

    assert caught.value.field == "metadata"
    assert len(str(caught.value)) < 500
