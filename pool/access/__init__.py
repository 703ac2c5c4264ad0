"""Who may do what: API tokens, roles, and what a token is bound to."""

from __future__ import annotations

from pool.access.admission import Admission
from pool.access.identity import EVERYBODY, Identity, Role
from pool.access.tokens import Parsed, TokenKeeper, identity_of, matches, parse_token, valid

__all__ = [
    "EVERYBODY",
    "Admission",
    "Identity",
    "Parsed",
    "Role",
    "TokenKeeper",
    "identity_of",
    "matches",
    "parse_token",
    "valid",
]
