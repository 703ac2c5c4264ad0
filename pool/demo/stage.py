"""Sets the demo up and takes it down: a private Redis, a manager, an engine swept clean at the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, closing
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import docker
import yaml
from docker.errors import DockerException
from rich.console import Console

from pool.config import Config, load_config
from pool.demo.director import Director
from pool.demo.plan import POOL
from pool.demo.processes import Child, child
from pool.demo.recorder import Recorder
from pool.demo.report import Recording, Report, make_report
from pool.demo.view import Progress, print_report, progress_on
from pool.embedded import ensure_server, stop_server
from pool.errors import EngineError, ImageMissing, PoolError
from pool.ports import LABEL_DEPLOYMENT
from pool.runtimes import DockerRuntime
from pool.store import Connection

_LONGEST_S = 120.0

T = TypeVar("T")


def perform(console: Console, *, as_json: bool, keep: bool) -> int:
    """See `pool.demo.run_demo`."""
    try:
        with progress_on(console, quiet=as_json) as progress:
            report, home = asyncio.run(_until_terminated(_stage(progress, keep=keep)))
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None
    if as_json:
        console.print_json(data=report.to_json())
    else:
        print_report(console, report)
        if keep:
            serve = f"poolctl serve {home}/pool.yaml --remove"
            console.print(f"\nKept: {home}, and the containers. To remove them: {serve}, then Ctrl-C", soft_wrap=True)
    return 0 if report.passed else 1


async def _until_terminated(work: Coroutine[object, object, T]) -> T:
    """Await work; a SIGTERM cancels it, as Ctrl-C does, so that it takes down what it set up."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _stage(progress: Progress, *, keep: bool) -> tuple[Report, Path]:
    """Carry the demo out; returns its report and its directory, which exists only if it is kept."""
    began = time.monotonic()
    async with _home(keep=keep) as home:
        config = _write_config(home / "pool.yaml")
        progress.note(f"deployment {config.deployment}")
        async with _engine(config, keep=keep) as runtime, _redis(home, progress) as (url, connection):
            recorder = Recorder(connection, POOL, progress)
            director = Director(config, home=home, url=url, runtime=runtime, recorder=recorder, progress=progress)
            arguments = (str(home / "pool.yaml"), *(() if keep else ("--remove",)))
            async with child("pool.demo.manager", *arguments, log=home / "manager.log") as manager:
                await _watched(director.direct(), manager, recorder)
                await recorder.read()
                progress.note("all done; the manager is told to end")
            left = await asyncio.to_thread(_listed, config.deployment)
    recording = Recording(
        deployment=config.deployment,
        size=len(config.slots(POOL)),
        runs=[run.name for run in director.runs],
        events=recorder.events,
        looks=director.looks,
        strikes=director.strikes,
        start_s=director.ready_at - began,
        ttl_s=config.pools[POOL].limits.ttl_s,
        reap_interval_s=config.manager.reap_interval_s,
        left=left,
        kept=keep,
    )
    return make_report(recording, seconds=time.monotonic() - began), home


async def _watched(work: Coroutine[object, object, None], manager: Child, recorder: Recorder) -> None:
    """Do the work while the recorder follows and the manager lives."""
    working = asyncio.create_task(work)
    tasks = [working, asyncio.create_task(recorder.follow()), asyncio.create_task(manager.wait())]
    try:
        done, _ = await asyncio.wait(tasks, timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        if isinstance(error := task.exception(), PoolError):
            error.hint = error.hint or manager.last_lines()
        task.result()
    if working not in done:
        what = "the manager ended too early" if done else f"the demo did not end within {_LONGEST_S:g} s"
        raise PoolError(what, hint=manager.last_lines())


def _write_config(path: Path) -> Config:
    """Write the demo's configuration with a deployment and a Redis of its own.

    Another demo at the same time, on this machine or on another one with the same engine, has other names.
    """
    document = yaml.safe_load(files("pool.demo").joinpath("demo.yaml").read_text(encoding="utf-8"))
    document["deployment"] = f"demo-{os.getpid()}-{os.urandom(2).hex()}"
    document["redis"] = {"state_dir": str(path.parent)}
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_config(path)


@asynccontextmanager
async def _home(*, keep: bool) -> AsyncIterator[Path]:
    """Lend a directory for state and logs; at the end stop the Redis server in it and remove it."""
    home = Path(tempfile.mkdtemp(prefix="containerpool-demo-"))
    try:
        yield home
    finally:
        await asyncio.to_thread(stop_server, home)
        if not keep:
            shutil.rmtree(home)


@asynccontextmanager
async def _redis(home: Path, progress: Progress) -> AsyncIterator[tuple[str, Connection]]:
    """Lend the private server's URL and a connection to it."""
    server = await asyncio.to_thread(ensure_server, home)
    progress.note(f"{server.binary.name} {server.version} listens on a private socket")
    connection = Connection(server.url)
    try:
        yield server.url, connection
    finally:
        await connection.close()


@asynccontextmanager
async def _engine(config: Config, *, keep: bool) -> AsyncIterator[DockerRuntime]:
    """Lend the engine; at the end remove what carries our label, whoever should have done so before."""
    runtime = DockerRuntime(config.docker)
    try:
        await runtime.check()
        image = config.pools[POOL].container.image
        try:
            await runtime.ensure_image(image)
        except ImageMissing as error:
            raise ImageMissing(error.message, hint="`deploy/images/build sample` builds it") from error
        try:
            yield runtime
        finally:
            if not keep:
                await _sweep(runtime, config.deployment)
    finally:
        await runtime.close()


async def _sweep(runtime: DockerRuntime, deployment: str) -> None:
    for container in await runtime.list(deployment):
        await runtime.remove(container.ref)
    await runtime.remove_network(deployment)


def _listed(deployment: str) -> list[str]:
    """Ask Docker itself, without the pool's own code, what it has under our label.

    Raises:
        EngineError: It does not answer.
    """
    label = f"{LABEL_DEPLOYMENT}={deployment}"
    try:
        with closing(docker.from_env(version="1.41", timeout=30)) as client:
            client.api.trust_env = False  # REQUESTS_CA_BUNDLE would replace the engine's own CA
            containers = client.containers.list(all=True, filters={"label": label})
            networks = client.networks.list(filters={"label": label})
            return [f"container {found.name}" for found in containers] + [f"network {found.name}" for found in networks]
    except DockerException as error:
        raise EngineError(f"listing what deployment {deployment} left: {error}") from error
