"""Between our types and the engine's JSON, without any input or output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pool.config import NETWORK_FILES, ContainerOptions
from pool.ports import Change, ChangeKind, ContainerSpec, EngineContainer, EngineEvent, EngineState, Stats
from pool.redaction import HIDDEN

_CHANGES = {0: ChangeKind.MODIFIED, 1: ChangeKind.ADDED, 2: ChangeKind.DELETED}
_NEVER = "0001-01-01"
_JOINS = "container:"
_NO_HEALTHCHECK = {"Healthcheck": {"Test": ["NONE"]}}
#: A holder has the pool's image, but nothing that could end in an orderly way.
_HOLDER = {"StopSignal": "SIGKILL"}
_NOT_LABELS = frozenset({"image", "name", "exitCode", "signal", "execDuration"})

#: Actions worth a line in the event stream. The engine filters: `exec_*` and `top`, which our own checks cause, would
#: flood it, and so would a HEALTHCHECK.
ACTIONS = (
    "create", "start", "restart", "stop", "kill", "die", "oom", "pause", "unpause", "destroy", "health_status",
)  # fmt: skip


def container_config(spec: ContainerSpec, network: str, joined: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the body that creates a container.

    Args:
        spec: What it is to be.
        network: The network that it is to join.
        joined: An inspection of the container whose network it shares instead, if it does.
    """
    options = spec.options
    return {
        "Image": options.image,
        "Cmd": options.command,
        "Entrypoint": options.entrypoint,
        "Env": [f"{name}={value}" for name, value in options.environment.items()],
        "WorkingDir": options.working_dir or "",
        "User": options.user or "",
        "Labels": spec.labels,
        "StopTimeout": whole_seconds(options.stop_grace_s),
        **({} if joined else {"Hostname": options.hostname or spec.id, "ExposedPorts": _exposed(spec)}),
        **({} if options.healthcheck else _NO_HEALTHCHECK),
        **(_HOLDER if spec.holds else {}),
        "HostConfig": {
            **(_network_of(joined) if joined else _own_network(spec, network)),
            "Mounts": [
                *(
                    _mount(mount.type, mount.source, mount.target, read_only=mount.read_only)
                    for mount in options.mounts
                ),
                *(_mount("bind", source, target) for target, source in _network_files(joined)),
            ],
            "Tmpfs": options.tmpfs,
            "RestartPolicy": _restart_policy(options.restart),
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            **_limits(options),
            **_isolation(options),
        },
    }


def _exposed(spec: ContainerSpec) -> dict[str, dict[str, str]]:
    return {f"{port}/tcp": {} for port in spec.ports}


def _own_network(spec: ContainerSpec, network: str) -> dict[str, Any]:
    hosts = [f"{name}:{address}" for name, address in spec.options.extra_hosts.items()]
    return {"NetworkMode": network, "PortBindings": _port_bindings(spec), "ExtraHosts": hosts}


def _network_of(joined: Mapping[str, Any]) -> dict[str, Any]:
    return {"NetworkMode": f"{_JOINS}{joined['Id']}"}


def _network_files(joined: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return what a container gets from the one that it joins: path inside → file on the engine's host.

    The engine would share these files anyway, but writable: what a tenant wrote there, the next one would read.
    """
    sources = [joined[name] for name in ("HostsPath", "ResolvConfPath", "HostnamePath")] if joined else []
    return [(target, source) for target, source in zip(NETWORK_FILES, sources, strict=False) if source]


def _mount(kind: str, source: str, target: str, *, read_only: bool = True) -> dict[str, Any]:
    return {"Type": kind, "Source": source, "Target": target, "ReadOnly": read_only}


def _limits(options: ContainerOptions) -> dict[str, Any]:
    limits: dict[str, Any] = {"PidsLimit": options.pids_limit}
    if options.memory:
        limits |= {"Memory": options.memory, "MemorySwap": options.memory}  # equal: no swap
    if options.cpus:
        limits["NanoCpus"] = round(options.cpus * 1e9)
    if options.shm_size:
        limits["ShmSize"] = options.shm_size
    return limits


def _isolation(options: ContainerOptions) -> dict[str, Any]:
    return {
        "Init": options.init,
        "CapAdd": options.cap_add,
        "CapDrop": options.cap_drop,
        "SecurityOpt": options.security_opt,
        "ReadonlyRootfs": options.read_only,
        "Privileged": options.privileged,
        "AutoRemove": False,  # a dead container is evidence
    }


def _port_bindings(spec: ContainerSpec) -> dict[str, list[dict[str, str]]]:
    addresses = {port.container: port.host_ip for port in spec.options.ports}
    return {
        f"{inside}/tcp": [{"HostIp": addresses.get(inside, "127.0.0.1"), "HostPort": str(outside) if outside else ""}]
        for inside, outside in spec.ports.items()
    }


def _restart_policy(text: str) -> dict[str, Any]:
    name, _, tries = text.partition(":")
    return {"Name": name, "MaximumRetryCount": int(tries or 0)}


def whole_seconds(seconds: float) -> int:
    """Round up to what the engine takes: whole seconds."""
    return math.ceil(seconds)


def read_container(raw: Mapping[str, Any]) -> EngineContainer:
    """Read the engine's answer to an inspection."""
    state = raw["State"]
    status = EngineState(state["Status"])
    started_at = state["StartedAt"]
    network = raw["HostConfig"].get("NetworkMode") or ""
    return EngineContainer(
        ref=raw["Id"],
        name=raw["Name"].removeprefix("/"),
        state=status,
        labels=raw["Config"].get("Labels") or {},
        ports=_read_ports(raw["NetworkSettings"].get("Ports") or {}),
        exit_code=state["ExitCode"] if status in (EngineState.EXITED, EngineState.DEAD) else None,
        oom_killed=state["OOMKilled"],
        started_at="" if started_at.startswith(_NEVER) else started_at,
        joins=network.removeprefix(_JOINS) if network.startswith(_JOINS) else "",
        address=_read_address(raw["NetworkSettings"].get("Networks") or {}),
    )


def hide_environment(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an inspection without the values of environment variables; names stay."""
    names = [str(variable).partition("=")[0] for variable in raw["Config"].get("Env") or ()]
    return {**raw, "Config": {**raw["Config"], "Env": [f"{name}={HIDDEN}" for name in names]}}


def in_tmpfs(raw: Mapping[str, Any], path: str) -> bool:
    """Tell from an inspection whether a path lies in memory: on a tmpfs, or in /dev/shm."""
    mounted = [*(raw["HostConfig"].get("Tmpfs") or {}), "/dev/shm"]  # noqa: S108 - a path in the container
    return any(f"{path.rstrip('/')}/".startswith(f"{place.rstrip('/')}/") for place in mounted)


def _read_ports(published: Mapping[str, list[dict[str, str]] | None]) -> dict[int, int]:
    return {
        int(inside.removesuffix("/tcp")): int(bindings[0]["HostPort"])
        for inside, bindings in published.items()
        if inside.endswith("/tcp") and bindings
    }


def _read_address(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return where a container is reached in the first of its networks that gives it an address."""
    return next((found["IPAddress"] for found in networks.values() if found.get("IPAddress")), "")


def read_changes(raw: list[dict[str, Any]] | None) -> list[Change]:
    """Read the engine's list of changed paths; it says `null` for none."""
    return [Change(_CHANGES[change["Kind"]], change["Path"]) for change in raw or ()]


def read_stats(raw: Mapping[str, Any], memory_limit: int) -> Stats:
    """Read one sample. Page cache that can be dropped at any time is no use of memory, as for `docker stats`."""
    memory = raw["memory_stats"]
    details = memory.get("stats", {})
    cache = details.get("inactive_file", details.get("total_inactive_file", 0))
    return Stats(
        memory_bytes=max(0, memory.get("usage", 0) - cache),
        memory_limit_bytes=memory_limit,
        cpu_ns=raw["cpu_stats"]["cpu_usage"]["total_usage"],
        pids=raw["pids_stats"].get("current", 0),
    )


def read_event(raw: Mapping[str, Any]) -> EngineEvent:
    """Read one event; the engine mixes labels with its own attributes."""
    actor = raw["Actor"]
    labels = {name: value for name, value in actor["Attributes"].items() if name not in _NOT_LABELS}
    code = actor["Attributes"].get("exitCode")
    return EngineEvent(
        ref=actor["ID"],
        action=raw["Action"],
        at=raw["timeNano"] / 1e9,
        labels=labels,
        exit_code=int(code) if code else None,
    )
