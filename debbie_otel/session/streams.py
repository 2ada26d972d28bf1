"""The streams of one session: runs of chunks, such as the words of an agent's answer."""

from __future__ import annotations

from collections import OrderedDict

from debbie_otel.session.events import Event, StreamAdvanced, StreamEnded
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import MAX_CONTENT, SessionInfo, Stream, Turn


class Streams:
    """The open streams of one session: at most one kind at a time for each connection."""

    def __init__(self, info: SessionInfo) -> None:
        self._info = info
        self._open: OrderedDict[tuple[str, str, str], Stream] = OrderedDict()
        self._totals: dict[tuple[str, str, str], int] = {}

    def advance(
        self,
        key: tuple[str, str, str],
        message: InterceptedMessage,
        out: list[Event],
        *,
        turn: Turn | None,
        text: str,
        total: bool = False,
        final: bool = False,
    ) -> None:
        """Add a chunk to its stream; a chunk of another kind ends the streams of its connection.

        Args:
            key: Connection, kind, and what else distinguishes streams.
            message: The notification that carries the chunk.
            out: Gets the events.
            turn: Its turn.
            text: What the chunk says; all so far if `total`.
            total: Whether `text` repeats what was said before.
            final: Whether it is the last of its stream.

        """
        time_ns, kind = message.time_ns, key[1]
        stream = self._open.get(key)
        if stream is not None and turn is not None and stream.turn is not turn:
            self._end(key, time_ns, out)
            stream = None
        if stream is None:
            for other in [other for other in self._open if other[0] == key[0]]:
                self._end(other, time_ns, out)
            stream = self._open[key] = Stream(
                session=self._info,
                method=message.method or "",
                kind=kind,
                direction=message.direction,
                first_ns=time_ns,
                last_ns=time_ns,
                turn=turn,
                since_ns=None if turn is None else turn.started_ns,
            )
        stream.count += 1
        stream.bytes += message.size
        stream.longest_gap_ns = max(stream.longest_gap_ns, time_ns - stream.last_ns)
        stream.last_ns = time_ns
        if total:
            seen = self._totals.get(key, 0)
            self._totals[key] = len(text)
            text = text[seen:] if len(text) >= seen else text  # shorter: the text began anew
        if kind == "message" and turn is not None and len(turn.output or "") < MAX_CONTENT:
            turn.output = ((turn.output or "") + text)[:MAX_CONTENT]
        out.append(StreamAdvanced(self._info, time_ns, stream, text))
        if final:
            self._end(key, time_ns, out)

    def end_item(self, item: str, time_ns: int, out: list[Event]) -> None:
        """End the streams whose own key is `item`."""
        for key in [key for key in self._open if key[2] == item]:
            self._end(key, time_ns, out)

    def end_connection(self, connection: str, time_ns: int, out: list[Event]) -> None:
        """End the streams of a connection that is gone."""
        for key in [key for key in self._open if key[0] == connection]:
            self._end(key, time_ns, out)

    def end_all_but_output(self, time_ns: int, out: list[Event]) -> None:
        """End the streams that a tool interrupts: all but those of tools' own output."""
        for key in [key for key, stream in self._open.items() if stream.kind != "output"]:
            self._end(key, time_ns, out)

    def end_all(self, time_ns: int, out: list[Event], turn: Turn | None = None) -> None:
        """End the streams of a turn; of all turns without one."""
        for key in [key for key, s in self._open.items() if turn is None or s.turn is turn]:
            self._end(key, time_ns, out)

    def _end(self, key: tuple[str, str, str], time_ns: int, out: list[Event]) -> None:
        stream = self._open.pop(key)
        self._totals.pop(key, None)
        stream.ended_ns = time_ns
        out.append(StreamEnded(self._info, time_ns, stream))
