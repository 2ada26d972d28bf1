"""Where to listen, and which server to stand before: parsed from what a user writes."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import msgspec

from debbie_otel.compat.platforms import HAS_UNIX_SOCKETS, NO_UNIX_SOCKETS
from debbie_otel.errors import ConfigurationError

_UPSTREAM_HINT = "expected ws://HOST[:PORT][/PATH], wss://... or ws+unix:PATH[:/REQUEST/PATH]"
_LISTEN_HINT = "expected HOST:PORT, [IPV6]:PORT, :PORT or unix:PATH"
_DEFAULT_PORTS = {"ws": 80, "wss": 443}
_MAX_UNIX_PATH = 107  # bytes; sun_path of Linux less its final NUL
_UNFIT = re.compile(r"[\x00-\x20\x7f]")


class Address(msgspec.Struct, frozen=True):
    """A TCP address, or (with `path`) that of a Unix-domain socket.

    Attributes:
        host: Name or address without brackets.
        port: 0 to listen on any free port.
        path: File of the Unix-domain socket; None for TCP.

    """

    host: str = ""
    port: int = 0
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"{_bracketed(self.host)}:{self.port}"


class Upstream(msgspec.Struct, frozen=True):
    """The server behind the proxy.

    Attributes:
        url: As the user wrote it, without the query (it may hold a token); for messages.
        address: Where to connect.
        tls: Whether it speaks TLS.
        target: Path and query of the URL as written, for clients that ask for `/`; None if the
            URL has none.
        authority: `host[:port]` as it belongs into a Host header; None for a Unix-domain socket.

    """

    url: str
    address: Address
    tls: bool = False
    target: str | None = None
    authority: str | None = None

    @property
    def named(self) -> bool:
        """Whether the host is a name, not an IP address (nor a Unix-domain socket)."""
        return self.address.path is None and not _is_ip(self.address.host)


def parse_upstream(text: str, where: str = "--upstream") -> Upstream:
    """Parse the URL of the server to stand before.

    Args:
        text: `ws://HOST[:PORT][/PATH][?QUERY]`, `wss://...`, `ws+unix:PATH[:/REQUEST/PATH]`.
        where: What to blame in the error.

    Raises:
        ConfigurationError: It is none of these.

    """
    if _UNFIT.search(text):
        raise ConfigurationError(where, f"{text!r} contains white space", _UPSTREAM_HINT)
    scheme, colon, rest = text.partition(":")
    if colon and scheme.lower() == "ws+unix":
        path, _, target = rest.removeprefix("//").partition(":")
        if target and not target.startswith("/"):
            raise ConfigurationError(where, f"the request path {target!r} is relative")
        address = Address(path=_unix_path(path, where, _UPSTREAM_HINT))
        return Upstream(_shown(text), address, target=_target(target))
    if not colon or scheme.lower() not in _DEFAULT_PORTS:
        raise ConfigurationError(where, f"{text!r} is no WebSocket URL", _UPSTREAM_HINT)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(where, f"{text!r}: {error}", _UPSTREAM_HINT) from error
    if not host:
        raise ConfigurationError(where, f"{text!r} names no host", _UPSTREAM_HINT)
    if port == 0:
        raise ConfigurationError(where, f"{text!r}: port 0 cannot be connected to")
    return _tcp_upstream(text, parts, host, port, where)


def _tcp_upstream(
    text: str, parts: SplitResult, host: str, port: int | None, where: str
) -> Upstream:
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            where, "credentials in the URL are not sent", "the client's Authorization header is"
        )
    if parts.fragment:
        raise ConfigurationError(where, f"{text!r} has a fragment, which a URL to connect to lacks")
    default = _DEFAULT_PORTS[parts.scheme]
    authority = _bracketed(host) + ("" if port in (None, default) else f":{port}")
    return Upstream(
        _shown(text),
        Address(host, port or default),
        parts.scheme == "wss",
        _target(parts.path + (f"?{parts.query}" if parts.query else "")),
        authority,
    )


def parse_listen(text: str, where: str = "--listen") -> Address:
    """Parse an address to listen on.

    Args:
        text: `HOST:PORT`, `[IPV6]:PORT`, `:PORT` (127.0.0.1) or `unix:PATH`.
        where: What to blame in the error.

    Raises:
        ConfigurationError: It is none of these.

    """
    if text.startswith("unix:"):
        return Address(path=_unix_path(text.removeprefix("unix:"), where, _LISTEN_HINT))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdecimal() or _UNFIT.search(host):
        raise ConfigurationError(where, f"{text!r} is no address", _LISTEN_HINT)
    if int(port) > 65535:
        raise ConfigurationError(where, f"{text!r}: the port is above 65535", _LISTEN_HINT)
    if host.startswith("[") and host.endswith("]") and ":" in host and _is_ip(host[1:-1]):
        host = host[1:-1]
    elif set(host) & set("[]:/"):
        raise ConfigurationError(where, f"{text!r} is no address", _LISTEN_HINT)
    return Address(host or "127.0.0.1", int(port))


def _unix_path(path: str, where: str, hint: str) -> str:
    if not HAS_UNIX_SOCKETS:
        raise ConfigurationError(where, NO_UNIX_SOCKETS, hint)
    if not path:
        raise ConfigurationError(where, "the path of the Unix-domain socket is missing", hint)
    if len(path.encode()) > _MAX_UNIX_PATH:
        raise ConfigurationError(
            where, f"the socket's path has more than {_MAX_UNIX_PATH} bytes: {path}"
        )
    return path


def _target(text: str) -> str | None:
    """Return path and query for a request line; None where there is nothing to send."""
    if not text.isascii():
        text = "".join(c if c.isascii() else _escaped(c) for c in text)
    if text.startswith("?"):
        text = f"/{text}"
    return None if text in ("", "/") else text


def _shown(url: str) -> str:
    return url.partition("?")[0]


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))


def _is_ip(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
