"""The document: valid, complete, and its examples are what the models take."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from pool.api.openapi import describe
from pool.api.page import POLICY, render
from pool.api.routes import add_all
from pool.api.routing import Access, Route, Routes
from pool.api.schemas import In
from pool.api.schemas.types import LevelName, PriorityName
from pool.models import Priority, ResetLevel


def _routes() -> Routes:
    routes = Routes()
    add_all(routes)
    return routes


DOCUMENT = describe(_routes())
OPERATIONS = [
    (f"{verb.upper()} {path}", operation)
    for path, verbs in DOCUMENT["paths"].items()
    for verb, operation in verbs.items()
]


def _resolved(schema: dict[str, Any]) -> Any:
    return OAS31Validator({**schema, "components": DOCUMENT["components"]})


def test_the_document_is_valid_openapi_3_1() -> None:
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)

    assert DOCUMENT["openapi"].startswith("3.1")


def test_the_names_in_the_schemas_are_those_of_the_pool() -> None:
    assert set(get_args(PriorityName)) == {priority.label for priority in Priority}
    assert set(get_args(LevelName)) == {level.label for level in ResetLevel if level}


def test_every_route_of_the_table_is_in_the_document_or_left_out_on_purpose() -> None:
    described = {(route.method, route.path) for route in _routes() if route.operation is not None}

    assert {name for name, _ in OPERATIONS} == {f"{method} {path}" for method, path in described}
    assert [route.path for route in _routes() if route.operation is None] == []


def test_the_routes_of_the_design_are_there() -> None:
    promised = """
        POST /v1/leases; GET /v1/requests/{id}; DELETE /v1/requests/{id}; GET /v1/leases/{id}; DELETE /v1/leases/{id}
        POST /v1/leases/{id}/heartbeat; POST /v1/leases/{id}/extend; POST /v1/bundles; POST /v1/heartbeats
        GET /v1/pools; GET /v1/pools/{pool}; GET /v1/pools/{pool}/queue; GET /v1/containers; GET /v1/containers/{id}
        POST /v1/containers/{id}/reset; POST /v1/containers/{id}/drain; POST /v1/containers/{id}/resume
        POST /v1/containers/{id}/quarantine; POST /v1/containers/{id}/restore; POST /v1/containers/{id}/pause
        POST /v1/containers/{id}/unpause; POST /v1/pools/{pool}/drain; POST /v1/pools/{pool}/resume
        GET /v1/containers/{id}/logs; GET /v1/containers/{id}/stats; GET /v1/containers/{id}/evidence
        GET /v1/audit; GET /v1/events; GET /healthz; GET /readyz; GET /metrics
    """

    assert {name.strip() for name in re.split(r"[;\n]", promised) if name.strip()} <= {name for name, _ in OPERATIONS}


@pytest.mark.parametrize(("name", "operation"), [pair for pair in OPERATIONS if "requestBody" in pair[1]])
def test_every_body_has_examples_that_its_schema_takes(name: str, operation: dict[str, Any]) -> None:
    content = operation["requestBody"]["content"]["application/json"]

    assert content["examples"], name
    for example in content["examples"].values():
        _resolved(content["schema"]).validate(example["value"])


@pytest.mark.parametrize(
    "model", In.__subclasses__() + [kind for base in In.__subclasses__() for kind in base.__subclasses__()]
)
def test_every_example_is_what_the_model_takes(model: type[In]) -> None:
    extra = model.model_config.get("json_schema_extra")
    examples: Any = extra.get("examples", []) if isinstance(extra, dict) else []

    for example in examples:
        model.model_validate_json(json.dumps(example))


@pytest.mark.parametrize(("name", "operation"), OPERATIONS)
def test_every_operation_says_what_may_go_wrong(name: str, operation: dict[str, Any]) -> None:
    codes = set(operation["responses"])
    security = operation["security"]

    assert codes & {"200", "201", "202", "204"}, name
    assert ("401" in codes) == bool(security), name
    for status, response in operation["responses"].items():
        if status >= "400":
            assert list(response["content"]) == ["application/problem+json"]


def test_who_may_use_a_route_is_said() -> None:
    schemes = {Access.PUBLIC: set(), Access.LEASE: {"lease"}, Access.CLIENT: {"token"}, Access.OPERATOR: {"token"}}

    def said(route: Route) -> set[str]:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        return {name for need in operation["security"] for name in need}

    assert all(said(route) == schemes[route.access] for route in _routes())


def test_the_page_shows_every_operation_and_needs_nothing_else() -> None:
    page = render(DOCUMENT)

    assert all(f'id="{operation["operationId"]}"' in page for _, operation in OPERATIONS)
    assert not re.search(r"<script|src=|https?://|@import|url\(", page)
    assert "default-src 'none'" in POLICY
