"""What an engine has for us besides containers: networks and images."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pool.ports import EngineImage, EngineNetwork
from pool.runtimes.docker import tasks
from pool.runtimes.docker.link import EngineLink

#: A pull may take long; one that shows no progress for the configured `timeout_s` ends earlier.
_PULL_DEADLINE_S = 1800.0


class Stock:
    """The part of the runtime that makes, finds and removes networks and images. What has no label of ours stays.

    Args:
        link: The engine.
    """

    def __init__(self, link: EngineLink) -> None:
        self._link = link
        self._making_network = asyncio.Lock()

    async def ensure_image(self, image: str) -> None:
        """Make sure the image is on the host; pull it if it is not.

        Raises:
            ImageMissing: It is neither there nor to be had.
        """
        if not await self._link.call(f"looking for image {image}", lambda client: tasks.has_image(client, image)):
            await self._link.call(
                f"pulling image {image}", lambda client: tasks.pull(client, image), deadline_s=_PULL_DEADLINE_S
            )

    async def ensure_network(self, deployment: str) -> str:
        """Create the deployment's own bridge if it is missing, and return its name.

        Raises:
            EngineError: A network of that name exists and is not ours.
        """
        async with self._making_network:
            return await self._link.call(
                f"making the network of {deployment}", lambda client: tasks.ensure_network(client, deployment)
            )

    async def remove_network(self, deployment: str) -> None:
        """Remove the deployment's own bridge if it exists and nothing is connected to it."""
        await self._link.call(
            f"removing the network of {deployment}", lambda client: tasks.remove_network(client, deployment)
        )

    async def list_networks(self, deployment: str) -> Sequence[EngineNetwork]:
        """Return the networks that carry the deployment's label."""
        found = await self._link.call(
            f"listing networks of {deployment}", lambda client: tasks.networks_of(client, deployment)
        )
        return [EngineNetwork(network["Id"], network["Name"]) for network in found]

    async def discard_network(self, ref: str) -> bool:
        """Remove a network with our label; returns False, and keeps it, if something is connected to it.

        Raises:
            EngineError: It is not ours.
        """
        return await self._link.call(f"removing network {ref[:12]}", lambda client: tasks.discard_network(client, ref))

    async def list_images(self) -> Sequence[EngineImage]:
        """Return the images that carry a label of ours, of any deployment."""
        found = await self._link.call("listing images", tasks.our_images)
        return [
            EngineImage(
                ref=image["Id"],
                tags=tuple(tag for tag in image["RepoTags"] or () if tag != "<none>:<none>"),
                labels=tasks.labels_of_ours(image["Labels"]),
            )
            for image in found
        ]

    async def discard_image(self, ref: str) -> bool:
        """Remove an image with a label of ours, by id or name; returns False, and keeps it, if something uses it.

        Raises:
            EngineError: It is not ours.
        """
        return await self._link.call(f"removing image {ref}", lambda client: tasks.discard_image(client, ref))
