"""Whether the container engine is there, and has what the configuration needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pool.cli.doctor.finding import Finding, fail, failed, judged, ok, warn
from pool.cli.doctor.host import disk
from pool.cli.doctor.redis import skew
from pool.config import Config, DockerOptions
from pool.errors import EngineError
from pool.runtimes import DockerRuntime, EngineFacts, PublishedPort

#: Storage drivers that copy whole files or images, and so make a container's start slow.
_SLOW_DRIVERS = ("vfs", "devicemapper", "aufs")
_LISTENING = "0A"
_PATIENCE_S = 10.0


async def check_engine(config: Config | None) -> list[Finding]:
    """Ask the engine about itself, and about what a configuration needs; nothing is changed."""
    options = config.docker if config else DockerOptions()
    runtime = DockerRuntime(options.model_copy(update={"timeout_s": min(options.timeout_s, _PATIENCE_S)}))
    try:
        found = [ok("engine", await runtime.check())]
        facts = await runtime.facts()
        found += _setup(facts)
        if config is not None:
            found += [await _network(runtime, config), *(await _images(runtime, config))]
            found += _ports(config, await runtime.published_ports(), _listening() if facts.local else {})
    except EngineError as error:
        return [failed("engine", error, "start it: `systemctl start docker`, or set DOCKER_HOST")]
    finally:
        await runtime.close()
    return found


def _setup(facts: EngineFacts) -> Iterator[Finding]:
    yield judged(
        "engine.storage",
        f"driver {facts.storage_driver}, in {facts.root}",
        "use overlay2: containers start slowly with this one",
        poor=facts.storage_driver in _SLOW_DRIVERS,
    )
    yield ok("engine.cgroups", f"version {facts.cgroup_version}, driver {facts.cgroup_driver}")
    for warning in facts.warnings:
        yield warn("engine.kernel", warning.removeprefix("WARNING: "), "limits of that kind have no effect here")
    if facts.local and facts.root.exists():
        yield disk("engine.disk", facts.root)
    yield skew("engine.clock", facts.ahead_s)


async def _network(runtime: DockerRuntime, config: Config) -> Finding:
    own = any(options.container.network is None for options in config.pools.values())
    if not own:
        return ok("engine.network", "all pools name one")
    found = await runtime.list_networks(config.deployment)
    names = ", ".join(network.name for network in found)
    return judged(
        "engine.network",
        names or "not there yet; `poolctl serve` makes it",
        f"several are labelled as the deployment's: stop it, and remove them: docker network rm {names}",
        poor=len(found) > 1,
    )


async def _images(runtime: DockerRuntime, config: Config) -> list[Finding]:
    found = []
    for image in sorted({options.container.image for options in config.pools.values()}):
        there = await runtime.has_image(image)
        seen = image if there else f"{image} is not on the engine's host; `poolctl serve` tries to pull it"
        found.append(judged("engine.image", seen, f"docker pull {image}, or build it", poor=not there))
    return found


def _ports(config: Config, published: Sequence[PublishedPort], listening: dict[int, str]) -> Iterator[Finding]:
    """Yield which of the configured ports are not free, and not ours either."""
    wanted = {
        port: slot.id for pool in config.pools for slot in config.slots(pool) for port in slot.ports.values() if port
    }
    by_port = {found.port: found for found in published}
    ours = [port for port in wanted if port in by_port and by_port[port].deployment == config.deployment]
    for port, slot in wanted.items():
        if port in ours:
            continue
        if port in by_port:
            holder = by_port[port].container
            yield fail(
                "engine.port", f"{port}, of {slot}: container {holder} has it", f"stop {holder}, or use another port"
            )
        elif port in listening:
            yield fail(
                "engine.port",
                f"{port}, of {slot}: a process listens there on {listening[port]}",
                f"end it (`ss -ltnp sport = :{port}`), or use another port",
            )
    yield ok("engine.ports", _in_words(wanted, ours))


def _in_words(wanted: Iterable[int], ours: Sequence[int]) -> str:
    fixed = len(list(wanted))
    return f"{fixed} fixed ports, {len(ours)} of them ours already" if fixed else "the engine chooses all of them"


def _listening() -> dict[int, str]:
    """Return the ports that processes of this host listen on, each with an address; asked of the kernel, not tried."""
    found = {}
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue  # a kernel without it has no such sockets
        for line in lines:
            _, local, _, state = line.split()[:4]
            address, port = local.split(":")
            if state == _LISTENING:
                found[int(port, 16)] = "all addresses" if not address.strip("0") else "an address"
    return found
