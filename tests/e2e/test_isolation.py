"""The proof of isolation can fail: without resets, the same tests find what others left."""

from __future__ import annotations

from pathlib import Path

import pytest
from docker import APIClient

from tests.e2e.browsers import outcomes, pool_options, served, shop

NO_RESETS = {"on_release": "none", "on_failure": "none", "on_error": "none", "verify": "off"}
LEFT = ("a browser process", "the file prices.csv", "the cookie left-by=", "in localStorage", "the login of")


@pytest.mark.timeout(300)
async def test_without_resets_the_same_tests_find_what_others_left(
    docker_api: APIClient, image: str, tmp_path: Path
) -> None:
    command = [word for word in pool_options()["container"]["command"] if word != "--isolated"]
    async with served(docker_api, size=1, container={"command": command}, reset=NO_RESETS) as browsers:
        ended = await browsers.run(*shop("-k", "Ada", report=tmp_path / "junit.xml"))

    assert ended.code == 1, ended.out
    first, *others = outcomes(tmp_path / "junit.xml").values()
    assert not first, "nobody was there before"
    assert len(others) == 3
    for said in others:
        assert "left behind by another test" in said
    for trace in LEFT:
        assert any(trace in said for said in others), (trace, others)
