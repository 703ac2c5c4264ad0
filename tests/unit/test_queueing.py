"""The mathematics of waits, held against exact values and a simulation."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.recommendations.queueing import Load, Waits, least, mean_s, quantile_s, share_that_waits, waits
from tests.simulation import Request, arrivals, gamma, percentile, served


def test_the_share_that_waits_is_erlangs_where_requests_come_one_by_one() -> None:
    # C(c, a) by the sum in Erlang's formula
    for servers, offered in ((1, 0.5), (2, 1.8), (5, 3.0), (20, 15.0)):
        below = sum(offered**k / math.factorial(k) for k in range(servers))
        full = offered**servers / math.factorial(servers) / (1 - offered / servers)

        assert share_that_waits(servers, offered) == pytest.approx(full / (below + full), rel=1e-12)


def test_batches_wait_as_their_balance_equations_say() -> None:
    servers, offered, burst = 3, 1.5, 4.0
    rate, more = offered / burst, 1 - 1 / burst
    present = [1.0]
    for n in range(1, 2000):
        up = rate * sum(share * more ** (n - 1 - k) for k, share in enumerate(present[-60:], max(len(present) - 60, 0)))
        present.append(up / min(n, servers))
    ahead = [
        sum(present[n] * (1 - more) * more ** (k - n) for n in range(k + 1)) / sum(present) for k in range(servers)
    ]

    assert share_that_waits(servers, offered, burst) == pytest.approx(1 - sum(ahead), rel=1e-4)


@pytest.mark.parametrize("servers", [1, 2, 10, 100, 1000])
@pytest.mark.parametrize("load", [1e-6, 0.5, 0.99, 0.999])
@pytest.mark.parametrize("burst", [1.0, 1.5, 50.0])
def test_no_size_or_load_is_too_much_for_it(servers: int, load: float, burst: float) -> None:
    found = waits(Load(load * servers / 30, 30, 1, burst), servers)

    assert 0 <= found.share <= 1
    assert 0 <= found.mean_s < math.inf
    assert 0 <= quantile_s([found], 0.95) < math.inf


def test_where_more_comes_than_can_be_served_the_wait_has_no_end() -> None:
    found = waits(Load(3 / 30, 30), 3)

    assert found.share == 1
    assert quantile_s([found], 0.95) == math.inf
    assert mean_s([found]) == math.inf


def test_one_hour_without_end_is_half_of_two_alike() -> None:
    endless, none = Waits(1.0, math.inf), Waits(0.0, 0.0)

    assert quantile_s([endless, none], 0.95) == math.inf
    assert quantile_s([endless, none], 0.4) == 0
    assert quantile_s([Waits(1.0, math.inf, 1), Waits(1.0, 10.0, 99)], 0.95) == pytest.approx(
        -10 * math.log(0.04 / 0.99)
    )


def test_a_percentile_over_hours_is_that_of_all_their_requests() -> None:
    busy, calm = Waits(0.5, 60.0, 100), Waits(0.1, 5.0, 300)

    at_s = quantile_s([busy, calm], 0.95)

    assert (100 * busy.beyond(at_s) + 300 * calm.beyond(at_s)) / 400 == pytest.approx(0.05)


@given(
    st.floats(0.01, 0.98),
    st.integers(1, 60),
    st.floats(0, 5),
    st.floats(1, 10),
    st.floats(0.1, 600),
    st.integers(1, 30),
)
def test_more_containers_never_make_anybody_wait_longer(
    load: float, servers: int, scv: float, burst: float, service_s: float, more: int
) -> None:
    what = Load(load * servers / service_s, service_s, scv, burst)

    now, then = waits(what, servers), waits(what, servers + more)

    assert then.mean_s <= now.mean_s
    assert quantile_s([then], 0.95) <= quantile_s([now], 0.95) + 1e-9


def test_a_container_that_served_part_of_the_time_counts_for_part() -> None:
    what = Load(0.05, 30)

    assert waits(what, 2).mean_s > waits(what, 2.5).mean_s > waits(what, 3).mean_s


def test_the_least_that_is_good_is_found_at_either_end() -> None:
    assert [least(lambda n, at=at: n >= at, 3, 9) for at in (1, 3, 9, 10)] == [3, 3, 9, None]  # type: ignore[misc]


#: How far the estimate may be off: of the simulated value, and in parts of a use.
_BY_CHANCE, _OF_A_USE = 0.2, 0.05


@pytest.mark.parametrize("burst", [1, 3])
@pytest.mark.parametrize("scv", [0.25, 1.0, 2.0])
@pytest.mark.parametrize(("containers", "load"), [(1, 0.7), (2, 0.5), (2, 0.8), (5, 0.7), (20, 0.8)])
def test_estimates_are_near_a_simulation(containers: int, load: float, scv: float, burst: int) -> None:
    """Within 20 % where requests come one by one, and 45 % in bursts; or 5 % and 15 % of a mean use, if that is more.

    In bursts the shape of uses matters more than the formulas know: those of a burst end together where all are alike.
    """
    dice, service_s = random.Random(7), 30.0
    per_s = load * containers / service_s
    requests = [
        Request(at, gamma(dice, service_s, scv), 0.0)
        for at in arrivals(dice, per_s, seconds=40_000 / per_s, burst=burst)
    ]
    measured = [each.wait_s for each in served(requests, containers)][5000:]
    factor = 1.0 if burst == 1 else 2.25

    found = waits(Load(per_s, service_s, scv, burst), containers)

    rel, at_least_s = _BY_CHANCE * factor, _OF_A_USE * service_s * (1 if burst == 1 else 3)
    assert found.mean_s == pytest.approx(sum(measured) / len(measured), rel=rel, abs=at_least_s)
    assert quantile_s([found], 0.95) == pytest.approx(percentile(measured, 95), rel=rel, abs=at_least_s)
