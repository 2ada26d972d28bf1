from __future__ import annotations

import pytest

from debbie_otel.errors import DialectError
from debbie_otel.session.dialect.dialect import Dialect
from debbie_otel.session.dialect.registry import builtin_dialects
from tests.session.parsing import message


def test_the_built_in_dialects() -> None:
    assert list(builtin_dialects()) == ["acp", "aiwhisperer", "codex", "generic", "mcp"]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}', "acp"),
        (
            b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}',
            "mcp",
        ),
        (b'{"id":0,"method":"initialize","params":{"clientInfo":{}}}', "codex"),
        (b'{"jsonrpc":"2.0","id":1,"method":"startSession","params":{}}', "aiwhisperer"),
        (b'{"jsonrpc":"2.0","method":"StreamingUpdate","params":{}}', "aiwhisperer"),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/prompt","params":{}}', "acp"),
        (b'{"id":1,"method":"turn/start","params":{}}', "codex"),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}', "mcp"),
        (b'{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}', None),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', None),
    ],
)
def test_a_dialect_is_known_by_its_messages(payload: bytes, expected: str | None) -> None:
    found = [d.name for d in builtin_dialects().values() if d.recognises(message(payload))]
    assert found == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("params", "named"),
    [
        (b'{"sessionId":"s"}', "s"),
        (b'{"big":[1,{"sessionId":"deep"}],"sessionId":"s"}', "s"),
        (b'{"metadata":{"sessionId":"inner"}}', "inner"),
        (b'{"metadata":"text"}', None),
        (b'{"sessionId":5}', "5"),
        (b'{"sessionId":""}', None),
        (b"[1]", None),
        (b"null", None),
    ],
)
def test_sessions_are_named_in_params(params: bytes, named: str | None) -> None:
    dialect = builtin_dialects()["aiwhisperer"]
    found, _ = dialect.session_and_trace(message(b'{"method":"m","params":' + params + b"}"))
    assert found == named


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "mine.toml: no valid TOML"),
        ("title = 'x'", "mine.toml: Object missing required field `name`"),
        ("name = 'x'\nsurprise = 1", "mine.toml: Object contains unknown field `surprise`"),
        (
            "name = 'x'\n[[rule]]\nmethod = 'm'\nrole = 'dance'",
            "mine.toml: Invalid enum value 'dance' - at `$.rule[0].role`",
        ),
        (
            "name = 'x'\n[[rule]]\nmethod = 'm'\nrole = 'fail'\nwhen = {'result.x' = '$nul'}",
            "mine.toml: unknown word $nul for result.x (known: $null",
        ),
    ],
)
def test_a_wrong_dialect_is_refused_with_the_place(text: str, complaint: str) -> None:
    with pytest.raises(DialectError) as caught:
        Dialect.from_toml(text, "mine.toml")
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ('{"sessionId":"s","x":"%s"}', "s"),
        ('{"x":"%s","sessionId":"s"}', "s"),
        ('{"x":"%s"}', None),
    ],
)
def test_big_messages_name_their_session_at_either_end(params: str, named: str | None) -> None:
    dialects = builtin_dialects()
    payload = b'{"method":"m","params":' + (params % ("y" * 9000)).encode() + b"}"
    for name in ("generic", "acp"):
        found, _ = dialects[name].session_and_trace(message(payload))
        assert found == named


PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
OTHER = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"


@pytest.mark.parametrize(
    ("name", "members", "expected"),
    [
        ("mcp", '"params":{"_meta":{"traceparent":"%s","tracestate":"k=v"}}', (PARENT, "k=v")),
        ("mcp", '"params":{"_meta":{"traceparent":"%s"},"x":[{"y":"%s"}]}', (PARENT, "")),
        ("mcp", '"params":{"_meta":{"traceparent":5}}', None),
        ("mcp", '"params":{"_meta":5}', None),
        ("mcp", '"params":{},"trace":{"traceparent":"%s"}', None),
        ("codex", '"params":{},"trace":{"traceparent":"%s","tracestate":null}', (PARENT, "")),
        ("codex", '"trace":{"traceparent":"%s","tracestate":"k=v"},"params":{}', (PARENT, "k=v")),
        ("codex", '"trace":"%s"', (PARENT, "")),
        ("codex", '"params":{"_meta":{"traceparent":"%s"}}', (PARENT, "")),
        ("codex", '"params":{"_meta":{"traceparent":"OTHER"}},"trace":"%s"', (PARENT, "")),
        ("codex", '"params":{"_meta":{"traceparent":"%s"}},"trace":null', (PARENT, "")),
        ("codex", '"params":{"threadId":5,"_meta":{"traceparent":"%s"}}', (PARENT, "")),
        ("codex", '"trace":[NaN],"params":{"_meta":{"traceparent":"%s"}}', (PARENT, "")),
        ("codex", '"params":{"pad":"BIG"},"trace":{"traceparent":"%s"}', (PARENT, "")),
    ],
)
def test_a_request_carries_a_trace_context_where_its_dialect_says(
    name: str, members: str, expected: tuple[str, str] | None
) -> None:
    text = members.replace("%s", PARENT).replace("OTHER", OTHER).replace("BIG", "x" * 9000)
    request = message(b'{"id":1,"method":"m",' + text.encode() + b"}")
    _, trace = builtin_dialects()[name].session_and_trace(request)
    assert (trace and (trace.traceparent, trace.tracestate)) == expected


def test_the_sign_of_a_version_is_the_dialects_or_nobodys() -> None:
    found = {name: dialect.versioned for name, dialect in builtin_dialects().items()}
    assert found == {
        "acp": True,
        "aiwhisperer": None,
        "codex": False,
        "generic": None,
        "mcp": True,
    }
