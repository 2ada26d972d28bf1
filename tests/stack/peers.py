"""The stack's programs, each as a process of its own on free ports of 127.0.0.1.

Every one is an async context manager: it starts the program in a folder, waits until that says
that it is ready, and ends it. A collector can be killed and started again in the same place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.stack import cache
from tests.telemetry.collector import free_port

ROOT = Path(__file__).resolve().parents[2]
START = 30.0
"""Seconds in which a program must be ready; they share two processors."""
END = 10.0
"""Seconds in which it must end when asked."""

_FOREIGN = ("OTEL_", "DEBBIE_", "AGENT_", "GATEWAY_", "JAEGER_")

Found = TypeVar("Found")


async def until(look: Callable[[], Awaitable[Found]], what: str, seconds: float = START) -> Found:
    """Return what `look` returns once that is true; another process has no event to wait for.

    Raises:
        AssertionError: Not within that many seconds; says what it last returned.

    """
    found: Found | None = None
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"no {what} within {seconds:g} s; last: {found!r}") from None
    return found


async def fetch(url: str, **params: str | int) -> Any:
    """Return the JSON that a URL answers with, or its text; None while it is not there."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        with contextlib.suppress(httpx.TransportError):
            response = await client.get(url, params=params)
            if response.is_success:
                is_json = "json" in response.headers.get("content-type", "")
                return response.json() if is_json else response.text or response.reason_phrase
    return None


class Running:
    """A program that runs.

    Attributes:
        log: What it says.

    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._name = name
        self._process = process
        self.log = log

    async def ready(self, url: str) -> None:
        """Wait until `url` answers with success; fail at once if the program ends instead."""

        async def look() -> bool:
            code = self._process.returncode
            assert code is None, f"{self._name} ended with {code}: {self._last_words()}"
            return await fetch(url) is not None

        await until(look, f"{self._name} at {url}: {self._last_words()}")

    async def kill(self) -> None:
        """End it without a chance to tidy up."""
        self._process.kill()
        await self._process.wait()

    async def end(self) -> None:
        """Ask it to end, if it still runs."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END):
                    await self._process.wait()
        if self._process.returncode is None:
            await self.kill()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@contextlib.asynccontextmanager
async def running(
    program: str, *arguments: str, folder: Path, ready: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Run a program from the cache.

    Args:
        program: Its name.
        arguments: Of its command line.
        folder: Where its log goes, beside that of an earlier run.
        ready: URL that answers with success once it can be used.
        env: Variables beside ours.

    """
    path = cache.program(program)
    assert path is not None, f"{program} is not there; the test must ask for it by its marker"
    log = folder / f"{program}.log"
    ours = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            path,
            *arguments,
            cwd=folder,
            env=ours | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    it = Running(program, process, log)
    try:
        await it.ready(ready)
        yield it
    finally:
        await it.end()


class Collector:
    """A collector with one of our configurations.

    Args:
        role: AGENT or GATEWAY: what its variables begin with.
        folder: For its storage and log.
        configs: Files; later ones are merged into the first. By default the role's own.
        variables: Of its environment, beside ports and storage.

    """

    def __init__(
        self, role: str, folder: Path, *configs: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        names = ("GRPC", "HTTP", "PEER", "HEALTH", "METRICS", "SELF")
        self.ports = {name: free_port() for name in names}
        self.folder = folder
        self.events = folder / "events.jsonl"
        self._configs = configs or (ROOT / "collector" / f"{role.lower()}.yaml",)
        self.variables = {f"{role}_{name}_PORT": str(port) for name, port in self.ports.items()}
        self.variables |= {f"{role}_STORAGE": str(folder / "storage")}
        if role == "GATEWAY":
            self.variables |= {
                "GATEWAY_PEERS": f'["127.0.0.1:{self.ports["PEER"]}"]',
                "GATEWAY_EVENTS": str(self.events),
            }
        self.variables |= dict(variables or {})

    @property
    def grpc(self) -> str:
        """HOST:PORT of its OTLP receiver."""
        return f"127.0.0.1:{self.ports['GRPC']}"

    @property
    def http(self) -> str:
        """URL of its OTLP receiver."""
        return f"http://127.0.0.1:{self.ports['HTTP']}"

    @property
    def metrics(self) -> str:
        """HOST:PORT that Prometheus is to scrape."""
        return f"127.0.0.1:{self.ports['METRICS']}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        """Run it; may be done again."""
        files = [word for path in self._configs for word in ("--config", str(path))]
        ready = f"http://127.0.0.1:{self.ports['HEALTH']}/"
        async with running(
            "debbie-collector", *files, folder=self.folder, ready=ready, env=self.variables
        ) as it:
            yield it


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class Jaeger:
    """A Jaeger that runs: HOST:PORT of its OTLP receiver, and the URL of its API."""

    otlp: str
    url: str


@contextlib.asynccontextmanager
async def jaeger(folder: Path, prometheus: str = "http://127.0.0.1:1") -> AsyncIterator[Jaeger]:
    """Run Jaeger with the configuration that docker-compose.yml mounts.

    Args:
        folder: For its storage and log.
        prometheus: URL that it asks for its Monitor tab.

    """
    _make(folder)
    ports = {name: free_port() for name in ("HTTP", "GRPC", "HEALTH", "OTLP")}
    variables = {f"JAEGER_{name}_PORT": str(port) for name, port in ports.items()} | {
        "JAEGER_STORAGE": str(folder / "storage"),
        "JAEGER_UI": str(ROOT / "stack" / "jaeger-ui.json"),
        "PROMETHEUS_URL": prometheus,
    }
    config = str(ROOT / "stack" / "jaeger.yaml")
    ready = f"http://127.0.0.1:{ports['HEALTH']}/status"
    async with running("jaeger", "--config", config, folder=folder, ready=ready, env=variables):
        yield Jaeger(f"127.0.0.1:{ports['OTLP']}", f"http://127.0.0.1:{ports['HTTP']}")


@contextlib.asynccontextmanager
async def prometheus(folder: Path, config: Path, port: int | None = None) -> AsyncIterator[str]:
    """Run Prometheus with a configuration; yield its URL.

    Args:
        folder: For its storage and log.
        config: The file.
        port: To listen on, where others must know it beforehand.

    """
    _make(folder)
    address = f"127.0.0.1:{port or free_port()}"
    async with running(
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'storage'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--web.enable-remote-write-receiver",
        folder=folder,
        ready=f"http://{address}/-/ready",
    ):
        yield f"http://{address}"


@contextlib.asynccontextmanager
async def alertmanager(folder: Path, config: Path) -> AsyncIterator[str]:
    """Run Alertmanager with a configuration; yield its URL."""
    _make(folder)
    address = f"127.0.0.1:{free_port()}"
    async with running(
        "prometheus-alertmanager",
        f"--config.file={config}",
        f"--storage.path={folder / 'storage'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        folder=folder,
        ready=f"http://{address}/-/ready",
    ):
        yield f"http://{address}"
