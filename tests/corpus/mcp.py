"""MCP's wire, and that of a JSON-RPC service that no dialect describes."""

from __future__ import annotations

from tests.corpus.speaker import Speaker
from tests.corpus.words import Use

_TOOLS = ("read_file", "edit_file", "search_files", "run_command", "list_directory", "fetch_url")


class Mcp(Speaker):
    """An MCP server; the session is the connection, and there are no turns."""

    dialect = "mcp"

    def open(self) -> None:
        client = {"name": "assistant", "version": "3.2.0"}
        params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        server = {"name": "workspace", "version": "1.12.0"}
        answer = {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": server,
        }
        self.call("initialize", params, 0.05, answer)
        self.tell("notifications/initialized")
        schema = {"type": "object"}
        tools = [{"name": name, "inputSchema": schema} for name in _TOOLS]
        self.call("tools/list", {}, 0.01, {"tools": tools})
        self.wire.pause(0.5, 4.0)

    def begin(self, prompt: str) -> None:
        self.wire.pause(1.0, 4.0)  # the model thinks elsewhere

    def start(self, use: Use) -> str:
        token = next(self.server_ids)
        params = {"name": use.name, "arguments": use.arguments, "_meta": {"progressToken": token}}
        return f"{self.request('tools/call', params)}/{token}"

    def progress(self, key: str, text: str) -> None:
        params = {"progressToken": int(key.split("/")[1]), "progress": 1, "message": text}
        self.notify("notifications/progress", params)

    def end(self, key: str, output: str, *, failed: bool = False) -> None:
        content = [{"type": "text", "text": output}]
        self.result(int(key.split("/")[0]), {"content": content, "isError": failed})

    def finish(self) -> None:
        self.wire.pause(0.5, 3.0)

    def await_user(self, use: Use) -> int:
        schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
        params = {"message": f"May I {use.title}?", "requestedSchema": schema}
        return self.ask("elicitation/create", params)

    def user_answers(self, number: int) -> None:
        self.reply(number, {"action": "accept", "content": {"ok": True}})

    def ping(self) -> None:
        """Let the client see whether the server lives."""
        self.call("ping", {}, 0.002, {})


class Generic(Speaker):
    """Plain JSON-RPC with methods of its own; tools are methods."""

    dialect = "generic"

    def open(self) -> None:
        self.call("hello", {"client": "console"}, 0.02, {"ok": True, "version": "7"})
        self.wire.pause(0.5, 2.0)

    def begin(self, prompt: str) -> None:
        self.wire.pause(0.5, 3.0)

    def start(self, use: Use) -> str:
        return str(self.request(method_of(use), use.arguments))

    def end(self, key: str, output: str, *, failed: bool = False) -> None:
        if failed:
            self.error(int(key), -32000, output)
        else:
            self.result(int(key), {"rows": output.splitlines(), "total": len(output)})

    def finish(self) -> None:
        self.wire.pause(0.3, 2.0)


def method_of(use: Use) -> str:
    """Return the method by which a plain service offers a tool."""
    noun, _, verb = use.name.partition("_")
    return f"workspace.{verb}.{noun}"
