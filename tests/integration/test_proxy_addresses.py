"""`debbie proxy` with TLS on either side, and on Unix-domain sockets."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.asyncio.server import ServerConnection, serve, unix_serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.command import proxy_command
from tests.integration.received import Spans
from tests.telemetry.collector import Certificate, http_collector, make_certificate

CALL = '{"jsonrpc":"2.0","id":1,"method":"echo","params":{}}'
ANSWER = '{"jsonrpc":"2.0","id":1,"result":{}}'
OFF = {"OTEL_SDK_DISABLED": "true"}


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


async def answer(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            assert message == CALL
            await connection.send(ANSWER)


@contextlib.asynccontextmanager
async def wss_server(certificate: Certificate) -> AsyncIterator[str]:
    """Serve by wss; yield the URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    async with serve(answer, "127.0.0.1", 0, ssl=context) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://localhost:{port}/ws"


async def assert_answered(client: ClientConnection) -> None:
    await client.send(CALL)
    assert await client.recv() == ANSWER


async def test_wss_on_both_sides(certificate: Certificate, tmp_path: Path) -> None:
    with http_collector() as collector:
        flags = (
            *("--otlp", f"http://127.0.0.1:{collector.port}", "--ca", str(certificate.ca)),
            *("--tls-cert", str(certificate.chain), "--tls-key", str(certificate.key)),
        )
        trusting = ssl.create_default_context(cafile=str(certificate.ca))
        async with (
            wss_server(certificate) as upstream,
            proxy_command(upstream, *flags, data_dir=tmp_path) as proxy,
        ):
            assert proxy.url.startswith("wss://127.0.0.1:")
            async with connect(proxy.url, ssl=trusting, proxy=None) as client:
                await assert_answered(client)
            ended = await proxy.end()
        spans = Spans(collector.received.traces)
    assert (ended.code, ended.err) == (0, [])
    assert spans.one("echo").attributes["server.address"] == "localhost"


async def test_an_upstream_that_nobody_vouches_for_is_refused(
    certificate: Certificate, tmp_path: Path
) -> None:
    async with (
        wss_server(certificate) as upstream,
        proxy_command(upstream, data_dir=tmp_path, **OFF) as proxy,
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(proxy.url, proxy=None):
                pass
        ended = await proxy.end()
    response = refused.value.response
    assert response.status_code == 502
    body = bytes(response.body or b"").decode()
    assert body.count("\n") == 1
    assert body.startswith(f"upstream {upstream} cannot be reached: ")
    assert "certificate verify failed" in body
    assert ended.code == 0
    (line,) = ended.err  # the log says it too
    assert body.strip() in line


async def test_insecure_takes_any_certificate(certificate: Certificate, tmp_path: Path) -> None:
    async with (
        wss_server(certificate) as upstream,
        proxy_command(upstream, "--insecure", data_dir=tmp_path, **OFF) as proxy,
    ):
        async with connect(proxy.url, proxy=None) as client:
            await assert_answered(client)
        ended = await proxy.end()
    assert (ended.code, ended.err) == (0, [])


async def test_unix_domain_sockets_on_both_sides(tmp_path: Path) -> None:
    listen, behind = tmp_path / "listen.sock", tmp_path / "agent.sock"
    seen: list[str] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.path)
        await answer(connection)

    with http_collector() as collector:
        otlp = f"http://127.0.0.1:{collector.port}"
        upstream = f"ws+unix:{behind}:/agent?x=1"
        async with (
            unix_serve(handler, str(behind)),
            proxy_command(
                upstream, "--otlp", otlp, data_dir=tmp_path, listen=f"unix:{listen}"
            ) as proxy,
        ):
            assert proxy.out[0].startswith(f"Debbie listens on unix:{listen} and passes on to ")
            async with unix_connect(str(listen), uri="ws://localhost/") as client:
                await assert_answered(client)
            ended = await proxy.end()
        spans = Spans(collector.received.traces)
    assert (ended.code, ended.err) == (0, [])
    assert seen == ["/agent?x=1"]
    assert not listen.exists()
    echoed = spans.one("echo").attributes
    assert (echoed["network.transport"], echoed["server.address"]) == ("unix", str(behind))
