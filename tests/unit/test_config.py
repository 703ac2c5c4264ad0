"""The configuration: what is accepted, what it means, and that its examples and its reference are complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pool.config import Config, load_config, parse_config, render_config
from pool.config.container import Options
from pool.config.reference import render_reference
from pool.models import ResetLevel
from pool.redaction import mask_url
from tests.config_text import pool, problem

ROOT = Path(__file__).parents[2]


def test_merge_keys_and_aliases_work() -> None:
    text = """
        pools:
          a: &base {size: 1, health: {tcp: null}, container: {image: i}}
          b: {<<: *base, size: 2}
    """

    assert [len(parse_config(text).slots(name)) for name in "ab"] == [1, 2]


def test_variables_are_taken_from_the_environment() -> None:
    variables = "A: '${A}', B: 'x-${B:-b}-y', C: '$$A $${A} $A', D: '${D:-}', E: '${E:-e}'"
    text = pool(container=f"environment: {{{variables}}}, cpus: '${{A}}'")

    container = parse_config(text, environment={"A": "2", "E": ""}).pools["p"].container

    assert container.environment == {"A": "2", "B": "x-b-y", "C": "$A ${A} $A", "D": "", "E": "e"}
    assert container.cpus == 2


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_TEST_IMAGE", "image-from-environment")

    config = parse_config("pools: {p: {size: 1, health: {tcp: null}, container: {image: '${POOL_TEST_IMAGE}'}}}")

    assert config.pools["p"].container.image == "image-from-environment"


def test_an_empty_text_means_null_where_null_is_allowed() -> None:
    config = parse_config("redis: {url: '${URL:-}'}\n" + pool(container="user: '', memory: ''"), environment={})

    assert config.redis.url is None
    assert config.pools["p"].container.user is None
    assert config.pools["p"].container.memory is None
    assert "pools.p.container.image: '' is not allowed" in problem(pool().replace("image: i", "image: ''"))


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("64M", 64 * 2**20),
        ("0.5g", 2**29),
        ("1GiB", 2**30),
        ("8 mb", 2**23),
        ("9000000", 9000000),
        ("9000000b", 9000000),
    ],
)
def test_sizes_are_read_as_docker_writes_them(written: str, size: int) -> None:
    assert parse_config(pool(container=f"memory: {written}")).pools["p"].container.memory == size


@pytest.mark.parametrize("written", ["no", "'no'", "always", "unless-stopped", "on-failure", "'on-failure:3'"])
def test_every_restart_policy_is_read_even_an_unquoted_no(written: str) -> None:
    assert parse_config(pool(container=f"restart: {written}")).pools["p"].container.restart == written.strip("'")


def test_the_defaults_are_the_safe_ones() -> None:
    config = parse_config("pools: {p: {size: 1, container: {image: i, ports: [{container: 80}]}}}")

    container = config.pools["p"].container
    assert (container.cap_drop, container.cap_add) == (["ALL"], [])
    assert container.security_opt == ["no-new-privileges"]
    assert (container.init, container.privileged, container.restart) == (True, False, "no")
    assert container.pids_limit == 512
    assert container.ports[0].host_ip == "127.0.0.1"
    assert config.pools["p"].reset.on_expiry is ResetLevel.HARD
    assert config.deployment == "default"
    assert config.redis.url is None


def test_slots_are_numbered_and_named_by_the_pattern() -> None:
    text = "deployment: d\n" + pool("name: '{deployment}.{pool}.{id}.{n:02}'")

    assert [(slot.id, slot.name, dict(slot.ports)) for slot in parse_config(text).slots("p")] == [
        ("p-1", "d.p.p-1.01", {80: 8000}),
        ("p-2", "d.p.p-2.02", {80: 8001}),
    ]


def test_spares_are_further_containers_with_ids_and_ports_that_go_on() -> None:
    config = parse_config(pool("spares: 1"))

    assert [slot.id for slot in config.slots("p")] == ["p-1", "p-2", "p-3"]
    assert [slot.ports for slot in config.slots("p")] == [{80: 8000}, {80: 8001}, {80: 8002}]
    assert config.pools["p"].rotation == 2


def test_of_listed_containers_so_many_are_spares() -> None:
    config = parse_config(pool("spares: 1", size="containers: [{id: a}, {id: b}]"))

    assert [slot.id for slot in config.slots("p")] == ["a", "b"]
    assert config.pools["p"].rotation == 1


def test_listed_slots_keep_their_own_ids_names_and_ports() -> None:
    config = parse_config(pool(size="containers: [{id: a, name: my-a, ports: {80: 5}}, {id: b}]"))

    assert [(slot.id, slot.name, dict(slot.ports)) for slot in config.slots("p")] == [
        ("a", "my-a", {80: 5}),
        ("b", "default-b", {80: 8001}),
    ]


def test_a_configuration_is_frozen() -> None:
    config = parse_config(pool())

    for target, name in ((config, "deployment"), (config.pools["p"], "size"), (config.pools["p"].container, "image")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, name, "other")


def test_a_rendered_configuration_hides_secrets_and_names_levels() -> None:
    text = "redis: {url: 'redis://user:secret@cache:6379/0'}\n" + pool(
        "health: {http: {headers: {Authorization: secret}}}", container="environment: {TOKEN: secret}"
    )

    document = render_config(parse_config(text))

    assert "secret" not in str(document)
    assert document["redis"]["url"] == "redis://•••@cache:6379/0"
    assert document["pools"]["p"]["container"]["environment"] == {"TOKEN": "•••"}
    assert document["pools"]["p"]["reset"]["on_failure"] == "hard"
    assert document["pools"]["p"]["reset"]["recipe"]["validate"] == []


def test_a_rendered_configuration_reads_back_as_the_same() -> None:
    config = parse_config(pool("reset: {on_release: none}", container="memory: 64m"))

    assert Config.model_validate(render_config(config)) == config


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache:6379/0", "redis://cache:6379/0"),
        ("rediss://:a/b@c@cache/0", "rediss://•••@cache/0"),
        ("unix:///run/redis.sock?password=a&db=1", "unix:///run/redis.sock?password=•••&db=1"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert mask_url(url) == shown


def option_classes() -> Iterator[type[BaseModel]]:
    pending: list[type[BaseModel]] = [Options]
    while pending:
        pending += pending[0].__subclasses__()
        yield pending.pop(0)


def test_the_schema_describes_every_option_and_its_references_resolve() -> None:
    schema = Config.model_json_schema()
    models = {"Config": schema, **schema["$defs"]}

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                assert node["$ref"].removeprefix("#/$defs/") in models
            for value in node.values():
                check(value)
        elif isinstance(node, list):
            for value in node:
                check(value)

    check(schema)
    assert set(models) == {model.__name__ for model in option_classes()} - {"Options"}
    for name, model in models.items():
        assert model["description"], name
        assert model["additionalProperties"] is False, name
        for option, facts in model["properties"].items():
            assert facts.get("description"), f"{name}.{option} has no description"


def test_the_schema_names_levels_as_users_write_them() -> None:
    options = Config.model_json_schema()["$defs"]["ResetOptions"]["properties"]

    assert options["on_release"]["enum"] == ["none", "soft", "medium", "hard", "recreate"]
    assert options["on_release"]["default"] == "soft"


def test_the_reference_is_up_to_date() -> None:
    page = ROOT / "docs" / "configuration.md"

    assert page.read_text(encoding="utf-8") == render_reference(), (
        "renew it: python -m pool.config.reference > docs/configuration.md"
    )


def test_the_example_shows_every_option() -> None:
    given: dict[type[BaseModel], set[str]] = defaultdict(set)

    def collect(value: object) -> None:
        if isinstance(value, BaseModel):
            given[type(value)] |= value.model_fields_set
            collect([getattr(value, name) for name in value.model_fields_set])
        elif isinstance(value, dict):
            collect(list(value.values()))
        elif isinstance(value, list):
            for item in value:
                collect(item)

    collect(load_config(ROOT / "config" / "pool.yaml", environment={}))

    for model in option_classes():
        missing = model.model_fields.keys() - given[model]
        assert not missing, f"config/pool.yaml lacks {model.__name__}: {sorted(missing)}"


def test_the_example_is_the_pool_of_two_browsers() -> None:
    config = load_config(ROOT / "config" / "pool.yaml", environment={})

    assert [(slot.name, dict(slot.ports)) for slot in config.slots("playwright")] == [
        ("cinnamon-qa-mcp-1", {3000: 3001}),
        ("cinnamon-qa-mcp-2", {3000: 3002}),
    ]
    assert set(config.pools) == {"playwright", "mail"}


def test_the_demo_lets_the_engine_choose_its_ports() -> None:
    config = load_config(ROOT / "config" / "demo.yaml", environment={})

    assert config.deployment == "demo"
    assert [(slot.id, dict(slot.ports)) for slot in config.slots("browsers")] == [
        ("browsers-1", {3000: 0}),
        ("browsers-2", {3000: 0}),
    ]
