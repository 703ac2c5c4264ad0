"""The recommendations as Markdown; `python -m pool.recommendations.reference > docs/recommendations.md` renews it."""

from __future__ import annotations

import sys

from pool.recommendations.advice import Entry
from pool.recommendations.catalogue import ENTRIES

_HEAD = """\
# Recommendations

What a pool's past says about its configuration: what is so, with figures, and what to do about it.
`poolctl analytics` shows them below the figures, `poolctl analytics --by advice` alone, with the evidence,
`GET /v1/analytics` has them under `recommendations`, and `poolctl doctor` warns of critical ones of the last day.

```
$ poolctl analytics browsers --since 7d --by advice
warning: 4 containers would have cut the p95 wait of the busiest hours from 39 s to about 2.2 s; there are 2.
  Set `size` to 4; 3 would make it about 14 s.
  saves 37 s of the p95 wait
```

Each has a code, a severity, a title, the figures it follows from (`evidence`), an action, and what that would save
where that can be said. `critical`: the pool does not do what it is there for. `warning`: users feel it, or soon will.
`info`: nothing is wrong, but it could be cheaper or quicker. Nobody but you changes anything.

They follow from the span that you ask for and from the configuration as it is now: after a change, ask for the time
since. Where too little is known, nothing is said. No two in one answer contradict each other: the more severe one is
given.

## How the number of containers is estimated

- **The busiest hours** count: those that together took a quarter of all requests, 24 at most, each with 20 requests
  or more; together they need 100. The mean of the week says nothing about Monday morning.
- **The formulas** are those of a queue with one line and many servers (M/G/c): Erlang C, corrected for uses that are
  not exponential (Allen and Cunneen), and for requests that come in bursts. A wait is taken as exponentially
  distributed, so that percentiles follow. How long a request keeps a container is its use and its cleaning; their
  means and variances are measured.
- **Bursts** are measured by what they do: `requests_at_once` is the size of bursts with which the formulas give the
  mean wait that was measured in hours which had no queue to work off. Where too few waited for that,
  `requests_at_once_from` says so: requests are assumed to come one by one, and three at once where containers would
  be taken away.
- **A wait is fine** when 19 of 20 wait no longer than 5 s, or than a quarter of what a lease and its cleaning take if
  that is more.
- **What it does not know:** priorities, limits per owner, and clients that ask for less because they wait (the same
  eight workers, say: more containers then bring more requests). Where what comes exceeds what containers can do, it
  says so, and how many are the least.

### How good it is

Simulated, with uses of 60 s and a load that rises from morning to one in the afternoon
(`tests/unit/test_recommended_size.py`, `tests/unit/test_queueing.py`):

| what | how far off |
|---|---|
| the formulas, 1 to 20 containers, loads of 50 to 80 % | mean and p95 of the wait within 20 % |
| the same in bursts of three | within 45 %, or 15 % of a mean use |
| the advised number, after a week | 5 % of a mean use longer at most, 15 % shorter: it errs to the safe side |
| after one day | 10 % of a mean use longer at most |
| bursts of three or six | the wait falls to a third or less, but may be three times the promised one, or more |

## All of them

*Surely* above a share means that the true one is above it with 97.5 % certainty (Wilson's interval), so that a few
unlucky leases are no cause.

| code | severity | when | what to do |
|---|---|---|---|
"""

_TAIL = """
This page is generated: `python -m pool.recommendations.reference > docs/recommendations.md`.
"""


def render_reference() -> str:
    """Return the reference of all recommendations as Markdown."""
    return _HEAD + "".join(_row(entry) for entry in ENTRIES.values()) + _TAIL


def _row(entry: Entry) -> str:
    severities = ", ".join(severity.label for severity in entry.severities)
    return f"| `{entry.code}` | {severities} | {entry.when} | {entry.do} |\n"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
