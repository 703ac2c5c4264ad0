"""What keeps a slot's network where its containers come and go, and what a pool must not do then."""

from __future__ import annotations

from collections.abc import Iterator

from pool.config.container import ContainerOptions

#: They come from the holder, and are read-only in what joins it: a tenant's edits would outlive its container.
NETWORK_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/hostname")

#: Whoever has one of these can change addresses, routes and filters of the network, which outlives its container.
_NETWORK_POWERS = ("ALL", "NET_ADMIN", "SYS_ADMIN")
_SHARED_NETWORKS = ("host", "none")

#: Stops itself, and again whenever it is let go on: it needs no program of the image and takes no time of the CPU.
_WAIT = "while :; do kill -STOP $$; done"
_MEMORY_BYTES = 32 << 20
_NOBODY = "65534:65534"


def holder_options(container: ContainerOptions, shell: str) -> ContainerOptions:
    """Return how the holder of a slot is created: on the network of the container, with nothing else of its powers.

    Args:
        container: How the slot's own container is created.
        shell: The shell that its image has.
    """
    return ContainerOptions(
        image=container.image,
        entrypoint=[shell, "-c", _WAIT],
        command=[],
        user=_NOBODY,
        ports=container.ports,
        network=container.network,
        extra_hosts=container.extra_hosts,
        hostname=container.hostname,
        labels=container.labels,
        memory=_MEMORY_BYTES,
        pids_limit=8,
        restart=container.restart,
        stop_grace_s=0,
        read_only=True,
    )


def obstacles_to_holding(container: ContainerOptions) -> Iterator[tuple[str, object, str]]:
    """Yield the options that cannot be as they are where slots are held: path, value, and what is allowed."""
    if container.privileged:
        yield (
            "privileged",
            True,
            "it may change the network, which outlives it with slot: held; use false, or slot: plain",
        )
    for index, name in enumerate(container.cap_add):
        if name.upper().removeprefix("CAP_") in _NETWORK_POWERS:
            allowed = "it may change the network, which outlives its container with slot: held; leave it out"
            yield f"cap_add.{index}", name, f"{allowed}, or use slot: plain"
    if container.network is not None and (
        container.network in _SHARED_NETWORKS or container.network.startswith("container:")
    ):
        yield "network", container.network, "there is nothing to hold; name a bridge network, or use slot: plain"
    for index, mount in enumerate(container.mounts):
        if mount.target.rstrip("/") in NETWORK_FILES:
            yield f"mounts.{index}.target", mount.target, "with slot: held it is the holder's; use slot: plain"
