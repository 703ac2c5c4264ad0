"""Every error the pool raises, in one tree.

::

    PoolError
    ├── ConfigError            a configuration that cannot be used; names path, value and what is allowed
    ├── InvalidRequest         a field of a request is wrong; names field, value and what is allowed
    ├── UnknownPool            no manager ever opened a pool of this name
    ├── RequirementsUnmet      no pool has containers as the request needs them
    ├── UnknownContainer       the pool has no container of this id
    ├── RequestConflict        the request id belongs to somebody else, or has already ended
    ├── UnknownRequest         no pool knows a request of this id, or not any more
    ├── Refused                the pool takes no such request now
    │   ├── AcquireTimeout     nothing became free within ``wait_s``
    │   ├── NoneFit            every container that was granted was found unfit before its use
    │   ├── QueueFull          as many requests wait as the pool's limit allows
    │   ├── OwnerQueueFull     as many of the owner's requests wait as its limit allows
    │   ├── LeaseLimitReached  as many leases are open as the pool's limit allows
    │   ├── OwnerLeaseLimitReached  the owner holds as many leases as its limit allows
    │   ├── TooManyConnections  as many connections of the lease are open as the gateway allows
    │   ├── Degraded           the pool is overloaded and takes no new request of low priority
    │   ├── PoolDraining       the pool takes no new request
    │   └── ShuttingDown       the server ends; what waits keeps its place for whoever asks another one soon
    ├── LeaseError
    │   ├── ExtensionDenied    the deadline was not moved: extensions used up, or beyond the longest lease
    │   ├── LeaseLost          the lease ended under its holder: expired, revoked, or its container died
    │   └── AlreadyReleased    the lease was given back before
    ├── AccessDenied           who asks may not
    │   ├── Unauthenticated    no token is given, or none that is valid
    │   ├── Forbidden          the token is valid, but not for this
    │   └── TooManyFailures    too many wrong tokens came from this address
    ├── GatewayError           the gateway cannot pass a request on to the container
    │   ├── GatewayOff         the pool's containers are not reached through the gateway
    │   ├── GatewayUnknown     they are reached through it only, and nobody said where it is
    │   ├── PortUnknown        the container has no such port
    │   ├── TargetUnreachable  nobody listens in the container, or what it sent is no answer
    │   └── TargetTimeout      the container did not accept a connection in time
    ├── WrongState             the container is not in a state that allows this
    │   └── ContainerChanged   it is not any more what whoever wants this has seen
    ├── ForbiddenTransition    no such move in the table of states; a bug in the caller
    ├── ClientClosed           the client was closed, or the process forked after it connected
    ├── StoreError
    │   ├── StoreUnavailable   nobody answers at the URL, neither Redis nor a manager
    │   └── StoreUnsupported   the server cannot run the pool's commands (too old, without Lua), or is none of ours
    └── EngineError            the container engine failed
        ├── EngineUnavailable  the engine does not answer
        ├── EngineTooOld       the engine's API is older than the pool needs
        ├── EngineTimeout      the engine did not finish within our deadline
        ├── ImageMissing       the image is not on the host and could not be pulled
        ├── PortTaken          another process or container listens on the port
        ├── NameTaken          a container that is not ours has the name
        ├── ContainerGone      the container does not exist any more
        └── ShellBroken        the open shell session in a container ended or went silent

Each carries a ``code`` for programs, a message that names the thing, and a ``hint`` that says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class PoolError(Exception):
    """Base of all errors of this package.

    Args:
        message: What happened, naming the ids involved.
        hint: What the reader can do about it; empty where the message says it.
    """

    code: ClassVar[str] = "pool_error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(PoolError):
    """The configuration cannot be used; ``problems`` holds one line for each fault."""

    code = "config_invalid"

    def __init__(self, message: str, *, hint: str = "", problems: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = problems


class InvalidRequest(PoolError):
    """A field of a request is wrong.

    Args:
        field: The field's name.
        value: What was given.
        allowed: What is allowed, in words.
    """

    code = "request_invalid"

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: {value!r} is not allowed; {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class UnknownPool(PoolError):
    """No manager ever opened a pool of this name in this Redis."""

    code = "pool_unknown"


class RequirementsUnmet(PoolError):
    """No pool has containers as the request needs them; says of each what it lacks."""

    code = "requirements_unmet"


class UnknownContainer(PoolError):
    """The pool has no container of this id."""

    code = "container_unknown"


class RequestConflict(PoolError):
    """The request id belongs to somebody else, or the request has already ended."""

    code = "request_conflict"


class UnknownRequest(PoolError):
    """No pool knows a request of this id, or not any more."""

    code = "request_unknown"


class Refused(PoolError):
    """The pool takes no such request now; ``retry_after_s`` says when asking again makes sense."""

    code = "refused"

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class AcquireTimeout(Refused):
    """Nothing became free within ``wait_s``."""

    code = "acquire_timeout"


class NoneFit(Refused):
    """Every container that was granted was found unfit at hand-out; says of each what was wrong with it."""

    code = "none_fit"


class QueueFull(Refused):
    """As many requests wait as the pool's ``limits.max_queued`` allows."""

    code = "queue_full"


class OwnerQueueFull(Refused):
    """As many of the owner's requests wait as the pool's ``limits.max_queued_per_owner`` allows."""

    code = "owner_queue_full"


class LeaseLimitReached(Refused):
    """As many leases are open as the pool's ``limits.max_leases`` allows."""

    code = "lease_limit_reached"


class OwnerLeaseLimitReached(Refused):
    """The owner holds as many leases as the pool's ``limits.max_leases_per_owner`` allows."""

    code = "owner_lease_limit_reached"


class TooManyConnections(Refused):
    """As many connections of the lease are open as the pool's ``gateway.connections`` allows."""

    code = "too_many_connections"


class Degraded(Refused):
    """The pool is overloaded and takes no new request of low priority."""

    code = "pool_degraded"


class PoolDraining(Refused):
    """The pool is being drained and takes no new request."""

    code = "pool_draining"


class ShuttingDown(Refused):
    """The server ends; what waits keeps its place in the queue for whoever asks another server soon."""

    code = "shutting_down"


class LeaseError(PoolError):
    """A lease cannot do what was asked of it."""

    code = "lease_error"


class ExtensionDenied(LeaseError):
    """The deadline was not moved: the extensions are used up, or it would be beyond the longest lease."""

    code = "extension_denied"


class LeaseLost(LeaseError):
    """The lease ended under its holder: it expired, was revoked, or its container died."""

    code = "lease_lost"


class AlreadyReleased(LeaseError):
    """The lease was given back before; whoever holds the container now is unharmed."""

    code = "lease_already_released"


class AccessDenied(PoolError):
    """Who asks may not."""

    code = "access_denied"


class Unauthenticated(AccessDenied):
    """No token is given, or none that is valid: unknown, expired, revoked or malformed; which of them is not told."""

    code = "unauthenticated"


class Forbidden(AccessDenied):
    """The token is valid, but not for this."""

    code = "forbidden"


class TooManyFailures(AccessDenied):
    """Too many wrong tokens came from this address; ``retry_after_s`` says when it is listened to again."""

    code = "too_many_failures"

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float = 60.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class GatewayError(PoolError):
    """The gateway cannot pass a request on to the container."""

    code = "gateway_error"


class GatewayOff(GatewayError):
    """The pool's containers are not reached through the gateway: its ``access`` is ``direct``."""

    code = "gateway_off"


class GatewayUnknown(GatewayError):
    """The pool's containers are reached through the gateway only, and no manager said where that is."""

    code = "gateway_unknown"


class PortUnknown(GatewayError):
    """The container has no such port in its configuration."""

    code = "port_unknown"


class TargetUnreachable(GatewayError):
    """Nobody listens in the container, or what it sent is no answer."""

    code = "target_unreachable"


class TargetTimeout(GatewayError):
    """The container did not accept a connection in time."""

    code = "target_timeout"


class WrongState(PoolError):
    """The container is not in a state that allows this."""

    code = "wrong_state"


class ContainerChanged(WrongState):
    """The container is not any more what whoever wanted something of it had seen."""

    code = "container_changed"


class ForbiddenTransition(PoolError):
    """The table of states has no such move."""

    code = "transition_forbidden"


class ClientClosed(PoolError):
    """The client was closed, or the process forked after it connected."""

    code = "client_closed"


class StoreError(PoolError):
    """Redis could not do its part."""

    code = "store_error"


class StoreUnavailable(StoreError):
    """Nobody answers at the URL: neither Redis nor a manager's HTTP server."""

    code = "store_unavailable"


class StoreUnsupported(StoreError):
    """The server cannot run the pool's commands: older than 6.2, or without Lua, or none of the pool."""

    code = "store_unsupported"


class EngineError(PoolError):
    """The container engine failed."""

    code = "engine_error"


class EngineUnavailable(EngineError):
    """The engine does not answer."""

    code = "engine_unavailable"


class EngineTooOld(EngineError):
    """The engine's API is older than the pool needs."""

    code = "engine_too_old"


class EngineTimeout(EngineError):
    """The engine did not finish within the deadline we gave it."""

    code = "engine_timeout"


class ImageMissing(EngineError):
    """The image is not on the host and could not be pulled."""

    code = "image_missing"


class PortTaken(EngineError):
    """Another process or container listens on the port."""

    code = "port_taken"


class NameTaken(EngineError):
    """A container that is not ours has the name."""

    code = "name_taken"


class ContainerGone(EngineError):
    """The container does not exist any more."""

    code = "container_gone"


class ShellBroken(EngineError):
    """The open shell session in a container ended or went silent."""

    code = "shell_broken"
