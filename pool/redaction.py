"""What proves something to us is hidden wherever it stands in a text: in logs, events, errors, answers."""

from __future__ import annotations

import re

#: What stands in place of a secret.
HIDDEN = "•••"

#: What proves something to us wherever it stands in a text: a lease's or API token (its underscore may be encoded), a
#: lease's reference, the word after an authentication scheme, a header of credentials, and the user part of a URL.
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(cp[lt])(?:_|%5[Ff])[A-Za-z0-9_%~.-]+"), rf"\1_{HIDDEN}"),
    (re.compile(r"([\w.-]{1,64}/[\w.:~@%-]{1,384}/\d{10,20})/[A-Za-z0-9_%-]{16,}"), rf"\1/{HIDDEN}"),
    (re.compile(r"(bearer|basic|digest)\s+[^\s'\",;]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=,]\s*(?:b(?=['\"]))?['\"]?)[^'\"\r\n]+",
            re.IGNORECASE,
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"(?<=://)[^\s/@'\"]+(?=@)"), HIDDEN),
)
#: Without one of these, a text has no secret: most have none, and the patterns are slow.
_HINTS = re.compile(r"cp[lt](?:_|%5)|/\d{10,20}/|bearer|basic|digest|authorization|cookie|://", re.IGNORECASE)


def redact(text: str) -> str:
    """Hide whatever in a text proves something to us.

    >>> redact("GET /c/cpl_YnJvd3NlcnM/mcp")
    'GET /c/cpl_•••/mcp'
    >>> redact("Authorization: Bearer cpt_0123456789ab_secret")
    'Authorization: •••'
    """
    if not _HINTS.search(text):
        return text
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def mask_url(url: str) -> str:
    """Hide what a URL says before its `@` and in a `password` parameter.

    >>> mask_url("redis://user:secret@cache:6379/0")
    'redis://•••@cache:6379/0'
    """
    return re.sub(r"(?<=://).*@|(?<=password=)[^&]*", lambda found: HIDDEN + "@" * found[0].endswith("@"), url)
