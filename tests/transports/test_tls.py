"""TLS contexts from the user's files; each bad file is one line that names its option."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from debbie_otel.errors import ConfigurationError
from debbie_otel.transports.tls import listen_context, upstream_context
from tests.telemetry.collector import Certificate, make_certificate


@pytest.fixture
def made(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Do the handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, True)]
    while ends:
        for end in tuple(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)


def test_a_client_that_trusts_the_authority_connects(made: Certificate) -> None:
    server = listen_context(made.chain, made.key)
    assert server is not None
    shake_hands(server, upstream_context(made.ca, insecure=False), "localhost")


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
def test_insecure_accepts_any_certificate_and_name(made: Certificate, name: str) -> None:
    server = listen_context(made.chain, made.key)
    assert server is not None
    shake_hands(server, upstream_context(None, insecure=True), name)


@pytest.mark.parametrize("trusted", [True, False], ids=["another name", "unknown authority"])
def test_otherwise_both_are_verified(made: Certificate, trusted: bool) -> None:
    server = listen_context(made.chain, made.key)
    assert server is not None
    client = upstream_context(made.ca if trusted else None, insecure=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, client, "elsewhere.example" if trusted else "localhost")


def test_without_a_certificate_there_is_no_tls(made: Certificate) -> None:
    assert listen_context(None, None) is None
    with pytest.raises(ConfigurationError, match="--tls-key"):
        listen_context(None, made.key)


def test_a_bad_file_is_named_with_its_option(made: Certificate, tmp_path: Path) -> None:
    missing, text = tmp_path / "missing.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    for file in (missing, text):
        with pytest.raises(ConfigurationError, match=f"--tls-cert {file}"):
            listen_context(file, made.key)
        with pytest.raises(ConfigurationError, match=f"--ca {file}"):
            upstream_context(file, insecure=False)
    with pytest.raises(ConfigurationError, match=f"--tls-key {missing}"):
        listen_context(made.chain, missing)
    with pytest.raises(ConfigurationError, match=f"--tls-cert {made.chain}"):
        listen_context(made.chain, text)
