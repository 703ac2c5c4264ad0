"""Whether a difference may be chance: small exact computations."""

from __future__ import annotations

import math

#: For a bound that holds with 97.5 % certainty.
_Z = 1.96


def surely_above(hits: int, n: int) -> float:
    """Return a share that the true one exceeds, with 97.5 % certainty, where `hits` of `n` were seen.

    The lower bound of Wilson's interval: E. B. Wilson, JASA 22, 1927.

    >>> round(surely_above(20, 100), 3), surely_above(0, 0)
    (0.133, 0.0)
    """
    if not n:
        return 0.0
    share, z2 = hits / n, _Z * _Z
    middle = share + z2 / (2 * n)
    around = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max((middle - around) / (1 + z2 / n), 0.0)


def chance_of_as_many(hits: int, n: int, *, of_hits: int, of_n: int) -> float:
    """Return how likely `n` of `of_n` have `hits` or more of all `of_hits`, if it is chance who has them.

    Fisher's exact test, one-sided.

    >>> round(chance_of_as_many(3, 4, of_hits=4, of_n=8), 4)
    0.2429
    """
    most = min(n, of_hits)
    all_ways = _log_choose(of_n, n)
    ways = (_log_choose(of_hits, k) + _log_choose(of_n - of_hits, n - k) - all_ways for k in range(hits, most + 1))
    return min(math.fsum(math.exp(each) for each in ways), 1.0)


def chance_of_share(hits: int, of_hits: int, share: float) -> float:
    """Return how likely one gets `hits` or more of `of_hits` that each come to it with a probability of `share`.

    >>> round(chance_of_share(5, 5, 0.5), 5)
    0.03125
    """
    if share <= 0 or share >= 1:
        return float(hits <= 0 or share >= 1)
    logs = (
        _log_choose(of_hits, k) + k * math.log(share) + (of_hits - k) * math.log1p(-share)
        for k in range(hits, of_hits + 1)
    )
    return min(math.fsum(math.exp(each) for each in logs), 1.0)


def _log_choose(n: int, k: int) -> float:
    if k < 0 or k > n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
