"""All errors as Markdown; `python -m pool.cli.error_reference > docs/errors.md` renews the page."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pool.api.problems import status_of
from pool.cli.exits import MEANING, exit_of
from pool.errors import PoolError

_HEAD = """\
# Errors

Every error has a `code`, which stays as it is and is for programs. The Python client raises the class that is named
beside it, over HTTP the code is in the problem (`application/problem+json`), and `poolctl` ends with the exit code. The
message names the thing that it is about, and a hint says what to do; this page says it at more length.

Errors that say `retry_after_s` (the 429s and 503s) are about now: ask again after that long. All others come again
however often the same is asked.

This page is generated: `python -m pool.cli.error_reference > docs/errors.md`.
"""

#: Code of each error of the tree → what to do about it.
ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "pool_error": "Except it to catch all that the pool raises.",
        "config_invalid": "Each line names path, value and what is allowed; mend them and ask `poolctl config check`.",
        "request_invalid": "`field`, `value` and `allowed` say what to change.",
        "pool_unknown": "`poolctl status` lists the pools. After a loss of data the manager opens it anew: wait.",
        "requirements_unmet": "The message says what each pool lacks: ask for less, or configure such a pool.",
        "container_unknown": "`poolctl status` lists the containers. Where several pools have the id, name the pool.",
        "request_conflict": "Choose a request id that nobody else uses, or none.",
        "request_unknown": "It ended a while ago, or was never made: ask anew.",
        "refused": "Except it to catch all refusals; `retry_after_s` says when to ask again.",
        "acquire_timeout": "`poolctl status` shows who holds the containers. Wait longer, raise the priority, or see "
        "[how many containers](how-to/size.md) the pool needs.",
        "none_fit": "The message says what was wrong with each; `poolctl events` shows their recovery.",
        "queue_full": "Ask again later, or raise `limits.max_queued`.",
        "owner_queue_full": "Ask for less at once, or raise `limits.max_queued_per_owner`.",
        "lease_limit_reached": "Ask again later, or raise `limits.max_leases`.",
        "owner_lease_limit_reached": "Give some back first, or raise `limits.max_leases_per_owner`.",
        "too_many_connections": "Close some, or raise `gateway.connections`.",
        "pool_degraded": "Ask again later, or with a higher priority: [degradation](degradation.md).",
        "pool_draining": "Somebody drained it: `poolctl audit` says who and why, `poolctl resume` ends it.",
        "shutting_down": "Ask again under the same request id: another server, or the next one, goes on with it.",
        "lease_error": "Except it to catch all that can be wrong with a lease.",
        "extension_denied": "Give the container back in time. `limits` of the pool bound number and length.",
        "lease_lost": "Stop using the container: somebody else may have it. Heartbeats came too late, the deadline "
        "passed, an operator took it, or the container died; `poolctl events` says which.",
        "lease_already_released": "Nothing: it was given back before. If not by you, look who else has the token.",
        "access_denied": "Except it to catch all refusals of access.",
        "unauthenticated": "Give a token that is valid: `POOL_TOKEN`, `poolctl token list`.",
        "forbidden": "The message says what the token lacks: role, owner or pool. Ask an operator for another one.",
        "too_many_failures": "Mend the token first; the address is heard again when the minute is over.",
        "gateway_error": "Except it to catch all that can go wrong in the gateway.",
        "gateway_off": "Use the lease's `url`, or set `access` of the pool to `gateway` or `both`.",
        "gateway_unknown": "Set `http.public_url` in the manager's configuration, or connect over HTTP.",
        "port_unknown": "Name one of the ports in `container.ports`.",
        "target_unreachable": "Look at the container's log, `poolctl logs`: nobody listens, or it hung up.",
        "target_timeout": "As above; or give it longer by `gateway.connect_timeout_s`.",
        "wrong_state": "The message names the state. `poolctl status` shows it; wait, or use what that state allows.",
        "container_changed": "Look again: the message says what the container is now. Then decide anew.",
        "transition_forbidden": "A bug: please report it with the message.",
        "client_closed": "Connect after the fork, and keep the client open for as long as its leases.",
        "store_error": "Except it to catch all that can be wrong with Redis.",
        "store_unavailable": "Is Redis, or the manager, there and reachable? `poolctl doctor` looks. "
        "Clients wait for it by themselves for `patience_s`: [redis.md](redis.md).",
        "store_unsupported": "Use Redis 6.2 or newer, or Valkey, with Lua; look at the URL.",
        "engine_error": "Except it to catch all that the engine does not do; its own words are in the message.",
        "engine_unavailable": "Is the engine there? `poolctl doctor` looks; `DOCKER_HOST` or `docker.url` says where.",
        "engine_too_old": "Use Docker 20.10 (API 1.41) or newer.",
        "engine_timeout": "The engine is overloaded, or hangs; `docker.timeout_s` is the deadline.",
        "image_missing": "Build or pull the image on the engine's host; look at its name.",
        "port_taken": "`ss -ltnp` shows who listens. End it, or choose another `host` port; 0 lets the engine choose.",
        "name_taken": "Remove or rename that container, or choose another `name` or `deployment`.",
        "container_gone": "Nothing: the manager makes it anew.",
        "shell_broken": "Nothing: the reset goes on by another shell, or at the next level.",
    }
)


class HttpOnly(NamedTuple):
    """A problem that only a server has: with what was sent, before any pool is asked."""

    status: int
    meaning: str
    advice: str


#: Problems that have no class of their own; a test holds the table against the code.
HTTP_ONLY: Mapping[str, HttpOnly] = MappingProxyType(
    {
        "json_malformed": HttpOnly(400, "The body is no JSON.", "The detail says where it breaks."),
        "body_broken": HttpOnly(400, "A body for the gateway broke off, or is malformed.", "Send it again."),
        "target_invalid": HttpOnly(400, "The path is none of the gateway's.", "Use `gateway_url` as it was given."),
        "lease_token_mismatch": HttpOnly(403, "The token is that of another lease.", "Use the lease's own `token`."),
        "origin_foreign": HttpOnly(403, "A page of another site wants to change something.", "Call from a program."),
        "evidence_unknown": HttpOnly(404, "No such bundle was kept.", "`poolctl evidence list` lists them."),
        "route_unknown": HttpOnly(404, "There is no such path.", "`/docs` lists the routes."),
        "method_not_allowed": HttpOnly(405, "The path has no such method.", "`allowed` lists those that it has."),
        "body_too_slow": HttpOnly(408, "The body did not come in time.", "Send it at once."),
        "body_too_large": HttpOnly(413, "The body is longer than `http.max_body_kb`.", "Send less."),
        "media_type_unsupported": HttpOnly(415, "The body is not JSON.", "`Content-Type: application/json`."),
        "host_unknown": HttpOnly(
            421, "The `Host` header names another server.", "Name it in `http.allowed_hosts` or `http.public_url`."
        ),
        "http_error": HttpOnly(400, "The request cannot be read as HTTP; may have other statuses.", "Look at it."),
        "internal_error": HttpOnly(500, "A bug of the server.", "Its log has the traceback: please report it."),
        "not_ready": HttpOnly(503, "`/readyz`: a pool cannot be used yet.", "The detail says which, and why."),
        "version_unsupported": HttpOnly(505, "The gateway speaks HTTP/1.1 and 1.0.", "Use one of these."),
    }
)


def tree(root: type[PoolError] = PoolError) -> Iterator[type[PoolError]]:
    """Yield the errors of this package, each before those below it."""
    yield root
    for child in root.__subclasses__():
        if child.__module__ == PoolError.__module__:
            yield from tree(child)


def meaning_of(kind: type[PoolError]) -> str:
    """Return what an error means: the first paragraph of its docstring."""
    return " ".join((kind.__doc__ or "").split("\n\n", maxsplit=1)[0].replace("``", "`").split())


def render_reference() -> str:
    """Return the reference of all errors as Markdown."""
    branches = [kind for kind in PoolError.__subclasses__() if kind.__module__ == PoolError.__module__]
    alone: list[type[PoolError]] = [PoolError, *(kind for kind in branches if not kind.__subclasses__())]
    lines = [_HEAD, "## On their own\n", *_table(alone)]
    for branch in branches:
        if branch.__subclasses__():
            lines += [f"## `{branch.__name__}`\n", *_table(tree(branch))]
    return "\n".join([*lines, *_http_only(), *_exits()]).rstrip() + "\n"


def _table(kinds: Iterable[type[PoolError]]) -> Iterator[str]:
    yield "| code, class | HTTP | exit | meaning | what to do |\n|---|---|---|---|---|"
    for kind in kinds:
        yield (
            f"| `{kind.code}`<br>`{kind.__name__}` | {status_of(kind)} | {exit_of(kind).value}"
            f" | {meaning_of(kind)} | {ADVICE[kind.code]} |"
        )
    yield ""


def _http_only() -> Iterator[str]:
    yield "## Over HTTP only\n"
    yield "About a request that never reached a pool. The Python client raises the nearest class, by the status.\n"
    yield "| code | HTTP | meaning | what to do |\n|---|---|---|---|"
    for code, problem in HTTP_ONLY.items():
        yield f"| `{code}` | {problem.status} | {problem.meaning} | {problem.advice} |"
    yield ""


def _exits() -> Iterator[str]:
    yield "## Exit codes of `poolctl`\n"
    yield "| code | means |\n|---|---|"
    for code, meaning in MEANING.items():
        yield f"| {code.value} | {meaning} |"
    yield "\n`poolctl run` otherwise ends with the exit code of the command that it ran, 128 + n after signal n.\n"


if __name__ == "__main__":
    sys.stdout.write(render_reference())
