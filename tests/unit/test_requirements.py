from __future__ import annotations

import pytest

from pool.errors import InvalidRequest
from pool.models import PoolFacts
from pool.requirements import Requirements

BIG = PoolFacts(memory_mb=2048, cpus=2, labels={"browser": "chromium"})
SMALL = PoolFacts(memory_mb=256, cpus=0.5, labels={"browser": "firefox"})
UNLIMITED = PoolFacts()


@pytest.mark.parametrize(
    ("wish", "fits"),
    [
        ({}, [True, True, True]),
        ({"min_memory_mb": 512}, [True, False, True]),
        ({"max_cpu_percent": 100}, [False, True, False]),
        ({"labels": {"browser": "chromium"}}, [True, False, False]),
        ({"min_memory_mb": 100, "max_cpu_percent": 50.0, "labels": {"browser": "firefox"}}, [False, True, False]),
    ],
)
def test_a_pool_fits_that_lacks_nothing(wish: dict[str, object], fits: list[bool]) -> None:
    requirements = Requirements.parse(wish)

    assert [not requirements.unmet(facts) for facts in (BIG, SMALL, UNLIMITED)] == fits


def test_what_is_lacking_is_named_with_both_values() -> None:
    wish = {"min_memory_mb": 512, "max_cpu_percent": 10, "labels": {"browser": "chromium"}}

    assert Requirements.parse(wish).unmet(SMALL) == [
        "min_memory_mb 512: its containers have 256",
        "max_cpu_percent 10: its containers have 50",
        "label browser=chromium: its containers have firefox",
    ]


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"min_memory": 1}, "requirements.min_memory"),
        ({"min_memory_mb": 0}, "requirements.min_memory_mb"),
        ({"min_memory_mb": "512"}, "requirements.min_memory_mb"),
        ({"max_cpu_percent": float("nan")}, "requirements.max_cpu_percent"),
        ({"labels": {"a": 1}}, "requirements.labels.a"),
    ],
)
def test_a_requirement_that_is_none_is_refused_by_name(wish: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Requirements.parse(wish)

    assert caught.value.field == field
