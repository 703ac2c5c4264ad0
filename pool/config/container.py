"""What a pool's containers are made of: image, resources, isolation."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

_UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


class Options(BaseModel):
    """Base of every configuration object: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, use_attribute_docstrings=True)


def parse_bytes(value: object) -> object:
    """Read a size as Docker writes it, in bytes or with a binary unit: ``512m``, ``1GiB``, ``65536``."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", value.strip().lower())
    if not match:
        raise ValueError("use a number of bytes or a size such as 64k, 512m or 2g")
    return int(float(match[1]) * _UNITS[match[2]])


def _restart_policy(value: str) -> str:
    if not re.fullmatch(r"no|always|unless-stopped|on-failure(:\d+)?", value):
        raise ValueError("use one of no, on-failure, on-failure:<tries>, always, unless-stopped")
    return value


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0)]
RestartPolicy = Annotated[str, AfterValidator(_restart_policy)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]


class PortOptions(Options):
    """One port of the container and where it is published."""

    container: PortNumber
    """The port on which the server in the container listens."""
    host: Annotated[int, Field(ge=0, le=65535)] = 0
    """Published port of the pool's first container; the n-th gets `host + n - 1`. 0 lets the engine choose."""
    host_ip: str = "127.0.0.1"
    """Address to publish on. Loopback by default: whoever reaches the port reaches the container."""


class MountOptions(Options):
    """A bind mount or a named volume."""

    source: str
    """An absolute path on the engine's host, or the name of a volume."""
    target: str
    """Absolute path inside the container."""
    read_only: bool = True
    """Containers are lent to strangers one after the other: what they can write, they leave behind."""

    @field_validator("target")
    @classmethod
    def _absolute(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("use an absolute path")
        return value

    @property
    def type(self) -> Literal["bind", "volume"]:
        """`bind` for a path, `volume` for a name."""
        return "bind" if self.source.startswith("/") else "volume"


class ContainerOptions(Options):
    """How each container of a pool is created. The defaults are the safe ones."""

    image: Annotated[str, Field(min_length=1)]
    """Image reference. It is used from the host if it is there, and pulled if not."""
    command: list[str] | None = None
    """Replaces the image's command."""
    entrypoint: list[str] | None = None
    """Replaces the image's entry point."""
    environment: dict[str, str] = {}
    """Environment variables. Their values appear in no log and in no output of `poolctl config show`."""
    working_dir: str | None = None
    """Working directory; the image's by default."""
    user: str | None = None
    """`user`, `uid` or `uid:gid`; the image's by default."""
    ports: list[PortOptions] = []
    """Published ports. The first one is the lease's `url`."""
    mounts: list[MountOptions] = []
    """Bind mounts and named volumes."""
    tmpfs: dict[str, str] = {}
    """Path → mount options such as `size=64m,mode=1777`. A hard reset empties them."""
    network: str | None = None
    """An existing network to join. By default the deployment's own bridge, on which containers cannot reach each other."""
    extra_hosts: dict[str, str] = {}
    """Host name → address, `host-gateway` for the engine's host."""
    labels: dict[str, str] = {}
    """Labels of your own; they appear in leases. `containerpool.*` is reserved."""
    hostname: str | None = None
    """Host name inside the container; its id by default."""
    memory: Bytes | None = None
    """Memory limit such as `512m`. Swap is off, so this is all there is."""
    cpus: Annotated[float, Field(gt=0, le=1024)] | None = None
    """CPU limit in cores."""
    pids_limit: Annotated[int, Field(ge=1)] = 512
    """How many processes and threads may exist in the container."""
    shm_size: Bytes | None = None
    """Size of /dev/shm; the engine's default is 64m."""
    restart: RestartPolicy = "no"
    """The engine's restart policy. `no` leaves restarting to the manager, which verifies what it restarted."""
    stop_grace_s: Annotated[float, Field(ge=0, le=300)] = 1.0
    """Seconds between SIGTERM and SIGKILL when the container is stopped or restarted."""
    cap_add: list[str] = []
    """Capabilities to give back after all are dropped."""
    cap_drop: list[str] = ["ALL"]
    """Capabilities to drop."""
    security_opt: list[str] = ["no-new-privileges"]
    """Security options, as the engine takes them."""
    read_only: bool = False
    """Make the root filesystem read-only."""
    privileged: bool = False
    """All capabilities and devices of the host. Only for images you trust with the host; announced at every start."""
    init: bool = True
    """Run the engine's init as process 1, so that orphans are reaped and signals arrive."""

    @field_validator("labels")
    @classmethod
    def _reserved(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if key.startswith("containerpool."):
                raise ValueError(f"{key!r} is reserved; use a label that does not begin with 'containerpool.'")
        return value

    @field_validator("tmpfs", mode="before")
    @classmethod
    def _bare_paths(cls, value: Any) -> Any:
        return dict.fromkeys(value, "") if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> ContainerOptions:
        inside = [port.container for port in self.ports]
        if len(set(inside)) != len(inside):
            raise ValueError("ports: each container port may be listed once")
        for path in self.tmpfs:
            if not path.startswith("/"):
                raise ValueError(f"tmpfs: {path!r} is not an absolute path")
        return self
