"""The command `debbie`."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from debbie_otel.app.clock import wall_clock
from debbie_otel.app.config import Config, load_dialects
from debbie_otel.app.config.sources import Sources
from debbie_otel.errors import ConfigurationError, DebbieError

_Result = TypeVar("_Result")


class _Group(click.Group):
    """Turns errors, click's too, into one line and an exit code."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with _one_line():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line(ctx):
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_line(ctx: click.Context | None = None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except click.UsageError as error:
        text = error.format_message()
        if "\n" in text:  # the help, for want of a command
            raise
        path = "debbie" if error.ctx is None else error.ctx.command_path
        click.echo(f"debbie: {text} (see {path} --help)", err=True)
        sys.exit(2)
    except ValueError as error:  # OpenTelemetry's SDK reads its limits when it is imported
        if not str(error).startswith("OTEL_"):
            raise
        click.echo(f"debbie: {error}", err=True)
        sys.exit(2)
    except ConfigurationError as error:
        sources = None if ctx is None else ctx.find_object(Sources)
        click.echo(f"debbie: {error if sources is None else sources.blame(error)}", err=True)
        sys.exit(2)
    except DebbieError as error:
        click.echo(f"debbie: {error}", err=True)
        sys.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="debbie-otel", prog_name="debbie")
def main() -> None:
    """Debbie watches AI-agent sessions on the wire and shows them in OpenTelemetry."""
    for stream in (sys.stdout, sys.stderr):  # a console that knows no emoji gets question marks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


_CONFIG = click.option(
    "--config", type=click.Path(path_type=Path), help="TOML file with the settings.", metavar="FILE"
)
_DIALECT = click.option(
    "--dialect", metavar="NAME", help="What the server speaks; `debbie dialects` lists them. [auto]"
)
_PROFILE = click.option(
    "--profile", metavar="NAME", help="default, aggressive or passive (acts on nothing). [default]"
)


@main.command(
    short_help="Stand before an agent server.",
    epilog="Example: debbie proxy --upstream ws://127.0.0.1:8000/ws, and the client connects to "
    "ws://127.0.0.1:8765/ws. Ctrl-C ends it.",
)
@click.option(
    "--upstream",
    metavar="URL",
    help="The server: ws://HOST:PORT[/path], wss://..., ws+unix:PATH. [DEBBIE_UPSTREAM]",
)
@click.option("--listen", metavar="ADDRESS", help="HOST:PORT or unix:PATH. [127.0.0.1:8765]")
@_DIALECT
@_PROFILE
@_CONFIG
@click.option("--service-name", metavar="NAME", help="service.name. [<dialect>-agent]")
@click.option("--record", metavar="FILE", help="Record every message, content and all.")
@click.option(
    "--otlp",
    metavar="URL",
    help="Where telemetry goes: http://HOST:4317 (gRPC) or http://HOST:4318 (HTTP). [what OTEL_* "
    "say, else a collector on this machine, else files]",
)
@click.option("--tls-cert", metavar="FILE", help="Listen with TLS (PEM).")
@click.option("--tls-key", metavar="FILE", help="Private key of --tls-cert.")
@click.option("--ca", metavar="FILE", help="Trust this authority for a wss upstream.")
@click.option("--insecure", is_flag=True, default=None, help="Do not verify a wss upstream.")
@click.option(
    "--host-header",
    metavar="MODE",
    help="Host as sent (preserve), the upstream's (upstream), or that for wss only. [auto]",
)
@click.option(
    "--watch-pid",
    type=int,
    metavar="PID",
    help="Process whose memory is watched. [the one behind a local upstream]",
)
@click.option("--quiet", is_flag=True, help="No commentary on the console.")
def proxy(config: Path | None, *, quiet: bool, **flags: Any) -> None:
    """Stand before an agent server: every message is a span and a metric, none is changed."""
    from debbie_otel.cli.proxy import run_proxy

    telemetry = {name: flags.pop(name) for name in ("otlp", "service_name")}
    settings = _load(config, {"proxy": flags, "telemetry": telemetry})
    running = run_proxy(settings, Console(highlight=False), commentary=not quiet)
    _run(running, interrupted=0)


@main.command(
    short_help="Show it all on a scripted agent.", epilog="Example: debbie demo --speed 10"
)
@click.option("--speed", type=float, default=1.0, metavar="N", help="N times as fast. [1]")
@_CONFIG
def demo(config: Path | None, speed: float) -> None:
    """Show it all: a scripted agent server, the proxy before it, a session through both."""
    from debbie_otel.cli.demo import run_demo

    if not 0.1 <= speed <= 1000:
        raise ConfigurationError("--speed", f"{speed:g} is out of range", "0.1 to 1000")
    _run(run_demo(_load(config, {}), Console(highlight=False), speed))


@main.command(
    short_help="Run a recording through the same core.",
    epilog="Example: debbie replay session.jsonl --json, with what debbie proxy --record wrote.",
)
@click.argument("file", type=click.Path(path_type=Path))
@_DIALECT
@_PROFILE
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="Print the alerts, one JSON object a line.")
def replay(file: Path, config: Path | None, *, as_json: bool, **flags: Any) -> None:
    """Run a recording through the same core, on its own clock, and sum it up."""
    from debbie_otel.cli.replay import json_lines, replay_file
    from debbie_otel.report.commentary import comment_alert

    played = replay_file(file, _load(config, {"proxy": flags}))
    if as_json:
        for line in json_lines(played.transitions):
            click.echo(line)
        return
    for transition in played.transitions:
        click.echo(f"{transition.time_ns / 1e9:10.3f} {comment_alert(transition)}")
    console = Console(highlight=False)
    for table in played.summary.tables():
        console.print(table)


@main.command(
    short_help="Tell what happened, from the data directory.",
    epilog="Example: debbie report --html report.html",
)
@click.argument("session_id", required=False)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page there.")
@_CONFIG
def report(config: Path | None, session_id: str | None, html: Path | None) -> None:
    """Tell what happened, from the files in the data directory: all sessions, or one."""
    from debbie_otel.report.after import report_of_files, write_page
    from debbie_otel.report.text import render_text
    from debbie_otel.telemetry.export.destination import default_data_dir

    settings = _load(config, {})
    data_dir = settings.telemetry.data_dir or default_data_dir(os.environ)
    history = settings.interventions.history.path or data_dir / "history.sqlite3"
    found = report_of_files(data_dir, history, session_id, wall_clock()())
    if html is None:
        click.echo(render_text(found), nl=False)
    else:
        write_page(found, html)
        click.echo(f"The report is in {html}")


@main.command()
@_CONFIG
def dialects(config: Path | None) -> None:
    """List the dialects that are known, the user's own too."""
    table = Table()
    for heading in ("name", "protocol", "notes"):
        table.add_column(heading)
    for dialect in load_dialects(_load(config, {})).known.values():
        table.add_row(dialect.name, dialect.document.title, dialect.document.description)
    Console().print(table)


@main.command(
    short_help="Validate the configuration; reach what it names.",
    epilog="Example: debbie check --config debbie.toml. Exit code 1: something cannot be reached.",
)
@_CONFIG
def check(config: Path | None) -> None:
    """Validate configuration and dialects, and try to reach what they name."""
    from debbie_otel.cli.check import run_check

    problems = _run(run_check(_load(config, {}), Console(highlight=False), os.environ))
    sys.exit(1 if problems else 0)


def _load(path: Path | None, flags: dict[str, dict[str, Any]]) -> Config:
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in flags.items()
    }
    sources = Sources(path, os.environ, given)
    click.get_current_context().find_root().obj = sources
    return sources.config


def _run(coroutine: Coroutine[Any, Any, _Result], *, interrupted: int = 130) -> _Result:
    """Run to the end, or until a signal: SIGTERM ends a command as Ctrl-C does.

    Args:
        coroutine: What to run; it may have handlers of its own.
        interrupted: Exit code for a signal that it does not handle.

    """
    handlers = {
        signal.SIGINT: signal.default_int_handler,  # which `asyncio.run` replaces by its own
        signal.SIGTERM: lambda *_: signal.raise_signal(signal.SIGINT),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        return asyncio.run(coroutine)
    except KeyboardInterrupt:
        sys.exit(interrupted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
