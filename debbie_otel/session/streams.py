"""The streams of one session: runs of chunks, such as the words of an agent's answer."""

from __future__ import annotations

import msgspec

from debbie_otel.session.events import Event, StreamAdvanced, StreamEnded
from debbie_otel.session.message import InterceptedMessage
from debbie_otel.session.model import MAX_CONTENT, SessionInfo, Stream, Turn


class _Open(msgspec.Struct, eq=False):
    """An open stream; `told` is the length of its text so far where chunks repeat that."""

    key: tuple[str, str, str]
    stream: Stream
    told: int = 0


class Streams:
    """The open streams of one session: one at a time for each connection."""

    def __init__(self, info: SessionInfo) -> None:
        self._info = info
        self._open: dict[str, _Open] = {}

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
        run = self._open.get(key[0])
        if run is not None and (
            run.key != key or (turn is not None and run.stream.turn is not turn)
        ):
            self._end(key[0], time_ns, out)
            run = None
        if run is None:
            begun = Stream(
                session=self._info,
                method=message.method or "",
                kind=kind,
                direction=message.direction,
                first_ns=time_ns,
                last_ns=time_ns,
                turn=turn,
                since_ns=None if turn is None else turn.started_ns,
            )
            run = self._open[key[0]] = _Open(key, begun)
        stream = run.stream
        stream.count += 1
        stream.bytes += message.size
        stream.longest_gap_ns = max(stream.longest_gap_ns, time_ns - stream.last_ns)
        stream.last_ns = time_ns
        if total:
            told, run.told = run.told, len(text)
            text = text[told:] if len(text) >= told else text  # shorter: the text began anew
        if kind == "message" and turn is not None and len(turn.output or "") < MAX_CONTENT:
            turn.output = ((turn.output or "") + text)[:MAX_CONTENT]
        out.append(StreamAdvanced(self._info, time_ns, stream, text))
        if final:
            self._end(key[0], time_ns, out)

    def end_item(self, item: str, time_ns: int, out: list[Event]) -> None:
        """End the streams whose own key is `item`."""
        for connection in [name for name, run in self._open.items() if run.key[2] == item]:
            self._end(connection, time_ns, out)

    def end_connection(self, connection: str, time_ns: int, out: list[Event]) -> None:
        """End the stream of a connection that is gone."""
        if connection in self._open:
            self._end(connection, time_ns, out)

    def end_all_but_output(self, time_ns: int, out: list[Event]) -> None:
        """End the streams that a tool interrupts: all but those of tools' own output."""
        for connection in [name for name, run in self._open.items() if run.stream.kind != "output"]:
            self._end(connection, time_ns, out)

    def end_all(self, time_ns: int, out: list[Event], turn: Turn | None = None) -> None:
        """End the streams of a turn; of all turns without one."""
        for connection in [
            name for name, run in self._open.items() if turn is None or run.stream.turn is turn
        ]:
            self._end(connection, time_ns, out)

    def _end(self, connection: str, time_ns: int, out: list[Event]) -> None:
        stream = self._open.pop(connection).stream
        stream.ended_ns = time_ns
        out.append(StreamEnded(self._info, time_ns, stream))
