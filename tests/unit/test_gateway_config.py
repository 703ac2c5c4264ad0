"""How containers are reached, as it is configured; and how a path of the gateway is read."""

from __future__ import annotations

import pytest

from pool.api.gateway.address import read_address
from pool.api.problems import Problem
from pool.config import Config
from pool.models import LeaseRef
from pool.specs import ContainerSpec
from tests.config_text import problem

HTTP: dict[str, object] = {"port": 0}


def config(pool: dict[str, object], http: dict[str, object] | None = HTTP, **container: object) -> Config:
    options = {"size": 1, "container": {"image": "i", "ports": [{"container": 3000}]} | container} | pool
    return Config.model_validate({"pools": {"p": options}} | ({"http": http} if http is not None else {}))


def behind(pool: str = "", *, ports: str = "{container: 80}", container: str = "", http: str = "http: {}") -> str:
    """A file with one pool behind the gateway, changed in one place."""
    size = "" if "containers:" in pool else "size: 1,"
    box = f"{{image: i, ports: [{ports}]{container}}}"
    return f"pools: {{p: {{access: gateway, {size} {pool} container: {box}}}}}\n{http}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (behind(http=""), "access: 'gateway' is not allowed; nobody could reach its containers"),
        (behind(http="http: {gateway: false}"), "access: 'gateway' is not allowed; nobody could reach its containers"),
        (behind(ports="{container: 80, host: 81}"), "container.ports.0.host: 81 is not allowed; with access: gateway"),
        (behind(container=", network: host"), "container.network: 'host' is not allowed; access: gateway needs an"),
        (behind("health: {hand_out: tcp},"), "health.hand_out: 'tcp' is not allowed; with access: gateway clients"),
        (behind("scheme: tcp,"), "scheme: 'tcp' is not allowed; the gateway of access: gateway speaks http"),
        (behind("health: {tcp: null},", ports=""), "access: 'gateway' is not allowed; there is nothing to reach"),
        (
            behind("containers: [{id: a, ports: {80: 81}}],"),
            "containers.0.ports: a mapping is not allowed; with access: gateway nothing is published",
        ),
        (behind("gateway: {host_header: 'a b'},"), "gateway.host_header: 'a b' is not allowed; use target, original"),
        (behind("gateway: {host_header: 'x:{n}'},"), "gateway.host_header: 'x:{n}' is not allowed; use target"),
        (behind("gateway: {connections: 0},"), "gateway.connections: 0 is not allowed"),
        (behind().replace("gateway,", "tunnel,"), "access: 'tunnel' is not allowed; it should be"),
    ],
)
def test_what_cannot_be_behind_the_gateway_is_refused(text: str, expected: str) -> None:
    assert problem(text).startswith(f"pools.p.{expected}")


@pytest.mark.parametrize(
    ("access", "published", "rules"), [("direct", {3000: 0}, False), ("both", {3000: 0}, True), ("gateway", {}, True)]
)
def test_the_access_decides_what_is_published(access: str, published: dict[int, int], rules: bool) -> None:
    options = config({"access": access})
    (slot,) = options.slots("p")

    assert (slot.ports, slot.inside) == (published, (3000,))
    assert ContainerSpec.of(options, slot, generation=1).ports == published
    assert (options.pools["p"].gateway_rules("") is not None) is rules


def test_a_container_is_made_anew_when_what_is_published_changes() -> None:
    specs = {
        ContainerSpec.of(made, made.slots("p")[0], generation=1).spec
        for made in (config({"access": "direct"}), config({"access": "gateway"}))
    }

    assert len(specs) == 2


@pytest.mark.parametrize(
    ("http", "base"),
    [
        (None, ""),
        ({}, "http://127.0.0.1:8700"),
        ({"port": 0}, ""),
        ({"port": 0, "public_url": "https://pool.example.com/"}, "https://pool.example.com"),
        ({"host": "::1"}, "http://[::1]:8700"),
        ({"host": "0.0.0.0"}, ""),
        ({"gateway": False}, ""),
        ({"tls_cert": "c", "tls_key": "k"}, "https://127.0.0.1:8700"),
    ],
)
def test_where_the_gateway_is_follows_from_the_configuration_or_is_not_said(
    http: dict[str, object] | None, base: str
) -> None:
    assert config({"access": "both"}, http).gateway_base == base


@pytest.mark.parametrize(
    ("raw", "token", "port", "target", "prefix"),
    [
        ("/c/T", "T", None, "/", "/c/T"),
        ("/c/T/", "T", None, "/", "/c/T"),
        ("/c/T?a=/_port/1", "T", None, "/?a=/_port/1", "/c/T"),
        ("/c/T/a/../b?x", "T", None, "/a/../b?x", "/c/T"),
        ("/c/T//a", "T", None, "//a", "/c/T"),
        ("/c/T/_port/9222", "T", 9222, "/", "/c/T/_port/9222"),
        ("/c/T/_port/9222/json?x", "T", 9222, "/json?x", "/c/T/_port/9222"),
        ("/c/T/_port/9222?x", "T", 9222, "/?x", "/c/T/_port/9222"),
        ("/c/T/_port", "T", None, "/_port", "/c/T"),
        ("/c/T/x/_port/1/", "T", None, "/x/_port/1/", "/c/T"),
        ("/c/T/_port/1/_port/2/", "T", 1, "/_port/2/", "/c/T/_port/1"),
    ],
)
def test_a_path_says_lease_port_and_what_to_ask(
    raw: str, token: str, port: int | None, target: str, prefix: str
) -> None:
    address = read_address(raw)

    assert (address.token, address.port, address.target, address.prefix) == (token, port, target, prefix)


@pytest.mark.parametrize(
    "raw", ["http://x/c/T/", "//x/c/T/", "/c/T/a b", "/c/T/#x", "/c/T/\x00", "/c/T/é", "/c/T/\n", "c/T/", "", "/c"]
)
def test_what_is_no_path_of_the_gateway_is_refused(raw: str) -> None:
    with pytest.raises(Problem) as refusal:
        read_address(raw)

    assert refusal.value.status == 400


def test_a_lease_is_reached_by_its_sealed_reference() -> None:
    ref = LeaseRef("browsers", "run-1", 7, "secret")

    assert read_address(ref.url("http://127.0.0.1:8700").removeprefix("http://127.0.0.1:8700")).token == ref.sealed()
