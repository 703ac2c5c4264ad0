"""What schemathesis has to know of the API beyond its document: a lease's own token belongs to its routes.

It loads this module by the environment variable SCHEMATHESIS_HOOKS, in a process of its own.
"""

from __future__ import annotations

import random
from typing import Any

import schemathesis

#: Leases that were given out in this run: id → token.
_leases: dict[str, str] = {}


@schemathesis.auth().apply_to(path_regex=r"^/v1/leases/{id}")
class LeaseAuth:
    """Lets half of what is asked about a lease be about one that there is, with its token."""

    def get(self, case: Any, context: Any) -> tuple[str, str]:
        given = (case.path_parameters or {}).get("id", "")
        if given not in _leases and _leases and random.random() < 0.5:
            given = random.choice(list(_leases))
        return given, _leases.get(given, "")

    def set(self, case: Any, data: tuple[str, str], context: Any) -> None:
        lease_id, token = data
        if token:
            case.path_parameters["id"] = lease_id
            case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Remember the leases that were given out."""
    if response.status_code in (200, 201):
        try:
            found = response.json()
        except ValueError:
            return
        if isinstance(found, dict) and str(found.get("token", "")).startswith("cpl_"):
            _leases[found["id"]] = found["token"]
