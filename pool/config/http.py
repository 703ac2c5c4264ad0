"""The HTTP server of a manager."""

# ruff: noqa: RUF012 - pydantic copies a mutable default for each object; ruff does not see that Options is a BaseModel

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from pool.config.container import Options, Seconds, refusal

_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:]+")


class HttpOptions(Options):
    """The API and the gateway, over HTTP. `docs/api.md` describes the routes, `docs/security.md` who may use them."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address to listen on. Any but loopback needs API tokens: `poolctl token create`."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8700
    """Port to listen on. 0: the system chooses; the log says which."""
    public_url: str | None = None
    """Where clients reach the server, if not at the address that they named in their request: the base of
    `gateway_url`."""
    tls_cert: Path | None = None
    """Certificate chain in PEM; with it the server speaks HTTPS only."""
    tls_key: Path | None = None
    """Private key of the certificate, in PEM."""
    max_body_kb: Annotated[int, Field(ge=1, le=10_240)] = 64
    """Longest body of a request to the API. The gateway passes bodies of any length on."""
    shutdown_grace_s: Seconds = 10.0
    """How long a stopping server lets calls finish that do not wait for a container."""
    max_poll_s: Annotated[float, Field(ge=0.1, le=600)] = 60.0
    """How long one call waits for a container at most; the request stays in the queue and is asked about again."""
    liveness_s: Annotated[float, Field(ge=1, le=600)] = 15.0
    """A request that nobody asks about for so long is withdrawn, and so is a container that nobody fetched."""
    auth_failures_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Failed authentications of one address after which it has to wait."""
    allowed_hosts: list[str] = []
    """Further names under which clients reach the server, as their Host header says them. Loopback names, the address
    it listens on and the host of `public_url` are always allowed."""
    gateway: bool = True
    """Whether leased containers are reached through this server, in pools whose `access` allows it."""

    @field_validator("public_url")
    @classmethod
    def _is_base(cls, value: str | None) -> str | None:
        if value is None:
            return None
        allowed = "use http:// or https:// with host and port, such as https://pool.example.com"
        try:
            url = urlsplit(value)
            known = url.scheme in ("http", "https") and url.hostname and url.port != 0
        except ValueError:
            raise ValueError(allowed) from None
        if not known or "@" in url.netloc or url.query or url.fragment:
            raise ValueError(allowed)
        return value.rstrip("/")

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: list[str]) -> list[str]:
        for index, host in enumerate(value):
            if not _HOST.fullmatch(host):
                raise refusal(str(index), host, "use a host name or address in lower case, without scheme and port")
        return value

    @model_validator(mode="after")
    def _both_or_none(self) -> HttpOptions:
        if (self.tls_cert is None) != (self.tls_key is None):
            missing, given = ("tls_key", "tls_cert") if self.tls_key is None else ("tls_cert", "tls_key")
            raise refusal(missing, None, f"a certificate and its key belong together, and {given} is given")
        return self
