"""A tool server of a program that has set up OpenTelemetry: instrumented, and not changed.

    python examples/instrumented_server.py

`opentelemetry-instrument python server.py` does the same without a line.
"""

from __future__ import annotations

import asyncio
import json

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from debbie_otel import DebbieInstrumentor


async def serve_tools(connection: ServerConnection) -> None:
    """Add numbers, for whoever asks in MCP."""
    async for text in connection:
        request = json.loads(text)
        numbers = request["params"]["arguments"]["numbers"]
        result = {"content": [{"type": "text", "text": str(sum(numbers))}]}
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": result}
        await connection.send(json.dumps(answer))


async def ask(port: int) -> str:
    """Ask for a sum."""
    async with connect(f"ws://127.0.0.1:{port}", proxy=None) as connection:
        params = {"name": "add", "arguments": {"numbers": [2, 3]}}
        request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        await connection.send(json.dumps(request))
        answer: str = json.loads(await connection.recv())["result"]["content"][0]["text"]
        return answer


def line(span: ReadableSpan) -> str:
    return f"span {span.name} [{span.kind.name}]\n"


async def main() -> None:
    async with serve(serve_tools, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"2 + 3 = {await ask(port)}")


if __name__ == "__main__":
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
    DebbieInstrumentor().instrument(
        tracer_provider=tracer_provider, meter_provider=MeterProvider(), dialect="mcp"
    )
    asyncio.run(main())
    DebbieInstrumentor().uninstrument()
