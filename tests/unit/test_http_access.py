"""How a client reaches a server, and what the server's answers become, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool.api.problems import of_error
from pool.client import AsyncClient, Client
from pool.client.http.access import Access, AccessOptions
from pool.client.http.problems import ERRORS, error_of
from pool.errors import ConfigError, Forbidden, InvalidRequest, PoolError, Refused, StoreUnsupported, Unauthenticated

SECRET = "cpt_0123456789ab_verysecret"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POOL_URL", "POOL_TOKEN", "POOL_TOKEN_FILE", "POOL_CA_FILE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://pool:8700", "http://pool:8700"),
        ("HTTP://pool:8700/", "http://pool:8700"),
        ("https://pool.example.com/behind/a/proxy/", "https://pool.example.com/behind/a/proxy"),
        ("http://[::1]:8700", "http://[::1]:8700"),
    ],
)
def test_a_url_is_taken_with_or_without_a_path(url: str, base: str) -> None:
    assert Access.of(url, {}).url == base


@pytest.mark.parametrize(
    "url",
    ["http://", "http://:8700", "http://pool:port", "http://pool:0", "http://pool:99999", "http://pool/?a=b",
     "http://pool/#x", "http://pool /x", "http://pool\n/x", "http://[::1"],
)  # fmt: skip
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Access.of(url, {})

    assert caught.value.field == "url"


@pytest.mark.parametrize("url", ["http://me:verysecret@pool:8700", "https://verysecret@pool", "http://a:verysecret@[x"])
def test_a_url_with_a_password_is_refused_and_the_password_is_not_shown(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Access.of(url, {})

    assert "verysecret" not in str(caught.value)
    assert caught.value.field == "url"


def test_a_token_comes_from_the_argument_or_else_the_environment_or_else_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    file.chmod(0o600)
    assert Access.of("http://pool", {}).token == ""

    monkeypatch.setenv("POOL_TOKEN_FILE", str(file))
    assert Access.of("http://pool", {}).token == "from-file"
    monkeypatch.setenv("POOL_TOKEN", "from-environment")
    assert Access.of("http://pool", {}).token == "from-environment"
    assert Access.of("http://pool", {"token": "from-argument"}).token == "from-argument"


def test_a_token_that_everybody_can_read_is_warned_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o644)
    monkeypatch.setenv("POOL_TOKEN_FILE", str(file))

    with pytest.warns(UserWarning, match="chmod 600") as warned:
        access = Access.of("http://pool", {})

    assert access.token == SECRET
    assert SECRET not in str(warned[0].message) + repr(access)


def test_a_token_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POOL_TOKEN_FILE", str(tmp_path / "none"))

    with pytest.raises(InvalidRequest, match=r"POOL_TOKEN_FILE: .*none.*No such file"):
        Access.of("http://pool", {})


@pytest.mark.parametrize("token", ["two words", "line\nbreak", "täg", "nul\0"])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Access.of("http://pool", {"token": token})

    assert token not in str(caught.value)
    assert caught.value.field == "token"


def test_a_proxy_is_used_only_if_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "inside")

    assert Access.of("http://pool", {}).proxy is None
    assert Access.of("http://pool", {"trust_env": True}).proxy == "http://proxy:3128"
    assert Access.of("http://inside:8700", {"trust_env": True}).proxy is None


@pytest.mark.parametrize("options", [{"token": SECRET}, {"ca_file": "x"}, {"verify": False}, {"trust_env": True}])
@pytest.mark.parametrize("kind", [AsyncClient, Client])
def test_what_only_a_server_takes_is_refused_for_a_redis(kind: type[Any], options: AccessOptions) -> None:
    with pytest.raises(InvalidRequest, match="http://") as caught:
        kind("redis://127.0.0.1:1", **options)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_comes_out_of_an_answer_as_it_went_in(code: str) -> None:
    kind = ERRORS[code]
    sent = kind("wait_s", -1, "use 0 or more") if kind is InvalidRequest else kind("it broke", hint="mend it")
    problem = of_error(sent)
    body = {"code": problem.code, "detail": problem.detail, "hint": problem.hint, **problem.facts}

    got = error_of(problem.status, body, call="GET http://pool/v1/pools")

    assert type(got) is kind
    assert (got.message, str(got), got.hint) == (sent.message, str(sent), sent.hint)
    if isinstance(sent, Refused) and isinstance(got, Refused):
        assert got.retry_after_s == sent.retry_after_s
    if isinstance(sent, InvalidRequest) and isinstance(got, InvalidRequest):
        assert (got.field, got.allowed) == (sent.field, sent.allowed)
    if isinstance(got, ConfigError):
        assert got.problems == ()


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthenticated), (403, Forbidden), (404, StoreUnsupported), (500, StoreUnsupported)]
)
def test_an_answer_without_our_words_says_what_was_asked(status: int, kind: type[PoolError]) -> None:
    error = error_of(status, {}, call="GET http://pool/v1/pools")

    assert type(error) is kind
    assert f"GET http://pool/v1/pools was answered {status}" in error.message


def test_a_code_that_only_a_newer_server_knows_is_an_error_all_the_same() -> None:
    error = error_of(418, {"code": "teapot", "detail": "short and stout"}, call="GET http://pool")

    assert type(error) is PoolError
    assert error.message == "short and stout"
