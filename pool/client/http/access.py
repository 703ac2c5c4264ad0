"""How a client reaches a manager's HTTP server: its URL, who asks, and whom it trusts."""

from __future__ import annotations

import os
import re
import ssl
import stat
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypedDict
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pool.errors import InvalidRequest

_SCHEMES = ("http", "https")
_URL = "use http:// or https:// with a host and perhaps a port and a path, such as https://pool.example.com:8700"
_WORD = "use a token as `poolctl token create` prints it: printable characters without spaces"


class AccessOptions(TypedDict, total=False):
    """What only `http://` and `https://` URLs take.

    Attributes:
        token: The API token; by default `POOL_TOKEN`, else what is in the file that `POOL_TOKEN_FILE` names.
        ca_file: Certificates in PEM to trust instead of the system's; by default `POOL_CA_FILE`.
        verify: Whether to check the server's certificate; True by default.
        trust_env: Whether to use the proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` name; not by default.
    """

    token: str | None
    ca_file: str | os.PathLike[str] | None
    verify: bool
    trust_env: bool


def is_http(url: str | None) -> bool:
    """Whether a URL names a manager's HTTP server rather than a Redis."""
    return url is not None and url.partition("://")[0].lower() in _SCHEMES


def without_login(url: str) -> str:
    """Return a URL as it may be shown."""
    scheme, separator, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{separator}{'…@' if '@' in place else ''}{place.rpartition('@')[2]}{slash}{path}"


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, who asks, and whom the client trusts.

    Attributes:
        url: Of the server, without a slash at its end.
        token: The API token; empty for none. Never shown.
        tls: What a certificate is checked against; None for a server without TLS.
        proxy: The proxy between; None for none.
    """

    url: str
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, options: AccessOptions) -> Self:
        """Check what a user gives, and complete it from the environment. Blocks, since it may read files.

        Raises:
            InvalidRequest: One of the options cannot be used; no token is ever shown.
        """
        parts = _parsed(url)
        ca_file = options.get("ca_file") or os.environ.get("POOL_CA_FILE") or None
        return cls(
            url=urlunsplit((parts.scheme.lower(), parts.netloc, parts.path.rstrip("/"), "", "")),
            token=_token(options.get("token")),
            tls=_tls(ca_file, verify=options.get("verify", True)) if parts.scheme.lower() == "https" else None,
            proxy=_proxy(parts) if options.get("trust_env") else None,
        )


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise InvalidRequest("url", without_login(url), _URL)
    if "@" in parts.netloc:
        allowed = "a URL is seen by others, so put no user or password in it; use token=, POOL_TOKEN or POOL_TOKEN_FILE"
        raise InvalidRequest("url", without_login(url), allowed)
    if parts.query or parts.fragment:
        raise InvalidRequest("url", without_login(url).partition("?")[0], f"{_URL}; neither ? nor # follow")
    return parts


def _token(token: str | None) -> str:
    source = "token"
    if token is None:
        token, source = os.environ.get("POOL_TOKEN") or None, "POOL_TOKEN"
    if token is None and (path := os.environ.get("POOL_TOKEN_FILE")):
        token, source = _read(Path(path)), "POOL_TOKEN_FILE"
    token = (token or "").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        raise InvalidRequest(source, "…", _WORD)
    return token


def _read(path: Path) -> str:
    try:
        text = path.read_text()
        mode = path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidRequest("POOL_TOKEN_FILE", str(path), f"name a file with a token in it ({why})") from None
    if stat.S_ISREG(mode) and mode & stat.S_IROTH:
        text_of = f"everybody on this machine can read the token in {path}: `chmod 600 {path}` keeps it to its owner"
        warnings.warn(text_of, UserWarning, stacklevel=2)
    return text


def _tls(ca_file: str | os.PathLike[str] | None, *, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or error
        allowed = f"name a readable file of certificates in PEM ({why})"
        raise InvalidRequest("ca_file", str(ca_file), allowed) from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _proxy(parts: SplitResult) -> str | None:
    """Return the environment's proxy for a URL. Its `.netrc` is left alone: what it says is not meant for the pool."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - few clients go through a proxy

    if proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme.lower())
