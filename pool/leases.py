"""What proves that a lease is held: one secret text, in two forms."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field

from pool.errors import InvalidRequest

#: What a sealed lease begins with. API tokens begin differently, so the two are never taken for each other.
SEAL = "cpl_"
#: Longer than any that we write, in characters.
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class LeaseRef:
    """The part of a lease that its holder proves it with."""

    pool: str
    request_id: str
    fence: int
    token: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.pool}/{self.request_id}/{self.fence}/{self.token}"

    def proves(self, other: LeaseRef) -> bool:
        """Whether this is the same lease as another one, in a time that does not tell how alike the two are."""
        return hmac.compare_digest(str(self).encode(), str(other).encode())

    @classmethod
    def parse(cls, text: str) -> LeaseRef:
        """Read what `str` wrote.

        Raises:
            InvalidRequest: The text is not a lease reference.
        """
        parts = text.strip().split("/")
        if len(text) > _LONGEST or len(parts) != 4 or not all(parts) or not parts[2].isdecimal():
            raise InvalidRequest("lease", "…", "give the `ref` that acquire printed: pool/request/fence/token")
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    def sealed(self) -> str:
        """Return the reference as one word that means nothing to its reader, as the HTTP API's lease token.

        >>> LeaseRef("browsers", "run-1", 7, "secret").sealed()
        'cpl_YnJvd3NlcnMvcnVuLTEvNy9zZWNyZXQ'
        """
        return SEAL + base64.urlsafe_b64encode(str(self).encode()).decode().rstrip("=")

    def url(self, base: str) -> str:
        """Return where the gateway reaches what is leased; a secret, since the token is in it.

        Args:
            base: Where clients reach the gateway, such as `http://127.0.0.1:8700`.
        """
        return f"{base}/c/{self.sealed()}"

    @classmethod
    def unseal(cls, text: str) -> LeaseRef:
        """Read what `sealed` wrote, and nothing else: no two texts are the same lease.

        Raises:
            InvalidRequest: The text is no lease token.
        """
        refusal = InvalidRequest("lease token", "…", f"give the token of a lease; it begins with {SEAL}")
        if not text.startswith(SEAL) or len(text) > 2 * _LONGEST or not text.isascii():
            raise refusal
        word = text.removeprefix(SEAL)
        try:
            ref = cls.parse(base64.b64decode(word + "=" * (-len(word) % 4), altchars=b"-_", validate=True).decode())
        except (binascii.Error, UnicodeDecodeError, InvalidRequest):
            raise refusal from None
        if ref.sealed() != text:
            raise refusal
        return ref
