"""Who asks, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pool.errors import Forbidden


class Role(StrEnum):
    """What an API token is good for."""

    CLIENT = "client"  # asks for containers, sees what is its own
    OPERATOR = "operator"  # everything


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.

    Attributes:
        name: The token's.
        owner: The only owner, or the head of owners, that it may ask for; None: any.
        pools: The only pools that it may use; None: all.
        limits: Name of a limit (`max_leases`, `max_queued`) → how many.
        token_id: Which token; empty where nobody needs one.
    """

    name: str
    role: Role
    owner: str | None = None
    pools: frozenset[str] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    token_id: str = ""

    @property
    def operates(self) -> bool:
        """Whether it may do what operators do."""
        return self.role is Role.OPERATOR

    def owns(self, owner: str) -> bool:
        """Whether what an owner has is its own. Owners are compared as they are written: `Bob` is not `bob`.

        >>> Identity("ci", Role.CLIENT, owner="ci").owns("ci/run-7")
        True
        >>> Identity("ci", Role.CLIENT, owner="ci").owns("ci2")
        False
        """
        return self.owner is None or owner == self.owner or owner.startswith(f"{self.owner}/")

    def owner_for(self, owner: str | None, default: str) -> str:
        """Return for whom a request is made.

        Args:
            owner: Whom the request names.
            default: Who asks where neither the request nor the token says.

        Raises:
            Forbidden: It may not ask for that owner.
        """
        if owner is None:
            return default if self.owner is None else self.owner
        self.expect_owner(owner)
        return owner

    def expect_owner(self, owner: str) -> None:
        """Refuse what is somebody else's.

        Raises:
            Forbidden: It is.
        """
        if not self.owns(owner):
            raise Forbidden(
                f"token {self.name!r} may not act for owner {owner!r}",
                hint=f"it is bound to {self.owner!r}: use that, or {self.owner + '/…'!r}" if self.owner else "",
            )

    def expect_pool(self, pool: str) -> None:
        """Refuse a pool that it may not use.

        Raises:
            Forbidden: It may not.
        """
        if self.pools is not None and pool not in self.pools:
            raise Forbidden(
                f"token {self.name!r} may not use pool {pool!r}",
                hint=f"its pools: {', '.join(sorted(self.pools))}",
            )

    def expect_operator(self) -> None:
        """Refuse who is no operator.

        Raises:
            Forbidden: It is none.
        """
        if not self.operates:
            raise Forbidden(
                f"token {self.name!r} is a client's; this needs an operator's",
                hint="`poolctl token create NAME --role operator` makes one",
            )


#: Who asks where no token was ever made and only this machine can reach the server.
EVERYBODY = Identity("everybody", Role.OPERATOR)
