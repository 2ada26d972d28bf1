"""TLS contexts for both sides of the tap, from files named by the user."""

from __future__ import annotations

import ssl
from pathlib import Path

from debbie_otel.errors import ConfigurationError


def listen_context(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return the context to listen with; None without a certificate.

    Args:
        cert: Certificate chain, PEM.
        key: Its private key, PEM; None where it is in the same file.

    Raises:
        ConfigurationError: A file is missing, is no PEM, or the two do not belong together.

    """
    if cert is None:
        if key is not None:
            raise ConfigurationError("--tls-key", "needs a certificate too", "add --tls-cert FILE")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _require(cert, "--tls-cert")
    if key is not None:
        _require(key, "--tls-key")
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"--tls-cert {cert}", f"no usable certificate and key: {_reason(error)}", "PEM files"
        ) from None
    return context


def upstream_context(ca: Path | None, *, insecure: bool) -> ssl.SSLContext:
    """Return the context to connect with; it verifies unless `insecure`.

    Args:
        ca: Authorities to trust instead of the system's, PEM.
        insecure: Accept any certificate and any host name.

    Raises:
        ConfigurationError: The file is missing or holds no certificate.

    """
    context = ssl.create_default_context()
    if ca is not None:
        _require(ca, "--ca")
        try:
            context = ssl.create_default_context(cafile=str(ca))
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"--ca {ca}", f"no usable certificate: {_reason(error)}", "a PEM file"
            ) from None
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _require(file: Path, where: str) -> None:
    if not file.is_file():
        raise ConfigurationError(f"{where} {file}", "there is no such file")


def _reason(error: OSError | ssl.SSLError) -> str:
    return getattr(error, "reason", None) or str(error) or type(error).__name__
