"""The metrics as Markdown; `python -m pool.metrics.reference > docs/metrics.md` renews the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from pool.metrics.families import FAMILIES, Family, Source

_HEAD = """\
# Metrics

`GET /metrics` of a server (`http:` in the configuration) answers Prometheus, in its text format, or in OpenMetrics
where the `Accept` header names that.

```yaml
scrape_configs: # of Prometheus
  - job_name: containerpool
    authorization:
      credentials_file: pool-token # of `poolctl token create prometheus`; leave it out while there are no tokens
    static_configs:
      - targets: ["127.0.0.1:8700"]
```

`deploy/prometheus` has all that a Prometheus needs: this, recording rules for dashboards, and alerts, each with a page
in the [runbook](runbook/index.md).

- Any API token will do, a client's too; one that is bound to pools (`--pool`) sees those only. While nobody needs a
  token, nobody needs one here.
- No metric is labelled by lease, request, owner or token. There are no exemplars, since they would name leases.
- **Several servers** of one Redis show the same of its pools, whichever of them manages these. So scrape one of them,
  or query `max without (instance) (pool_containers)` and `max without (instance) (rate(pool_leases_total[5m]))`, and
  add up only what comes out of such a `max`. What stands in the last table is each server's own.
- Counters are kept in Redis with the events they count: neither the end of a manager nor a new one resets them. The
  manager that leads a pool adds to them about once a second. While none leads, `pool_manager_active` is 0 and they
  stand still; the next one makes up for it, as far back as Redis keeps events (some 20,000). Health checks are no
  events: those of the last second are lost with a manager that is killed.
- **Redis is away**: `/metrics` still answers, to everybody, since nobody can be asked who may see it. `pool_redis_up`
  is 0, and of the rest there is only what stands in the last table. A Redis that hangs is given up after some seconds.

This page is generated: `python -m pool.metrics.reference > docs/metrics.md`.
"""

_SECTIONS = {
    Source.STATE: "From the state of the pools, at each scrape",
    Source.EVENTS: "Counted in the events of the pools",
    Source.SERVER: "Of the server that answers",
}

_PROCESS = "| `process_*` | gauge, counter | | CPU, memory, open files and start of the server's process. |"


def render_reference() -> str:
    """Return the reference of all metrics as Markdown."""
    return "\n".join([_HEAD, *(line for source in Source for line in _section(source))]) + "\n"


def _section(source: Source) -> Iterator[str]:
    yield f"## {_SECTIONS[source]}\n"
    yield "| metric | kind | labels | meaning |\n|---|---|---|---|"
    for family in FAMILIES.values():
        if family.source is source:
            yield f"| `{family.name}` | {family.kind} | {_labels(family)} | {family.about} |"
    if source is Source.SERVER:
        yield _PROCESS
        return
    if source is Source.EVENTS:
        yield ""
        yield from _buckets()
    yield ""


def _labels(family: Family) -> str:
    """Write the labels with their values, where these are known."""
    named = [f"`{name}`" for name in family.names if name not in family.labels]
    for name, values in family.labels.items():
        named.append(f"`{name}`" + (f" ({', '.join(values)})" if values else ""))
    return "<br>".join(named)


def _buckets() -> Iterator[str]:
    for family in FAMILIES.values():
        if family.buckets:
            yield f"Buckets of `{family.name}`, in seconds: {', '.join(f'{bound:g}' for bound in family.buckets)}.\n"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
