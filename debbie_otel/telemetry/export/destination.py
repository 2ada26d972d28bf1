"""Where telemetry goes: the flag, the variables, a local collector, or files.

Decides only; nothing is opened here except for the TCP connection of `find`, which asks whether
there is a listener. Sources: OpenTelemetry specification, "OpenTelemetry Protocol Exporter"
(variables); the order is that of docs and `debbie proxy --help`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import msgspec

from debbie_otel.errors import ConfigurationError

LOCAL_COLLECTORS = ("grpc://localhost:4317", "http://localhost:4318")
PROBE_TIMEOUT = 0.3

_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
_SIGNALS = ("traces", "metrics", "logs")


class Protocol(StrEnum):
    """An OTLP transport, named as in `OTEL_EXPORTER_OTLP_PROTOCOL`."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


class Route(msgspec.Struct, frozen=True):
    """How one signal leaves by OTLP; `endpoint` None leaves it to the SDK and its variables."""

    protocol: Protocol
    endpoint: str | None = None


class Destination(msgspec.Struct, frozen=True):
    """Where telemetry goes.

    Attributes:
        kind: "otlp", "files", "disabled", or "undecided" before the start.
        where: URL or directory, for people.
        chosen_by: What decided: a flag, a variable, or what was found.
        hint: On how to look at it.
        spans: What takes the spans, for people; empty for none. `Selection.described` fills it in.
        routes: By signal ("traces", "metrics", "logs"); empty unless OTLP.

    """

    kind: str
    where: str
    chosen_by: str
    hint: str
    spans: str = ""
    routes: dict[str, Route] = {}


UNDECIDED = Destination("undecided", "", "not started yet", "")


def is_disabled(environ: Mapping[str, str]) -> bool:
    """Tell whether `OTEL_SDK_DISABLED` switches telemetry off."""
    return _value(environ, "OTEL_SDK_DISABLED").lower() == "true"


def choose(otlp: str | None, environ: Mapping[str, str]) -> Destination | None:
    """Return what the user chose; None where `find` has to look.

    Args:
        otlp: The value of `--otlp`, or None.
        environ: The process's environment.

    Raises:
        ConfigurationError: A URL or a protocol is wrong.

    """
    if is_disabled(environ):
        text = "Telemetry is off; unset OTEL_SDK_DISABLED to turn it on."
        return Destination("disabled", "", "OTEL_SDK_DISABLED", text)
    if otlp:
        return _otlp(otlp, {s: _route(otlp, "--otlp", environ, s) for s in _SIGNALS}, "--otlp")
    variables = [_ENDPOINT, *(_variable("ENDPOINT", signal) for signal in _SIGNALS)]
    if used := [name for name in variables if _value(environ, name)]:
        where = ", ".join(dict.fromkeys(_value(environ, name) for name in used))
        return _otlp(where, {s: _from_environ(environ, s) for s in _SIGNALS}, used[0])
    return None


def find(local_collectors: Iterable[str], data_dir: Path) -> Destination:
    """Return the first collector that listens, else files; waits for each up to `PROBE_TIMEOUT`.

    Args:
        local_collectors: URLs as in `--otlp`.
        data_dir: For files.

    """
    for url in local_collectors:
        if _listens(url):
            routes = {signal: _route(url, "the local collector", {}, signal) for signal in _SIGNALS}
            return _otlp(url, routes, "a collector was found there")
    text = (
        f"The newest spans are at the end of {data_dir / 'traces.jsonl'} (OTLP JSON lines, which "
        "a collector's otlpjsonfile receiver reads); with a collector on localhost, or --otlp URL, "
        "they go there."
    )
    return Destination("files", str(data_dir), "no collector was set or found", text)


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Return `$XDG_DATA_HOME/debbie_otel`, or its default under the home directory.

    Source: XDG Base Directory Specification; a relative path counts as unset.
    """
    base = Path(environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "debbie_otel"


def _otlp(where: str, routes: dict[str, Route], chosen_by: str) -> Destination:
    names = " and ".join(dict.fromkeys(_NAMES[route.protocol] for route in routes.values()))
    text = f"Telemetry goes by OTLP ({names}) to {where}; look at it in what it feeds."
    return Destination("otlp", where, chosen_by, text, routes=routes)


_NAMES = {Protocol.GRPC: "gRPC", Protocol.HTTP: "HTTP"}


def _value(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _variable(what: str, signal: str) -> str:
    return f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}"


def _set_protocol(environ: Mapping[str, str], signal: str) -> Protocol | None:
    for name in (_variable("PROTOCOL", signal), _PROTOCOL):
        if text := _value(environ, name):
            try:
                return Protocol(text)
            except ValueError:
                known = " or ".join(protocol.value for protocol in Protocol)
                raise ConfigurationError(
                    name, f"unknown protocol {text!r}", f"write {known}"
                ) from None
    return None


def _from_environ(environ: Mapping[str, str], signal: str) -> Route:
    """Leave the endpoint to the SDK; choose the protocol as it does, or by a port or path.

    Without a protocol the SDK takes gRPC, which cannot work on a URL with a path or on port 4318.
    """
    name = _variable("ENDPOINT", signal)
    url = _value(environ, name)
    if not url:
        name, url = _ENDPOINT, _value(environ, _ENDPOINT)
    protocol = _set_protocol(environ, signal)
    if not url:
        return Route(protocol or Protocol.GRPC)
    if "://" not in url and protocol in (None, Protocol.GRPC):
        return Route(Protocol.GRPC)  # HOST:PORT is a gRPC target
    parts = _split(url, name)
    if protocol is None:
        http = parts.port == 4318 or parts.path.strip("/")
        protocol = Protocol.HTTP if http else Protocol.GRPC
    return Route(protocol)


def _route(url: str, where: str, environ: Mapping[str, str], signal: str) -> Route:
    parts = _split(url, where)
    protocol = _set_protocol(environ, signal)
    path = parts.path.rstrip("/")
    if parts.scheme in ("grpc", "grpcs"):
        protocol = Protocol.GRPC
    elif protocol is None:
        grpc = parts.port == 4317 and not path
        protocol = Protocol.GRPC if grpc else Protocol.HTTP
    scheme = "https" if parts.scheme in ("grpcs", "https") else "http"
    base = f"{scheme}://{parts.netloc}"
    if protocol is Protocol.GRPC:
        return Route(protocol, base)
    for other in _SIGNALS:
        path = path.removesuffix(f"/v1/{other}")
    return Route(protocol, f"{base}{path}/v1/{signal}")


def _split(url: str, where: str) -> SplitResult:
    hint = "write http://HOST:4317 (gRPC), http://HOST:4318 (HTTP) or grpc://HOST:PORT"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - a bad port raises here
    except ValueError as error:
        raise ConfigurationError(where, f"{url!r} is not a valid URL: {error}", hint) from None
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise ConfigurationError(where, f"{url!r} is not an OTLP endpoint", hint)
    return parts


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "", parts.port or 0)
        with socket.create_connection(address, timeout=PROBE_TIMEOUT):
            return True
    except OSError:
        return False


def require_directory(path: Path) -> None:
    """Create a data directory, private; raise ConfigurationError where that is impossible."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(str(path), f"no data directory: {error.strerror}") from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(str(path), "the data directory is not writable")
