"""Addresses as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.errors import ConfigurationError
from debbie_otel.transports.addresses import Address, Upstream, parse_listen, parse_upstream


@pytest.mark.parametrize(
    ("text", "address", "tls", "target", "authority"),
    [
        ("ws://host", Address("host", 80), False, None, "host"),
        ("ws://host:80/", Address("host", 80), False, None, "host"),
        ("ws://HOST:9000/ws?a=%2F&b", Address("host", 9000), False, "/ws?a=%2F&b", "host:9000"),
        ("wss://host?x=1", Address("host", 443), True, "/?x=1", "host"),
        ("WSS://host:80", Address("host", 80), True, None, "host:80"),
        ("ws://[::1]:8000/ü", Address("::1", 8000), False, "/%C3%BC", "[::1]:8000"),
        ("ws+unix:/run/a.sock", Address(path="/run/a.sock"), False, None, None),
        ("ws+unix:///run/a.sock:/ws?x", Address(path="/run/a.sock"), False, "/ws?x", None),
    ],
)
def test_upstreams(
    text: str, address: Address, tls: bool, target: str | None, authority: str | None
) -> None:
    url = text.partition("?")[0]  # a query may hold a token, and the URL is shown to clients
    assert parse_upstream(text) == Upstream(url, address, tls, target, authority)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("wss://agent.example", True),
        ("wss://localhost", True),
        ("wss://127.0.0.1", False),
        ("wss://[::1]", False),
        ("ws+unix:/x", False),
    ],
)
def test_a_host_that_is_a_name(text: str, named: bool) -> None:
    assert parse_upstream(text).named is named


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no WebSocket URL"),
        ("host:80", "no WebSocket URL"),
        ("http://host", "no WebSocket URL"),
        ("ws://", "names no host"),
        ("ws:///path", "names no host"),
        ("ws://host:port", "Port could not be cast"),
        ("ws://host:99999", "Port out of range"),
        ("ws://host:0", "port 0"),
        ("ws://[::1", "Invalid IPv6"),
        ("ws://user:secret@host", "credentials"),
        ("ws://host/#part", "fragment"),
        ("ws://host/a b", "white space"),
        ("ws+unix:", "missing"),
        ("ws+unix:/x:ws", "relative"),
        ("ws+unix:/" + "x" * 107, "more than 107 bytes"),
    ],
)
def test_wrong_upstreams_are_one_clear_line(text: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what) as caught:
        parse_upstream(text)
    assert str(caught.value).startswith("--upstream: ")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "address", "shown"),
    [
        ("127.0.0.1:8765", Address("127.0.0.1", 8765), "127.0.0.1:8765"),
        ("localhost:0", Address("localhost", 0), "localhost:0"),
        ("[::1]:8765", Address("::1", 8765), "[::1]:8765"),
        (":8765", Address("127.0.0.1", 8765), "127.0.0.1:8765"),
        ("unix:/run/d.sock", Address(path="/run/d.sock"), "unix:/run/d.sock"),
    ],
)
def test_listen_addresses(text: str, address: Address, shown: str) -> None:
    assert parse_listen(text) == address
    assert str(address) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8765",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "::1:80",
        "[::1]",
        "a/b:1",
        "ws://host:80",
        "[host]:80",
        "unix:",
        "host :80",
        "host:²",
    ],
)
def test_wrong_listen_addresses(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--listen: ") as caught:
        parse_listen(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["", "ws://", "wss://", "ws+unix:", "ws://h:1/"]))
def test_any_text_is_an_address_or_a_configuration_error(text: str, prefix: str) -> None:
    for parse in (parse_upstream, parse_listen):
        try:
            parse(prefix + text)
        except ConfigurationError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017 - both outcomes are right
