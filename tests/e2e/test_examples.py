"""What `examples/` shows works, in the way that its files say."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from docker import APIClient

from tests.e2e.browsers import EXAMPLES, Served, outcomes, shop
from tests.e2e.node import node
from tests.support import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def test_forty_tests_of_four_workers_share_two_browsers_and_find_nothing_of_each_other(
    browsers: Served, tmp_path: Path
) -> None:
    ended = await browsers.run(*shop("-n", "4", report=tmp_path / "junit.xml"))

    assert ended.code == 0, ended.out
    assert len(outcomes(tmp_path / "junit.xml")) == 40
    assert "40 leases" in ended.out
    assert "ended      40 passed" in ended.out
    await eventually(browsers.whole, deadline_s=60)


async def test_runners_of_four_priorities_are_served_by_priority_then_by_arrival(browsers: Served) -> None:
    ended = await browsers.run(sys.executable, str(EXAMPLES / "mixed_priorities.py"))

    assert ended.code == 0, ended.out
    served = re.findall(r"^\d\. (\w+) +runner-(\d)", ended.out, re.MULTILINE)
    assert served == [
        ("critical", "3"), ("critical", "7"), ("high", "5"), ("high", "8"),
        ("normal", "2"), ("normal", "4"), ("low", "1"), ("low", "6"),
    ]  # fmt: skip
    await eventually(browsers.whole, deadline_s=60)


async def test_a_node_script_leases_browsers_with_nothing_but_fetch(
    browsers: Served, docker_api: APIClient, image: str, tmp_path: Path
) -> None:
    program = node(docker_api, image, tmp_path)

    ended = await browsers.run(program, "--test", str(EXAMPLES / "fetch.mjs"), POOL_URL=browsers.http_url)

    assert ended.code == 0, ended.out
    assert re.search(r"^\W*pass 3$", ended.out, re.MULTILINE), ended.out
    await eventually(browsers.whole, deadline_s=60)


async def test_a_command_that_knows_no_pools_gets_a_browser_from_poolctl_run(
    browsers: Served, docker_api: APIClient, image: str, tmp_path: Path
) -> None:
    command = ["sh", str(EXAMPLES / "run-npx.sh")]
    if not shutil.which("npx"):  # the browser's image has Node, but not npm
        package = [node(docker_api, image, tmp_path), str(EXAMPLES / "node" / "page-title.mjs")]
        command = ["poolctl", "run", "--pool", "playwright", "--", *package, "data:text/html,<title>Hello from npx"]

    ended = await browsers.run(*command)

    assert ended.code == 0, ended.out
    assert ended.out.splitlines()[-1] == "Hello from npx"
    await eventually(browsers.whole, deadline_s=60)
