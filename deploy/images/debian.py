"""A Debian base image: pulled where a registry can be reached, else made here of the machine's own package mirror."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

#: Where Debian's packages come from, in what `apt` reads: one line, or a paragraph.
_URI = re.compile(r"^(?:deb(?: \[[^]]*\])? |URIs:\s*)(https?://\S+)", re.MULTILINE)


#: What nobody reads in a container; the usual slim image has none of it either.
_UNREAD = ("/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale")
_CACHES = ("/var/cache/apt", "/var/lib/apt/lists")


def ensure_base(client: docker.DockerClient, tag: str) -> None:
    """Make a Debian image available under its usual name, such as `debian:bookworm-slim`.

    Raises:
        DockerException: The engine does not take what was made.
        OSError: There is no room for it.
    """
    try:
        client.images.get(tag)
    except ImageNotFound:
        print(f"images: pulling {tag}", flush=True)
        try:
            client.images.pull(tag)
        except DockerException:
            _make(client, tag)


def _make(client: docker.DockerClient, tag: str) -> None:
    """Install a minimal Debian into a directory, and import that as an image."""
    release = tag.partition(":")[2].removesuffix("-slim")
    print(f"images: {tag} cannot be pulled; making one of Debian's packages, which takes about a minute", flush=True)
    if os.geteuid() != 0:
        sys.exit(f"images: {tag} is needed; pull it or load it, or run this as root, on Debian, so that it can be made")
    if not shutil.which("debootstrap"):
        _run("apt-get", "-qq", "update", strict=False)
        _run("apt-get", "-qq", "install", "--no-install-recommends", "debootstrap")
    sources = _sources()
    if sources is None:
        sys.exit(f"images: {tag} is needed; pull it or load it: this machine's apt names no mirror to make it from")
    mirror = _URI.findall(sources.read_text(encoding="utf-8"))[0]
    with tempfile.TemporaryDirectory(prefix="containerpool-base-") as scratch:
        root, archive = Path(scratch, "root"), Path(scratch, "root.tar")
        _run("debootstrap", "--variant=minbase", release, str(root), mirror)
        (root / "etc/dpkg/dpkg.cfg.d/slim").write_text("".join(f"path-exclude {path}/*\n" for path in _UNREAD))
        for path in (*_UNREAD, *_CACHES):
            shutil.rmtree(root / path.lstrip("/"), ignore_errors=True)
        (root / "etc/apt/sources.list").unlink(missing_ok=True)
        shutil.copy(sources, root / sources.relative_to("/"))
        _run("tar", "-C", str(root), "-cf", str(archive), ".")
        client.api.import_image_from_file(str(archive), *tag.split(":"))


def _sources() -> Path | None:
    """Return the file that says where this machine has Debian's own packages from."""
    files = (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list"))
    return next((file for file in files if file.is_file() and _URI.search(file.read_text(encoding="utf-8"))), None)


def _run(*command: str, strict: bool = True) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)  # noqa: S603 - our own
    if strict and done.returncode:
        sys.exit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\nimages: {command[0]} failed")
