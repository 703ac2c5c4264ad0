"""The tree of errors: complete in its picture, and each with a code of its own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from pool import errors
from pool.errors import ConfigError, InvalidRequest, PoolError, QueueFull


def tree(root: type[PoolError] = PoolError, depth: int = 0) -> Iterator[tuple[int, type[PoolError]]]:
    yield depth, root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child, depth + 1)


CLASSES = [error for _, error in tree()]


def test_the_picture_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^    ([│├└─ ]*)([A-Z]\w+)", errors.__doc__ or "", flags=re.MULTILINE)

    assert [(len(branch) // 4, name) for branch, name in drawn] == [(depth, error.__name__) for depth, error in tree()]


def test_every_error_of_the_module_is_in_the_tree() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
    }

    assert defined == set(CLASSES)


def test_every_code_is_unique_and_readable() -> None:
    codes = [error.code for error in CLASSES]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_documented(error: type[PoolError]) -> None:
    assert error.__dict__["__doc__"]


def test_an_error_carries_message_and_hint() -> None:
    error = PoolError("it broke", hint="mend it")

    assert (str(error), error.message, error.hint) == ("it broke", "it broke", "mend it")


def test_a_configuration_error_carries_its_problems() -> None:
    assert ConfigError("x", problems=("a", "b")).problems == ("a", "b")


def test_an_invalid_request_names_field_value_and_what_is_allowed() -> None:
    error = InvalidRequest("wait_s", -1, "use 0 or more")

    assert str(error) == "wait_s: -1 is not allowed; use 0 or more"


def test_a_refusal_says_when_to_ask_again() -> None:
    assert QueueFull("full", retry_after_s=2.5).retry_after_s == 2.5
