"""`poolctl evidence`: what managers on this host kept of containers that went wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.exits import printable
from pool.cli.options import Json
from pool.errors import InvalidRequest

if TYPE_CHECKING:
    from pool.evidence import Bundle

_ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="CONFIG",
        help="Configuration that says where. By default the state directory.",
        envvar="POOL_CONFIG",
    ),
]
_DirOption = Annotated[
    Path | None, typer.Option("--dir", metavar="DIR", help="Where the bundles are, whatever the configuration says.")
]
_IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a bundle, or the beginning of one.")]


def list_(
    pool: Annotated[str | None, typer.Argument(metavar="POOL", help="Name of a pool. All by default.")] = None,
    *,
    as_json: Json = False,
    config: _ConfigOption = None,
    directory: _DirOption = None,
) -> None:
    """Show what was kept of containers before they were recovered, oldest first.

    Bundles lie on the manager's host: run it there, as the manager's user.
    """
    bundles = [bundle for bundle in _bundles(config, directory) if pool in (None, bundle.facts.get("pool"))]
    if as_json:
        typer.echo(json.dumps({"bundles": [_bundle_json(bundle) for bundle in bundles]}, indent=2))
    elif bundles:
        _print_table(bundles)
    else:
        typer.echo("no evidence was kept")


def show(
    bundle_id: _IdArgument,
    *,
    as_json: Json = False,
    config: _ConfigOption = None,
    directory: _DirOption = None,
) -> None:
    """Say what a bundle is about, what is in it, and what could not be had."""
    bundle = _find(bundle_id, config, directory)
    document = _bundle_json(bundle)
    if as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    missing, files, lease = (document.pop(part, None) for part in ("missing", "files", "lease"))
    for name, value in (document | (lease or {})).items():
        if value not in (None, ""):
            typer.echo(f"{name:12} {printable(str(value))}")
    for name, size in (files or {}).items():
        typer.echo(f"{'file':12} {printable(name)}  {_size(size)}")
    for gap in missing or ():
        typer.echo(f"{'missing':12} {printable(gap['what'])}: {printable(gap['why'])}")


def get(
    bundle_id: _IdArgument,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; a folder of the bundle's id is made there.")],
    *,
    config: _ConfigOption = None,
    directory: _DirOption = None,
) -> None:
    """Copy a bundle. Nothing is replaced, and nothing is written through a symbolic link."""
    from pool.evidence import copy_bundle

    typer.echo(copy_bundle(_find(bundle_id, config, directory), target))


def _bundles(config: Path | None, directory: Path | None) -> list[Bundle]:
    from pool.evidence import find_bundles

    return find_bundles([directory] if directory else _configured(config))


def _configured(path: Path | None) -> list[Path]:
    """Return where a configuration keeps bundles, or, without one, where they are kept by default."""
    from pool.embedded import default_state_dir
    from pool.evidence import evidence_root

    if path is None:
        return [default_state_dir() / "evidence"]

    from pool.config import load_config

    config = load_config(path)
    return [evidence_root(config, pool) for pool in config.pools]


def _find(bundle_id: str, config: Path | None, directory: Path | None) -> Bundle:
    """Return the bundle of an id, or of the beginning of one.

    Raises:
        InvalidRequest: There is none, or several.
    """
    found = [bundle for bundle in _bundles(config, directory) if bundle.id.startswith(bundle_id)]
    if len(found) == 1 and bundle_id:
        return found[0]
    if found:
        raise InvalidRequest("id", bundle_id, f"{len(found)} bundles begin with it, so give more of {found[-1].id!r}")
    raise InvalidRequest("id", bundle_id, "use one that `poolctl evidence list` shows")


def _bundle_json(bundle: Bundle) -> dict[str, Any]:
    return {
        "id": bundle.id,
        **bundle.facts,
        "size_bytes": bundle.size_bytes,
        "path": str(bundle.path),
        "files": bundle.files(),
    }


def _print_table(bundles: list[Bundle]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pool.cli.render import open_console

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for column in ("id", "pool", "container", "cause", "owner", "size", "note"):
        shown.add_column(column, no_wrap=column != "note", overflow="fold")
    for bundle in bundles:
        facts = bundle.facts
        lease = facts.get("lease") or {}
        cells = [bundle.id, *(str(facts.get(part, "")) for part in ("pool", "container", "cause"))]
        cells += [lease.get("owner", ""), _size(bundle.size_bytes), str(facts.get("note", ""))]
        shown.add_row(*(Text(printable(cell)) for cell in cells))
    open_console().print(shown)


def _size(size_bytes: int) -> str:
    """Write a size for people.

    >>> _size(512), _size(20_000), _size(3_400_000)
    ('512 B', '20 KB', '3.4 MB')
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1000:.0f} KB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"
