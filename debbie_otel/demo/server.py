"""JSON-RPC 2.0 on a WebSocket, answered as AIWhisperer answers it, errors included.

One socket is served strictly one message after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

PATH = "/ws"

PARSE_ERROR = (-32700, "Parse error")
INVALID_REQUEST = (-32600, "Invalid Request")
METHOD_NOT_FOUND = (-32601, "Method not found")
INVALID_PARAMS = -32602
AGENT_ERROR = -32001

Params = dict[str, Any]
Method = Callable[[ServerConnection, Params], Awaitable[Any]]


class RpcError(Exception):
    """A method's answer is an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class CommandError(Exception):
    """A command is unknown, which is answered in a form of its own."""


class JsonRpcServer:
    """Listens at `ws://HOST:PORT/ws`; an async context manager.

    Args:
        host: To listen on.
        port: To listen on; 0 takes a free one.

    """

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._methods: dict[str, Method] = {}
        self._server: Server | None = None
        self._stopping = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start to listen."""
        self._server = await serve(
            self._serve, *self._address, process_request=_only_our_path, max_size=2**24
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection; methods that wait for `_stopping` end."""
        assert self._server is not None
        self._stopping.set()
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://{self._address[0]}:{self.port}{PATH}"

    async def _serve(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                answer = await self._answer(connection, text)
                if answer is not None:
                    await connection.send(dumps(answer))

    async def _answer(self, connection: ServerConnection, text: str | bytes) -> Params | None:
        """Handle one message; None where a notification wants no answer."""
        try:
            request = json.loads(text)
        except (ValueError, RecursionError):
            return _error(None, *PARSE_ERROR)
        if not isinstance(request, dict):
            return _error(None, *INVALID_REQUEST)
        call_id, method = request.get("id"), request.get("method")
        if request.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return _error(call_id, *INVALID_REQUEST)
        answer = await self._call(connection, method, request.get("params"), call_id)
        return answer if "id" in request else None

    async def _call(
        self, connection: ServerConnection, method: str, params: Any, call_id: Any
    ) -> Params:
        handler = self._methods.get(method)
        if handler is None:
            return _error(call_id, *METHOD_NOT_FOUND)
        try:
            result = await handler(connection, params if isinstance(params, dict) else {})
        except CommandError as error:
            return {"error": str(error), "id": call_id}  # malformed, as the real one's is
        except RpcError as error:
            return _error(call_id, error.code, error.message)
        return {"jsonrpc": "2.0", "id": call_id, "result": result}


def text_of(params: Params, key: str) -> str:
    """Return a parameter that must be a text; raise RpcError."""
    value = params.get(key)
    if not isinstance(value, str):
        what = "Missing required parameter or invalid format"
        raise RpcError(INVALID_PARAMS, f"Invalid params: {what}: {key}")
    return value


def dumps(message: Params) -> str:
    """Encode a message."""
    return json.dumps(message, ensure_ascii=False)


def _error(call_id: Any, code: int, message: str) -> Params:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}


def _only_our_path(connection: ServerConnection, request: Request) -> Response | None:
    if request.path.partition("?")[0] == PATH:
        return None
    return connection.respond(http.HTTPStatus.NOT_FOUND, f"the agent is at {PATH}\n")
