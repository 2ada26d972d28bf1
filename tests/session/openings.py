"""How sessions of the dialects begin, as wire transcripts."""

from __future__ import annotations

import json

START = """
    >> {"jsonrpc":"2.0","id":1,"method":"startSession","params":{"userId":"u"}}
    << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1","status":1}}
"""


ACP_START = """
    >> {"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}
    << {"jsonrpc":"2.0","id":0,"result":{"protocolVersion":1,"agentInfo":{"name":"claude"}}}
    >> {"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}
    << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"s1"}}
    >> {"jsonrpc":"2.0","id":2,"method":"session/prompt","params":{"sessionId":"s1","prompt":[{"type":"text","text":"hi"}]}}
"""


def update(**fields: object) -> str:
    """Return a line of a transcript: an update of the session by the agent."""

    params = {"sessionId": "s1", "update": fields}
    return "<< " + json.dumps({"jsonrpc": "2.0", "method": "session/update", "params": params})


CODEX_START = """
    >> {"id":1,"method":"initialize","params":{"clientInfo":{"name":"x"}}}
    << {"id":1,"result":{}}
    >> {"id":2,"method":"thread/start","params":{"cwd":"/"}}
    << {"id":2,"result":{"thread":{"id":"T1"}}}
    >> {"id":3,"method":"turn/start","params":{"threadId":"T1","input":[{"type":"text","text":"go"}]}}
    << {"id":3,"result":{"turn":{"id":"t1","status":"inProgress"}}}
    << {"method":"turn/started","params":{"threadId":"T1","turn":{"id":"t1"}}}
"""


CODEX_DONE = (
    '<< {"method":"turn/completed","params":{"threadId":"T1","turn":{"id":"%s","status":"%s"}}}'
)

MCP_TOOL = '>> {"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"%s","_meta":{"progressToken":%s}}}'

MCP_PROGRESS = (
    '<< {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s}}'
)

MCP_LOG = '<< {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info"}}'

MCP_ASK = '<< {"jsonrpc":"2.0","id":%d,"method":"sampling/createMessage","params":{}}'
