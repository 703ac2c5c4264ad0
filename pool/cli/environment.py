"""What a command that runs under a lease finds in its environment."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pool.errors import InvalidRequest
from pool.models import LeaseData, rfc3339

#: The variables of one lease, and what each is, for docs/cli.md.
ONE = {
    "POOL_CONTAINER_URL": "base URL of the first port",
    "POOL_GATEWAY_URL": "base URL through the gateway, a secret; where the pool has one",
    "POOL_CONTAINER_HOST": "address under which the ports are reachable",
    "POOL_CONTAINER_PORT": "published port of the first port",
    "POOL_CONTAINER_PORT_<N>": "published port of container port N, and so for each",
    "POOL_CONTAINER_ID": "the pool's name for the container",
    "POOL_CONTAINER_NAME": "the engine's name for the container",
    "POOL_NAME": "the pool",
    "POOL_OWNER": "who asked",
    "POOL_PRIORITY": "how urgent it was",
    "POOL_REQUEST_ID": "the request that the lease answers",
    "POOL_DEADLINE": "when the lease ends unless it is extended, RFC 3339 in UTC",
    "POOL_FENCE": "rises with every lease of the container",
    "POOL_LEASE": "the lease itself, which is a secret; `poolctl extend` and `release` find it here",
}
#: The variables of several leases.
MANY = {
    "POOL_<NAME>_URLS": "URLs of the pool's containers, separated by blanks; NAME in capitals, `_` for other signs",
    "POOL_<NAME>_IDS": "the same of their ids",
    "POOL_LEASES": "JSON, from the name of each pool to its leases, as `acquire --json` writes one; they are secrets",
    "POOL_OWNER": "who asked",
}
#: The variable that both kinds have.
BOTH = {"POOL_URL": "where the pool is, if --url or the environment said so"}

_OF_A_LEASE = re.compile(r"POOL_(GATEWAY_URL|CONTAINER_\w+|NAME|OWNER|PRIORITY|REQUEST_ID|DEADLINE|FENCE|LEASES?)")


def lease_environment(lease: LeaseData) -> dict[str, str]:
    """Return the variables that tell a command of its lease; `POOL_LEASE` is a secret."""
    container = lease.container
    ports = [(f"POOL_CONTAINER_PORT_{inside}", str(outside)) for inside, outside in container.ports.items()]
    first = [("POOL_CONTAINER_PORT", outside) for _, outside in ports[:1]]
    return {
        "POOL_CONTAINER_URL": lease.url,
        **({"POOL_GATEWAY_URL": lease.gateway_url} if lease.gateway_url else {}),
        "POOL_CONTAINER_ID": container.id,
        "POOL_CONTAINER_NAME": container.name,
        "POOL_CONTAINER_HOST": container.host,
        **dict(first + ports),
        "POOL_NAME": lease.pool,
        "POOL_OWNER": lease.owner,
        "POOL_PRIORITY": lease.priority.label,
        "POOL_REQUEST_ID": lease.request_id,
        "POOL_DEADLINE": rfc3339(lease.deadline_at),
        "POOL_LEASE": lease.ref,
        "POOL_FENCE": str(lease.fence),
    }


def bundle_environment(leases: Mapping[str, Sequence[LeaseData]]) -> dict[str, str]:
    """Return the variables that tell a command of its leases, by pool; `POOL_LEASES` holds secrets."""
    variables = {}
    for pool, held in leases.items():
        variables[f"POOL_{_word(pool)}_URLS"] = " ".join(lease.url for lease in held)
        variables[f"POOL_{_word(pool)}_IDS"] = " ".join(lease.container.id for lease in held)
    owner = next(lease.owner for held in leases.values() for lease in held)
    document = {pool: [lease.to_json() for lease in held] for pool, held in leases.items()}
    return variables | {"POOL_LEASES": json.dumps(document), "POOL_OWNER": owner}


def check_words(pools: Iterable[str]) -> None:
    """Refuse pools whose variables would have the same names.

    Raises:
        InvalidRequest: Two would.
    """
    names = list(pools)
    for word, number in Counter(map(_word, names)).items():
        if number > 1:
            alike = " and ".join(name for name in names if _word(name) == word)
            raise InvalidRequest("many", alike, f"both would be POOL_{word}_URLS; ask for them one after the other")


def without_outer_lease(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables of a lease under which we run ourselves."""
    return {name: value for name, value in environment.items() if not _OF_A_LEASE.fullmatch(name)}


def _word(pool: str) -> str:
    return re.sub(r"\W", "_", pool.upper())
