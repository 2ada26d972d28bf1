"""What the tests of integrations share: Debbie, a conversation, and what arrives of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from debbie_otel import DebbieFactory
from debbie_otel.demo.script import ScriptedTurn, ToolCall
from tests.integration.received import Spans
from tests.telemetry.collector import HttpCollector

MESSAGES = "How many RFCs?\nWhich one first?\n"
SCRIPT = (
    ScriptedTurn(text="There are three.", tools=(ToolCall("list_rfcs"),)),
    ScriptedTurn(text="Caching."),
)
ANSWERS = ["There are three.", "Caching."]
CALLS = [
    "startSession",
    "invoke_agent aiwhisperer",
    "invoke_agent aiwhisperer",
    "stopSession",
]


class Stage:
    """Debbie, where her telemetry arrives, and a conversation to have.

    Attributes:
        debbie: Not started.
        conversation: A file.

    """

    def __init__(self, folder: Path, collector: HttpCollector, **changes: Any) -> None:
        self._collector = collector
        self.conversation = folder / "conversation.txt"
        self.conversation.write_text(MESSAGES)
        self.debbie = DebbieFactory.create_default(
            telemetry={"data_dir": folder, "otlp": f"http://127.0.0.1:{collector.port}"}, **changes
        )

    @property
    def spans(self) -> Spans:
        """What has arrived."""
        return Spans(self._collector.received.traces)

    @property
    def calls(self) -> list[str]:
        """Names of the spans of what the client asked, in order."""
        asked = [span for span in self.spans.wire if span.kind == "CLIENT"]
        return [span.name for span in sorted(asked, key=lambda span: span.start)]
