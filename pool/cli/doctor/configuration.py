"""Whether the configuration can be used, and what in it is asking for trouble."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pool.cli.doctor.finding import Finding, fail, judged, ok, warn
from pool.config import Config, PoolOptions, load_config
from pool.errors import ConfigError

_LOOPBACK = ("127.", "::1", "localhost")


def check_configuration(path: Path | None) -> tuple[list[Finding], Config | None]:
    """Read a configuration, and return what is to say about it; without one, the rest is checked by defaults."""
    if path is None:
        return [
            warn("configuration", "none is given, so images, ports and network are not checked", "name a file")
        ], None
    try:
        config = load_config(path)
    except ConfigError as error:
        problems = error.problems or (error.message,)
        return [
            fail("configuration", problem, f"correct it in {path}, or name another file") for problem in problems
        ], None
    pools = ", ".join(f"{name} ({len(config.slots(name))})" for name in config.pools)
    found = [ok("configuration", f"{path}: deployment {config.deployment}, pools {pools}")]
    for name, options in config.pools.items():
        found += [warn(f"configuration.{name}", seen, remedy) for seen, remedy in _doubts(options)]
    return [*found, *_http(config), *_audit(config)], config


def _doubts(options: PoolOptions) -> Iterator[tuple[str, str]]:
    """Yield what is allowed, and seldom meant: what is seen, and the remedy."""
    container, health = options.container, options.health
    if container.privileged:
        yield "containers are privileged: whoever uses one owns the host", "set container.privileged to false"
    if container.memory is None:
        yield "containers have no memory limit: one can take what all others need", "set container.memory"
    if health.tcp is None and health.http is None:
        yield "nothing asks the server whether it works", "set health.http"
    elif health.http is None and options.scheme in ("http", "https"):
        yield "only a TCP probe: a port proxy accepts before the server listens", "set health.http"
    if options.reset.verify == "off":
        yield "resets are not verified, so what one user left, the next may find", "set reset.verify to full"
    open_ports = sorted({port.host_ip for port in container.ports if not port.host_ip.startswith(_LOOPBACK)})
    if open_ports and options.access != "gateway":
        addresses = ", ".join(address or "all addresses" for address in open_ports)
        yield f"ports are open to other machines ({addresses}), to whoever asks", "use access: gateway, or a firewall"


def _http(config: Config) -> Iterator[Finding]:
    """Yield what there is to say about the HTTP server's files."""
    http = config.http
    if http is None:
        return
    if not http.host.startswith(_LOOPBACK) and http.tls_cert is None:
        yield warn(
            "configuration.http",
            f"HTTP without TLS on {http.host}: tokens can be read on the way",
            "set http.tls_cert and http.tls_key, or put a proxy with TLS before it",
        )
    for name, path in (("tls_cert", http.tls_cert), ("tls_key", http.tls_key)):
        if path is not None:
            yield _readable(f"configuration.http.{name}", path, secret=name == "tls_key")


def _audit(config: Config) -> Iterator[Finding]:
    """Yield whether the audit's file can be written."""
    path = config.audit.file
    if path is not None:
        there = path if path.exists() else path.absolute().parent
        remedy = f"let this user write to {there}"
        yield judged("configuration.audit.file", str(path), remedy, bad=not os.access(there, os.W_OK))


def _readable(check: str, path: Path, *, secret: bool) -> Finding:
    if not os.access(path, os.R_OK):
        return fail(check, f"{path} cannot be read", "name a file that this user can read")
    mode = stat.S_IMODE(path.stat().st_mode)
    return judged(
        check, f"{path}, mode {mode:o}", f"chmod 600 {path}: others can read it", poor=secret and bool(mode & 0o077)
    )
