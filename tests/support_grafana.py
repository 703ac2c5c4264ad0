"""The dashboard that is committed, and its queries as Prometheus gets them."""

from __future__ import annotations

import json
from pathlib import Path

GRAFANA = Path(__file__).parents[1] / "deploy" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "containerpool.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
#: Title of the panel, with the letter of the query → what is asked, with Grafana's variables.
QUERIES = {f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]}


def plain(expr: str, pool: str = "browsers") -> str:
    """A query as Prometheus gets it from Grafana."""
    return expr.replace("$__rate_interval", "5m").replace("$pool", pool).replace("$container", ".*")
