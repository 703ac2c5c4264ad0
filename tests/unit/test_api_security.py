"""The parts of the server's protection that need no server: names, failures, TLS, limits of connections."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from pool.api.gate import _MOST_ADDRESSES, Failures, bearer_of
from pool.api.security import Crowd, Hosts, is_loopback, load_tls, secure
from pool.config import HttpOptions
from pool.errors import ConfigError


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


# Addresses that fail


def test_an_address_that_failed_too_often_waits_for_a_minute_and_others_do_not() -> None:
    time = Time()
    failures = Failures(3, time)

    for _ in range(3):
        assert not failures.wait_s("10.0.0.1")
        failures.add("10.0.0.1")

    assert failures.wait_s("10.0.0.1") == 60
    assert not failures.wait_s("10.0.0.2")
    time.now += 59
    assert failures.wait_s("10.0.0.1") == 1
    time.now += 1
    assert not failures.wait_s("10.0.0.1")


def test_addresses_of_one_ipv6_network_count_as_one_and_mapped_ones_as_what_they_are() -> None:
    failures = Failures(2, Time())

    failures.add("2001:db8::1")
    failures.add("2001:db8::ffff:1")
    failures.add("::ffff:10.0.0.1")
    failures.add("10.0.0.1")

    assert failures.wait_s("2001:db8:0:0:1234::5")
    assert not failures.wait_s("2001:db8:0:1::1")
    assert failures.wait_s("10.0.0.1")
    assert not failures.wait_s("::ffff:10.0.0.2")


def test_an_attacker_with_many_addresses_fills_no_memory() -> None:
    failures = Failures(3, Time())

    for number in range(_MOST_ADDRESSES * 2):
        failures.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    assert len(failures._counts) == _MOST_ADDRESSES


# Names


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8700", "localhost", "LOCALHOST:1", "[::1]:8700", "localhost.", "127.9.9.9"]
)
def test_loopback_is_always_our_name(host: str) -> None:
    assert Hosts(HttpOptions()).allow(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil@localhost", "localhost/x",
        "localhost:x", "localhost:99999999", "10.0.0.1", "[::1", "lоcalhost", "localhost localhost", "localhost?x",
        "127.0.0.1,evil.example", "0x7f.1", "2130706433", "localhost#",
    ],
)  # fmt: skip
def test_any_other_name_is_not(host: str) -> None:
    assert not Hosts(HttpOptions()).allow(host)


def test_names_that_are_configured_are_ours() -> None:
    options = {"host": "10.0.0.7", "allowed_hosts": ["pool.local"], "public_url": "https://pool.example.com:8443/x"}
    hosts = Hosts(HttpOptions.model_validate(options))

    assert all(hosts.allow(host) for host in ("10.0.0.7:8700", "pool.local", "POOL.example.com:8443"))
    assert not hosts.allow("10.0.0.8")


def test_a_server_on_all_addresses_is_called_by_any_address_but_by_no_other_name() -> None:
    hosts = Hosts(HttpOptions(host="0.0.0.0"))

    assert hosts.allow("192.168.1.7:8700")
    assert not hosts.allow("evil.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "", "127.0.0.1.example.com"])
def test_what_others_can_reach_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


# Headers


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([("Authorization", "Bearer abc")], "abc"),
        ([("authorization", "bearer   abc ")], "abc"),
        ([], ""),
        ([("Authorization", "Basic abc")], ""),
        ([("Authorization", "abc")], ""),
        ([("Authorization", "Bearer")], ""),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], ""),
        ([("Proxy-Authorization", "Bearer a")], ""),
    ],
)
def test_the_token_is_what_stands_in_one_header_of_the_scheme(headers: list[tuple[str, str]], token: str) -> None:
    assert bearer_of(make_mocked_request("GET", "/", headers=CIMultiDict(headers))) == token


async def test_an_answer_forbids_browsers_what_they_need_not() -> None:
    response = web.Response(headers={"Server": "x"})

    await secure(make_mocked_request("GET", "/v1/pools"), response)

    headers = response.headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert (headers["Cache-Control"], headers["X-Frame-Options"]) == ("no-store", "DENY")
    assert not [name for name in headers if name.lower().startswith("access-control") or name == "Server"]


async def test_a_page_keeps_the_policy_that_it_needs() -> None:
    response = web.Response(headers={"Content-Security-Policy": "default-src 'self'"})

    await secure(make_mocked_request("GET", "/docs"), response)

    assert response.headers.getall("Content-Security-Policy") == ["default-src 'self'"]


# TLS


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates with their keys: a.pem, a.key, b.pem, b.key; and a key with a password."""
    directory = tmp_path_factory.mktemp("pems")
    for name in ("a", "b"):
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
        files = ["-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.pem")]
        subprocess.run([*make, *files], check=True, capture_output=True)
    lock = ["openssl", "rsa", "-in", "a.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key"]
    subprocess.run(lock, check=True, capture_output=True, cwd=directory)
    (directory / "rubbish").write_text("no certificate")
    return directory


def options(pems: Path, certificate: str, key: str) -> HttpOptions:
    return HttpOptions(tls_cert=pems / certificate, tls_key=pems / key)


def test_a_certificate_with_its_key_can_be_used(pems: Path) -> None:
    assert load_tls(options(pems, "a.pem", "a.key")) is not None
    assert load_tls(HttpOptions()) is None


@pytest.mark.parametrize(
    ("certificate", "key", "says"),
    [
        ("a.pem", "b.key", "http.tls_key: "),
        ("a.pem", "b.key", "does not belong to the certificate"),
        ("none.pem", "a.key", "http.tls_cert: "),
        ("a.pem", "none.key", "none.key' cannot be read: No such file"),
        ("rubbish", "a.key", "cannot be used"),
        ("a.pem", "rubbish", "cannot be used"),
        ("a.pem", "locked.key", "cannot be used"),
    ],
)
def test_what_is_wrong_with_certificate_or_key_is_told(pems: Path, certificate: str, key: str, says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_tls(options(pems, certificate, key))

    assert says in raised.value.message
    assert raised.value.hint


# Connections


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_of_too_many_connections_the_oldest_that_say_nothing_go_and_the_busy_stay() -> None:
    crowd = Crowd(most=5)
    connections = [Connection() for _ in range(8)]
    crowd._busy.add(connections[0])

    closed = crowd.thin_out(cast("Any", connections))

    assert closed == 3
    assert [connection.closed for connection in connections] == [False, True, True, True, False, False, False, False]


def test_where_there_is_room_nobody_goes() -> None:
    connections = [Connection() for _ in range(5)]

    assert Crowd(most=5).thin_out(cast("Any", connections)) == 0
