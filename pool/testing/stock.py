"""What the in-memory engine has besides containers, and how its calls are noted and made to fail."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence

from pool.errors import ContainerGone, EngineError, ImageMissing
from pool.ports import LABEL, EngineImage, EngineNetwork
from pool.testing.containers import MemoryContainer


class MemoryStock:
    """Networks, images, and the books of an engine in memory.

    Args:
        images: The images that exist; all of them when None.
    """

    def __init__(self, images: Collection[str] | None) -> None:
        self.containers: dict[str, MemoryContainer] = {}
        self.networks: dict[str, str] = {}
        self.images = set(images) if images is not None else None
        self.kept: dict[str, dict[str, str]] = {}
        self.calls: list[tuple[str, str]] = []
        self._faults: defaultdict[str, deque[EngineError]] = defaultdict(deque)

    async def ensure_image(self, image: str) -> None:
        """Make sure an image exists.

        Raises:
            ImageMissing: It is not among the images.
        """
        self._call("ensure_image", image)
        self._need_image(image)

    async def ensure_network(self, deployment: str) -> str:
        """Create the deployment's network if it is missing, and return its name."""
        self._call("ensure_network", deployment)
        name = f"{LABEL}-{deployment}"
        self.networks[name] = deployment
        return name

    async def remove_network(self, deployment: str) -> None:
        """Remove the deployment's network if it exists and no container runs in it."""
        self._call("remove_network", deployment)
        if not any(each.running and each.spec.deployment == deployment for each in self.containers.values()):
            self.networks.pop(f"{LABEL}-{deployment}", None)

    async def list_networks(self, deployment: str) -> Sequence[EngineNetwork]:
        """Return the deployment's networks; their names are their ids."""
        self._call("list_networks", deployment)
        return [EngineNetwork(name, name) for name, owner in self.networks.items() if owner == deployment]

    async def discard_network(self, ref: str) -> bool:
        """Remove a network; returns False, and keeps it, if a container of its deployment runs."""
        self._call("discard_network", ref)
        owner = self.networks.get(ref)
        if any(each.running and each.spec.deployment == owner for each in self.containers.values()):
            return False
        self.networks.pop(ref, None)
        return True

    async def list_images(self) -> Sequence[EngineImage]:
        """Return the images that `commit` made with labels; an empty name is none."""
        self._call("list_images")
        return [
            EngineImage(name or "dangling", (name,) if name else (), labels)
            for name, labels in self.kept.items()
            if labels
        ]

    async def discard_image(self, ref: str) -> bool:
        """Remove an image that `commit` made. One that is gone already is fine."""
        self._call("discard_image", ref)
        self.kept.pop("" if ref == "dangling" else ref, None)
        return True

    async def commit(self, ref: str, *, tag: str, labels: Mapping[str, str] | None = None) -> None:
        """Add an image.

        Raises:
            ContainerGone: There is no such container.
        """
        self._call("commit", ref)
        if ref not in self.containers:
            raise ContainerGone(f"there is no container {ref[:12]}")
        self.kept[tag] = dict(labels or {})
        if self.images is not None:
            self.images.add(tag)

    def _call(self, name: str, subject: str = "") -> None:
        self.calls.append((name, subject))
        self._fail(name)

    def _fail(self, name: str) -> None:
        if self._faults[name]:
            raise self._faults[name].popleft()

    def _need_image(self, image: str) -> None:
        if self.images is not None and image not in self.images:
            raise ImageMissing(f"image {image} is not on the host", hint="add it to MemoryRuntime.images")
