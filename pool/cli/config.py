"""`poolctl config`: look at a configuration without starting anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pool.cli.options import ConfigArgument, Json, config_path

if TYPE_CHECKING:
    from pool.config import Config


def check(path: ConfigArgument = None, *, as_json: Json = False) -> None:
    """Validate a configuration and say what it describes."""
    config = load(path)
    if as_json:
        typer.echo(json.dumps(_description(config), indent=2))
    else:
        describe(config)


def show(path: ConfigArgument = None, *, as_json: Json = False) -> None:
    """Write a configuration with all defaults, and without secrets."""
    import yaml

    from pool.config import render_config

    document = render_config(load(path))
    if as_json:
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


def schema() -> None:
    """Write the JSON Schema of configurations, for editors."""
    from pool.config import Config

    document = Config.model_json_schema() | {"title": "containerpool configuration"}
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    typer.echo(json.dumps(dialect | document, indent=2))


def load(path: Path | None) -> Config:
    """Read the configuration that is given, or the one at the default place.

    Raises:
        ConfigError: There is none, or it cannot be used.
    """
    from pool.config import load_config

    return load_config(config_path(path))


def _description(config: Config) -> dict[str, Any]:
    from pool.redaction import mask_url

    return {
        "valid": True,
        "deployment": config.deployment,
        "redis": mask_url(config.redis.url) if config.redis.url else None,
        "pools": {
            name: {
                "image": options.container.image,
                "containers": [
                    {
                        "id": slot.id,
                        "name": slot.name,
                        "ports": {str(inside): out for inside, out in slot.ports.items()},
                    }
                    for slot in config.slots(name)
                ],
            }
            for name, options in config.pools.items()
        },
    }


def describe(config: Config) -> None:
    """Write what a configuration describes: pools, containers, ports."""
    from pool.redaction import mask_url

    redis = mask_url(config.redis.url) if config.redis.url else "private server"
    typer.echo(f"valid: deployment {config.deployment}, redis: {redis}")
    for name, options in config.pools.items():
        addresses = {port.container: port.host_ip for port in options.container.ports}
        slots = config.slots(name)
        typer.echo(f"pool {name}: {len(slots)} × {options.container.image}")
        for slot in slots:
            published = (
                f"{addresses[inside]}:{outside or '(chosen by the engine)'} → {inside}"
                for inside, outside in slot.ports.items()
            )
            typer.echo(f"  {slot.id}  {slot.name}  {', '.join(published) or 'no ports'}")
