"""`debbie check`: whether the configuration is valid, and what it names can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from rich.console import Console

from debbie_otel.config import Config
from debbie_otel.debugger import load_dialects
from debbie_otel.telemetry.destination import choose, default_data_dir
from debbie_otel.transports.addresses import Address, parse_listen, parse_upstream
from debbie_otel.transports.tls import listen_context, upstream_context

_TIMEOUT = 3.0


async def run_check(config: Config, console: Console, environ: Mapping[str, str]) -> int:
    """Print a line a finding.

    Returns:
        How many things cannot be reached.

    Raises:
        ConfigurationError: Something is not valid.

    """
    dialects = load_dialects(config)
    proxy = config.proxy
    parse_listen(proxy.listen)
    listen_context(proxy.tls_cert, proxy.tls_key)
    console.print(f"configuration: valid; dialects: {', '.join(dialects.known)}", soft_wrap=True)
    problems = 0
    if proxy.upstream is None:
        console.print("upstream: none is set")
    else:
        upstream = parse_upstream(proxy.upstream)
        if upstream.tls:
            upstream_context(proxy.ca, insecure=proxy.insecure)
        problems += await _report(console, "upstream", upstream.url, upstream.address)
    data_dir = config.telemetry.data_dir or default_data_dir(environ)
    destination = choose(config.telemetry.otlp, environ, data_dir)
    if destination.kind != "otlp":
        console.print(
            f"telemetry: {destination.where or 'off'}. {destination.hint}", soft_wrap=True
        )
        return problems
    url = urlsplit(destination.where if "//" in destination.where else f"//{destination.where}")
    port = url.port or (443 if url.scheme == "https" else 4317)
    address = Address(url.hostname or "localhost", port)
    return problems + await _report(console, "telemetry", destination.where, address)


async def _report(console: Console, what: str, where: str, address: Address) -> int:
    problem = await _reach(address)
    console.print(
        f"{what}: {where} "
        + ("can be reached" if problem is None else f"cannot be reached: {problem}"),
        markup=False,
        soft_wrap=True,
    )
    return problem is not None


async def _reach(address: Address) -> str | None:
    connecting = (
        asyncio.open_connection(address.host, address.port)
        if address.path is None
        else asyncio.open_unix_connection(address.path)
    )
    try:
        _, writer = await asyncio.wait_for(connecting, _TIMEOUT)
    except TimeoutError:
        return f"no answer within {_TIMEOUT:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return None
