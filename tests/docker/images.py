"""Images that only one test module needs, made of the sample image and gone afterwards."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from docker import APIClient


@contextmanager
def built(api: APIClient, dockerfile: str) -> Iterator[str]:
    """Build an image of a Dockerfile without files of its own; yield its name."""
    tag = f"containerpool-test-{uuid.uuid4().hex[:8]}:built"
    lines = api.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True, forcerm=True, decode=True)
    failed = [line["error"] for line in lines if "error" in line]
    assert failed == [], "is the sample image there? run make setup"
    try:
        yield tag
    finally:
        api.remove_image(tag, force=True)
