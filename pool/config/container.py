"""What a pool's containers are made of: image, resources, isolation."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}
_VOLUME = re.compile(r"/.*|[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_RESTART = r"^(no|always|unless-stopped|on-failure(:\d+)?)$"

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


def refusal(at: str, value: object, allowed: str) -> PydanticCustomError:
    """Return the error of a rule that concerns several fields, at the one that the user has to change.

    Args:
        at: Path of that field, below the object whose validator raises this.
        value: What stands there.
        allowed: What may stand there, in words.
    """
    return PydanticCustomError("refused", "{allowed}", {"at": at, "value": value, "allowed": allowed})


class Options(BaseModel):
    """Base of every configuration object: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        """Let an empty text, such as that of an unset variable, mean null; take no switch for a number."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if value == "" and type(None) in get_args(annotation):
            return None
        if isinstance(value, bool) and annotation not in (bool, str):
            raise ValueError("a switch has no meaning here")
        return value


def _bytes(value: object) -> object:
    """Read a size as Docker writes it, in bytes or with a binary unit: `512m`, `1GiB`, `65536`."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", value.strip().lower())
    if not match:
        raise ValueError("use a number of bytes or a size such as 64k, 512m or 2g")
    return int(float(match[1]) * _UNITS[match[2]])


def _enough(value: int) -> int:
    if value < 6 * _UNITS["m"]:
        raise ValueError("use at least 6m; container engines take no less")
    return value


def _unquoted_no(value: object) -> object:
    """Read `no` without quotes, which YAML takes for false."""
    return "no" if value is False else value


def _restart_policy(value: str) -> str:
    if not re.fullmatch(_RESTART, value):
        raise ValueError("use one of no, on-failure, on-failure:<tries>, always, unless-stopped")
    return value


_SIZE_SCHEMA = WithJsonSchema({"type": ["integer", "string"], "examples": ["64k", "512m", "2g", 65536]})

Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=1), _SIZE_SCHEMA]
MemoryBytes = Annotated[Bytes, AfterValidator(_enough)]
RestartPolicy = Annotated[
    str,
    BeforeValidator(_unquoted_no),
    AfterValidator(_restart_policy),
    WithJsonSchema({"type": "string", "pattern": _RESTART}),
]
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

    @field_validator("source")
    @classmethod
    def _path_or_volume(cls, value: str) -> str:
        if not _VOLUME.fullmatch(value):
            raise ValueError("use an absolute path or the name of a volume")
        return value

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
    """An existing network to join; by default the deployment's own bridge, which keeps containers from each other."""
    extra_hosts: dict[str, str] = {}
    """Host name → address, `host-gateway` for the engine's host."""
    labels: dict[str, str] = {}
    """Labels of your own; they appear in leases. `containerpool.*` is reserved."""
    hostname: str | None = None
    """Host name inside the container; its id by default."""
    memory: MemoryBytes | None = None
    """Memory limit such as `512m`, at least `6m`. Swap is off, so this is all there is."""
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
    healthcheck: bool = False
    """Let the image's own HEALTHCHECK run. Off by default: the pool has its own probes, and a process that the engine
    starts in the container in the middle of a reset keeps that from being verified clean."""

    @field_validator("labels")
    @classmethod
    def _not_reserved(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if key.startswith("containerpool."):
                raise refusal(key, text, "names that begin with containerpool. are reserved; choose another one")
        return value

    @field_validator("tmpfs")
    @classmethod
    def _absolute(cls, value: dict[str, str]) -> dict[str, str]:
        for path in value:
            if not path.startswith("/"):
                raise refusal(path, path, "use an absolute path")
        return value

    @field_validator("ports")
    @classmethod
    def _listed_once(cls, value: list[PortOptions]) -> list[PortOptions]:
        inside = [port.container for port in value]
        for index, port in enumerate(inside):
            if port in inside[:index]:
                raise refusal(f"{index}.container", port, "list each container port once")
        return value
