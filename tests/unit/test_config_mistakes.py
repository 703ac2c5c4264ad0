"""Every kind of mistake in a configuration is refused, naming path, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.config import load_config, parse_config
from pool.errors import ConfigError
from tests.config_text import pool, problem, problems

LISTED = "containers: [{id: a%s}, {id: b%s}]"

BAD_VALUES = {
    # size and containers
    "size 0": (pool(size="size: 0"), "pools.p.size: 0 is not allowed; it should be greater than or equal to 1"),
    "size as text": (pool(size="size: two"), "pools.p.size: 'two' is not allowed; it should be a valid integer"),
    "size as switch": (pool(size="size: yes"), "pools.p.size: true is not allowed; a switch has no meaning here"),
    "no size": (pool(size=""), "pools.p.size: null is not allowed; give the number of containers here"),
    "size and list": (pool("containers: [{id: a}]"), "pools.p.size: 2 is not allowed; give either size or containers"),
    "spares below 0": (
        pool("spares: -1"),
        "pools.p.spares: -1 is not allowed; it should be greater than or equal to 0",
    ),
    "nothing but spares": (
        pool("spares: 2", size="containers: [{id: a}, {id: b}]"),
        "pools.p.spares: 2 is not allowed; 2 listed under containers, spares included; use 0 to 1, or list more",
    ),
    "a spare's port": (
        pool("spares: 1")[:-1] + ", q: {size: 1, container: {image: i, ports: [{container: 80, host: 8002}]}}}",
        "8002 is not allowed; container p-3",
    ),
    "empty list": (pool(size="containers: []"), "pools.p.containers: a list is not allowed; give at least one"),
    "no pools": ("pools: {}", "pools: a mapping is not allowed; give at least one"),
    "pools as list": ("pools: []", "pools: a list is not allowed; it should be a mapping"),
    "pool as text": ("pools: {p: x}", "pools.p: 'x' is not allowed; it should be a mapping"),
    # names
    "pool's name": (
        "pools: {P 1: {size: 1, health: {tcp: null}, container: {image: i}}}",
        "pools.P 1: 'P 1' is not allowed; use up to 64 of a-z, 0-9, -, _ and .",
    ),
    "deployment": ("deployment: a/b\n" + pool(), "deployment: 'a/b' is not allowed; use up to 64 of a-z"),
    "placeholder": (
        pool("name: '{foo}'"),
        "pools.p.name: '{foo}' is not allowed; use no placeholders but {deployment}",
    ),
    "attribute": (
        pool("name: '{id.x}'"),
        "pools.p.name: '{id.x}' is not allowed; use no placeholders but {deployment}",
    ),
    "open brace": (pool("name: '{id'"), "pools.p.name: '{id' is not allowed; use no placeholders but {deployment}"),
    "engine's name": (pool("name: 'a b{n}'"), "pools.p.name: 'a b1' is not allowed; use two or more of a-z, 0-9"),
    "name for all": (pool("name: box"), "pools.p.name: 'box' is not allowed; container p-1 has this name already"),
    "long id": (pool().replace("{p:", "{" + "p" * 63 + ":"), "this id of a container is too long; use up to 64"),
    # duplicates
    "same id twice": (
        pool(size="containers: [{id: a}, {id: a}]"),
        "pools.p.containers.1.id: 'a' is not allowed; a container of pool p has this id already",
    ),
    "same name twice": (
        pool(size=LISTED % (", name: xy", ", name: xy")),
        "pools.p.containers.1.name: 'xy' is not allowed; container a has this name already",
    ),
    "same port twice": (
        pool(size=LISTED % (", ports: {80: 5}", ", ports: {80: 5}")),
        "pools.p.containers.1.ports: 5 is not allowed; container a is published there already; container b needs",
    ),
    "overlapping ports": (
        pool().replace("host: 8000}", "host: 8000}, {container: 81, host: 8001}"),
        "pools.p.container.ports: 8001 is not allowed; container p-1 is published there already; container p-2 needs",
    ),
    "container port twice": (
        pool().replace("host: 8000}", "host: 8000}, {container: 80}"),
        "pools.p.container.ports.1.container: 80 is not allowed; list each container port once",
    ),
    # ports
    "port overflow": (
        pool().replace("8000", "65535"),
        "pools.p.container.ports: 65536 is not allowed; container p-2 would be published there; the highest port",
    ),
    "port 0 inside": (
        pool().replace("container: 80", "container: 0"),
        "pools.p.container.ports.0.container: 0 is not allowed; it should be greater than or equal to 1",
    ),
    "port too high": (
        pool().replace("8000", "70000"),
        "pools.p.container.ports.0.host: 70000 is not allowed; it should be less than or equal to 65535",
    ),
    "port of a slot": (
        pool(size="containers: [{id: a, ports: {81: 5}}]"),
        "pools.p.containers.0.ports: 81 is not allowed; use a port of container.ports (80)",
    ),
    "port of a probe": (
        pool("health: {http: {port: 81}}"),
        "pools.p.health.http.port: 81 is not allowed; use a port of container.ports (80)",
    ),
    "probe without port": (
        "pools: {p: {size: 1, container: {image: i}}}",
        "pools.p.health.tcp: a mapping is not allowed; a container without ports needs null here",
    ),
    # container
    "memory": (
        pool(container="memory: lots"),
        "container.memory: 'lots' is not allowed; use a number of bytes or a size",
    ),
    "memory unit": (
        pool(container="memory: 5x"),
        "container.memory: '5x' is not allowed; use a number of bytes or a size",
    ),
    "little memory": (pool(container="memory: 512k"), "container.memory: '512k' is not allowed; use at least 6m"),
    "no memory": (
        pool(container="memory: 0"),
        "container.memory: 0 is not allowed; it should be greater than or equal to 1",
    ),
    "cpus": (pool(container="cpus: 0"), "pools.p.container.cpus: 0 is not allowed; it should be greater than 0"),
    "restart": (
        pool(container="restart: sometimes"),
        "pools.p.container.restart: 'sometimes' is not allowed; use one of no, on-failure, on-failure:<tries>, always",
    ),
    "restart tries": (
        pool(container="restart: 'on-failure:x'"),
        "restart: 'on-failure:x' is not allowed; use one of no",
    ),
    "reserved label": (
        pool(container="labels: {containerpool.id: x}"),
        "pools.p.container.labels.containerpool.id: 'x' is not allowed; names that begin with containerpool. are",
    ),
    "relative tmpfs": (
        pool(container="tmpfs: {tmp: ''}"),
        "container.tmpfs.tmp: 'tmp' is not allowed; use an absolute path",
    ),
    "relative source": (
        pool(container="mounts: [{source: ./data, target: /data}]"),
        "pools.p.container.mounts.0.source: './data' is not allowed; use an absolute path or the name of a volume",
    ),
    "relative target": (
        pool(container="mounts: [{source: data, target: data}]"),
        "pools.p.container.mounts.0.target: 'data' is not allowed; use an absolute path",
    ),
    "command as text": (
        pool(container="command: sleep 9"),
        "container.command: 'sleep 9' is not allowed; it should be a valid list",
    ),
    "switch": (pool(container="init: perhaps"), "pools.p.container.init: 'perhaps' is not allowed; use true or false"),
    "number as label": (
        pool(container="labels: {a: 1}"),
        "labels.a: 1 is not allowed; it should be text; write it in quotes",
    ),
    # reset, health, limits
    "level": (
        pool("reset: {on_release: light}"),
        "reset.on_release: 'light' is not allowed; use one of none, soft, medium, hard, recreate",
    ),
    "level by number": (
        pool("reset: {on_release: 1}"),
        "reset.on_release: 1 is not allowed; use one of none, soft, medium, hard, recreate",
    ),
    "medium without a recipe for it": (
        pool("reset: {on_failure: medium}"),
        "reset.on_failure: 'medium' is not allowed; recipe.medium_kill or recipe.restart must say first what that does",
    ),
    "soft on a health failure": (
        pool("reset: {on_health_failure: soft}"),
        "reset.on_health_failure: 'soft' is not allowed; use hard or recreate",
    ),
    "no reset by hand": (
        pool("reset: {manual: none}"),
        "reset.manual: 'none' is not allowed; use soft, medium, hard or recreate",
    ),
    "verification switched on": (
        pool("reset: {verify: true}"),
        "reset.verify: true is not allowed; use off, fast or full",
    ),
    "unknown verification": (
        pool("reset: {verify: slow}"),
        "reset.verify: 'slow' is not allowed; use off, fast or full",
    ),
    "a deadline of its own that is none": (
        pool("reset: {medium_timeout_s: 0}"),
        "reset.medium_timeout_s: 0 is not allowed; it should be greater than 0",
    ),
    "commands for no shell": (
        pool("reset: {recipe: {shell: null, restart: [server]}}"),
        "reset.recipe.restart: a list is not allowed; nothing can be done inside an image without a shell",
    ),
    # held slots
    "unknown slot": (pool("slot: kept"), "pools.p.slot: 'kept' is not allowed; it should be 'plain' or 'held'"),
    "held without a shell": (
        pool("slot: held, reset: {recipe: {shell: null}}"),
        "pools.p.slot: 'held' is not allowed; its holder runs the shell of reset.recipe.shell; configure that, or use",
    ),
    "held and privileged": (
        pool("slot: held", container="privileged: true"),
        "pools.p.container.privileged: true is not allowed; it may change the network, which outlives it",
    ),
    "held with power over the network": (
        pool("slot: held", container="cap_add: [KILL, cap_net_admin]"),
        "pools.p.container.cap_add.1: 'cap_net_admin' is not allowed; it may change the network, which outlives",
    ),
    "held on the host's network": (
        pool("slot: held", container="network: host"),
        "pools.p.container.network: 'host' is not allowed; there is nothing to hold; name a bridge network, or use",
    ),
    "held on another's network": (
        pool("slot: held", container="network: 'container:db'"),
        "pools.p.container.network: 'container:db' is not allowed; there is nothing to hold",
    ),
    "held with hosts of its own": (
        pool("slot: held", container="mounts: [{source: /srv/hosts, target: /etc/hosts}]"),
        "pools.p.container.mounts.0.target: '/etc/hosts' is not allowed; with slot: held it is the holder's",
    ),
    "a name that a holder has": (
        pool("slot: held", size="containers: [{id: a, name: box}, {id: b, name: box-net}]").replace(", host: 8000", ""),
        "pools.p.containers.1.name: 'box-net' is not allowed; the holder of container a has this name already",
    ),
    "soft on expiry": (
        pool("reset: {on_expiry: soft}"),
        "reset.on_expiry: 'soft' is not allowed; use hard or recreate",
    ),
    "status": (
        pool("health: {http: {status: [99]}}"),
        "health.http.status.0: 99 is not allowed; it should be greater than",
    ),
    "no status": (pool("health: {http: {status: []}}"), "health.http.status: a list is not allowed; give at least one"),
    "path": (pool("health: {http: {path: x}}"), "health.http.path: 'x' is not allowed; use a path that begins with /"),
    "hand-out without probe": (
        pool("health: {hand_out: http}"),
        "pools.p.health.hand_out: 'http' is not allowed; it needs health.http; configure that, or use none",
    ),
    "hand-out": (
        pool("health: {hand_out: engine}"),
        "pools.p.health.hand_out: 'engine' is not allowed; it should be 'none', 'tcp' or 'http'",
    ),
    "negative time": (
        pool("limits: {ttl_s: -1}"),
        "pools.p.limits.ttl_s: -1 is not allowed; it should be greater than 0",
    ),
    "endless aging": (pool("aging_s: .inf"), "pools.p.aging_s: inf is not allowed; it should be a finite number"),
    "lease timeout": (
        pool("limits: {lease_timeout_s: 99, max_lease_timeout_s: 50}"),
        "pools.p.limits.lease_timeout_s: 99.0 is not allowed; it may not exceed max_lease_timeout_s (50)",
    ),
    "scheme": (pool("scheme: ftp"), "pools.p.scheme: 'ftp' is not allowed; it should be 'http', 'https', 'ws'"),
    # services
    "redis url": (
        "redis: {url: localhost}\n" + pool(),
        "redis.url: 'localhost' is not allowed; use a URL that begins with redis",
    ),
    "docker url": (
        "docker: {url: localhost}\n" + pool(),
        "docker.url: 'localhost' is not allowed; use a URL that begins with unix",
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_bad_value_is_refused_with_path_value_and_rule(text: str, expected: str) -> None:
    assert expected in problem(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "pool: {}\n" + pool(),
            "pool: unknown key; did you mean 'pools'? allowed: analytics, audit, deployment, docker, http, ",
        ),
        (pool("sise: 3"), "pools.p.sise: unknown key; did you mean 'size'? allowed: access, advertise_host, "),
        (
            pool(container="memori: 5m"),
            "pools.p.container.memori: unknown key; did you mean 'memory'? allowed: cap_add, ",
        ),
        (pool("health: {htpp: {}}"), "pools.p.health.htpp: unknown key; did you mean 'http'? allowed: failures, "),
        (
            pool("health: {http: {pth: /}}"),
            "pools.p.health.http.pth: unknown key; did you mean 'path'? allowed: headers, ",
        ),
        (
            pool("reset: {recipe: {validat: []}}"),
            "reset.recipe.validat: unknown key; did you mean 'validate'? allowed: ",
        ),
        (pool(size="containers: [{id: a, zzz: 1}]"), "pools.p.containers.0.zzz: unknown key; allowed: id, name, ports"),
    ],
)
def test_an_unknown_key_is_refused_with_the_known_ones_and_a_guess(text: str, expected: str) -> None:
    assert expected in problem(text)


def test_all_faults_are_named_at_once() -> None:
    text = pool("nonsense: 1", size="size: 0", container="memory: x").replace("image: i, ", "")

    assert [line.split(":")[0] for line in problems(text)] == [
        "pools.p.size",
        "pools.p.container.image",
        "pools.p.container.memory",
        "pools.p.nonsense",
    ]


def test_a_missing_field_is_named() -> None:
    assert "pools.p.container: required, but missing" in problems("pools: {p: {size: 1}}")
    assert problem("deployment: d") == "pools: required, but missing"


def test_duplicates_are_found_across_pools() -> None:
    def two(first: str, second: str) -> str:
        return f"pools: {{a: {{{first}, container: {box(3000)}}}, b: {{{second}, container: {box(3001)}}}}}"

    def box(port: int) -> str:
        return f"{{image: i, ports: [{{container: 80, host: {port}}}]}}"

    assert problem(two("containers: [{id: b-1}]", "size: 1")) == (
        "pools.b: 'b-1' is not allowed; a container of pool a has this id already; every container needs its own"
    )
    assert problem(two("size: 1, name: 'x{n}'", "size: 1, name: 'x{n}'")) == (
        "pools.b.name: 'x1' is not allowed; container a-1 has this name already; every container needs its own"
    )
    assert problem(two("size: 2", "size: 1")) == (
        "pools.b.container.ports: 3001 is not allowed; container a-2 is published there already; "
        "container b-1 needs a port of its own"
    )


@pytest.mark.parametrize(
    ("first", "second", "collide"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "'::'", True),
    ],
)
def test_a_port_may_be_published_once_on_each_address(first: str, second: str, *, collide: bool) -> None:
    ports = f"[{{container: 1, host: 90, host_ip: {first}}}, {{container: 2, host: 90, host_ip: {second}}}]"
    text = f"pools: {{p: {{size: 1, container: {{image: i, ports: {ports}}}}}}}"

    if collide:
        assert "90 is not allowed; container p-1 is published there already" in problem(text)
    else:
        assert parse_config(text).slots("p")[0].ports == {1: 90, 2: 90}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pools: {p: ]", "file.yaml: line 1, column 12: expected the node content, but found ']'"),
        ("a: 1\n b: 2", "file.yaml: line 2, column 3: mapping values are not allowed here"),
        ("pools: {}\npools: {}", "file.yaml: line 2, column 1: the key 'pools' stands twice"),
        ("pools:\n  p:\n    size: 1\n    size: 1", "file.yaml: line 4, column 5: the key 'size' stands twice"),
        ("{[1]: 2}", "file.yaml: line 1, column 2: found unhashable key"),
        ("a: !!python/name:os.system", "file.yaml: line 1, column 4: could not determine a constructor for the tag"),
        ("a: \x00", "file.yaml: not YAML: unacceptable character #x0000"),
        ("a: &a [*a]", "file.yaml: an alias (*) refers to something that contains it"),
        ("", "file.yaml: the file must be a mapping that has at least `pools`"),
        ("- pools", "file.yaml: the file must be a mapping that has at least `pools`"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(text: str, expected: str) -> None:
    message = problem(text)

    assert message.startswith(expected)
    assert "<unicode string>" not in message or "\x00" in text


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe")

    for path, reason in (
        (tmp_path / "missing.yaml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (binary, "not UTF-8 text"),
    ):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            load_config(path)

        assert caught.value.message == f"{path}: cannot be read: {reason}"
        assert caught.value.hint


def test_a_files_faults_are_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("pools: 1")

    with pytest.raises(ConfigError, match=r"x\.yaml: pools: 1 is not allowed; it should be a mapping"):
        load_config(path)


def test_a_missing_variable_is_named_with_its_place() -> None:
    assert problem(pool(container="user: '${WHO}'")) == (
        "pools.p.container.user: the environment has no WHO; set it, or write ${WHO:-default}"
    )


@pytest.mark.parametrize("text", ["${", "${A", "${1}", "${A-b}", "${A b}"])
def test_a_malformed_variable_is_refused(text: str) -> None:
    assert problem(pool(container=f"command: ['{text}']"), A="a") == (
        f"pools.p.container.command.0: '{text}' is not allowed; use ${{NAME}}, ${{NAME:-default}} or $$ for $"
    )


@pytest.mark.parametrize(
    "text",
    [
        pool(container="environment: {PASSWORD: 12345}"),
        pool(container="environment: PASSWORD=12345"),
        pool("health: {http: {headers: {Authorization: 12345}}}"),
        "redis: {url: 'http://:12345@host'}\n" + pool(),
    ],
)
def test_an_error_shows_no_secret(text: str) -> None:
    message = problem(text)

    assert "12345" not in message
    assert "•••" in message
