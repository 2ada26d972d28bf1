"""The end of the line: an OTLP receiver that can be down at first, and what arrived there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.integration.received import Spans
from tests.stack.peers import until
from tests.telemetry.collector import GrpcCollector, free_port, grpc_collector


class Sink:
    """A receiver on a port that is known before it listens there."""

    def __init__(self) -> None:
        self.port = free_port()
        self._receiver: GrpcCollector | None = None

    @property
    def endpoint(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Listen."""
        with grpc_collector(self.port) as receiver:
            self._receiver = receiver
            yield

    @property
    def spans(self) -> Spans:
        """All that has arrived, each span once: what is sent again after a fault may come twice."""
        assert self._receiver is not None
        spans = Spans(list(self._receiver.received.traces))
        spans.all = list(spans.by_id.values())
        spans.wire = [span for span in spans.wire if spans.by_id[span.span_id] is span]
        return spans

    async def wait_for(self, count: int) -> Spans:
        """Wait until that many different spans have arrived."""

        async def look() -> Spans | None:
            spans = self.spans
            return spans if len(spans.all) >= count else None

        spans = await until(look, f"{count} spans (got {len(self.spans.all)})")
        assert spans is not None
        return spans
