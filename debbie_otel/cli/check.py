"""`debbie check`: whether the configuration is valid, and what it names can be reached."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from rich.console import Console

from debbie_otel.app.config import Config, load_dialects
from debbie_otel.app.config.validation import check_files, holds_files
from debbie_otel.compat.platforms import open_unix_connection
from debbie_otel.intervention.escalation.delivery import receivers
from debbie_otel.telemetry.export.destination import (
    LOCAL_COLLECTORS,
    choose,
    default_data_dir,
    find,
)
from debbie_otel.telemetry.export.exporters import Selection
from debbie_otel.telemetry.export.limits import exemplars_wanted
from debbie_otel.telemetry.export.spool import SpoolOptions
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
    told = receivers(config.interventions.escalation, environ)
    check_files(config)
    console.print(f"configuration: valid; dialects: {', '.join(dialects.known)}", soft_wrap=True)
    problems = 0
    if proxy.upstream is None:
        console.print("upstream: none is set")
    else:
        upstream = parse_upstream(proxy.upstream)
        if upstream.tls:
            upstream_context(proxy.ca, insecure=proxy.insecure)
        problems += await _report(console, "upstream", upstream.url, upstream.address)
    for receiver in told:  # its name is without the secrets that its URL may hold
        problems += await _report(console, "escalation", receiver.name, _address(receiver.url))
    return problems + await _check_telemetry(config, console, environ)


async def _check_telemetry(config: Config, console: Console, environ: Mapping[str, str]) -> int:
    data_dir = config.telemetry.data_dir or default_data_dir(environ)
    chosen = choose(config.telemetry.otlp, environ)
    if chosen is None:
        chosen = await asyncio.to_thread(find, LOCAL_COLLECTORS, data_dir)
    destination = Selection(environ, data_dir).described(chosen)
    SpoolOptions.from_environ(environ)
    exemplars_wanted(environ)
    if destination.kind == "otlp":
        problems = 0
        for where in destination.where.split(", "):
            problems += await _report(console, "telemetry", where, _address(where))
        return problems
    where = destination.where or "off"
    console.print(f"telemetry: {where}. {destination.hint}", markup=False, soft_wrap=True)
    if destination.kind != "files" or holds_files(data_dir):
        return 0
    console.print(f"data directory: {data_dir} cannot be written to", markup=False, soft_wrap=True)
    return 1


def _address(where: str) -> Address:
    if where.startswith("unix:"):  # as gRPC has it
        return Address(path=where.removeprefix("unix:").removeprefix("//"))
    url = urlsplit(where if "//" in where else f"//{where}")
    default = {"https": 443, "http": 80}.get(url.scheme, 4317)
    return Address(url.hostname or "localhost", url.port or default)


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
        else open_unix_connection(address.path)
    )
    try:
        _, writer = await asyncio.wait_for(connecting, _TIMEOUT)
    except TimeoutError:
        return f"no answer within {_TIMEOUT:g} s"
    except OSError as error:
        # asyncio says "Connect call failed" and the address, whatever the reason was.
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    writer.close()
    return None
