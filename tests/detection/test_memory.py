"""Memory of real processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator

import pytest

from debbie_otel.detection.detector import AnomalyDetector
from debbie_otel.detection.memory import MemoryWatch, listener, resident
from debbie_otel.detection.settings import DetectionSettings
from tests.play import C2S, S2C, SECOND, Play

MB = 10**6
FLOOR = 32 << 20
AGENT = textwrap.dedent(
    """
    import socket, subprocess, sys
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    child = None
    for line in sys.stdin:
        if line == "grow\\n":
            hold = (
                "import sys; data = bytearray(b'x') * 100_000_000; print(flush=True);"
                "sys.stdin.readline()"
            )
            child = subprocess.Popen(
                [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            child.stdout.readline()
        else:
            child.communicate(b"\\n")
        print("done", flush=True)
    """
)


class Agent:
    """A process that listens, and whose child takes 100 MB when it is told to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self._line())

    def tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self._line() == "done\n"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture
def agent() -> Iterator[Agent]:
    it = Agent()
    yield it
    it.end()


class Looks:
    """A detector with a live session, that looks every five seconds."""

    def __init__(self, find: Callable[[], int | None], session: str | None = "s1") -> None:
        self.watch = MemoryWatch(find, FLOOR)
        self.detector = AnomalyDetector(DetectionSettings(), memory=self.watch)
        self.stage = Play()
        self.now = 0
        if session is not None:
            self.speak(session)

    def speak(self, session: str) -> None:
        """Have a session do something, so that it is the busiest."""
        before = len(self.stage.events)
        self.stage.current, self.stage.now = session, self.now
        self.stage.send(C2S, b'{"id":1,"method":"startSession","params":{"userId":"u"}}')
        answer = f'{{"id":1,"result":{{"sessionId":"{session}","status":1}}}}'
        self.stage.send(S2C, answer.encode())
        for event in self.stage.events[before:]:
            self.detector.observe(event)

    def look(self, count: int = 1) -> list[str]:
        told = []
        for _ in range(count):
            self.now += 5 * SECOND
            for transition in self.detector.check(self.now):
                alert = transition.alert
                told.append(f"{transition.event} {alert.session_id} {alert.alert_type}")
        return told


def test_memory_that_grows_is_told_with_its_baseline_and_is_over_when_it_is_freed(
    agent: Agent,
) -> None:
    looks = Looks(lambda: listener(agent.port))
    assert looks.look(4) == []
    base = looks.watch.current
    assert 1 * MB < base < 60 * MB
    agent.tell("grow")
    assert looks.look() == ["alert s1 memory_spike"]
    (alert,) = looks.detector.active
    assert looks.watch.current > base + 95 * MB
    assert alert.severity == "medium"
    assert alert.since_ns == 20 * SECOND  # the last look at which all was well
    assert alert.message.startswith(f"Memory at {looks.watch.current / 1e6:.0f} MB, usually ")
    assert alert.details["metric"] == "debbie.control.memory.ratio"
    assert alert.details["subject"] == str(agent.process.pid)
    assert alert.details["threshold"] == 1.5
    assert alert.details["value"] == pytest.approx(looks.watch.current / base, rel=0.2)
    assert looks.look(2) == []
    agent.tell("free")
    assert looks.look() == ["resolved s1 memory_spike"]
    looks.detector.shutdown()


def test_what_a_server_needs_for_its_first_session_is_no_spike(agent: Agent) -> None:
    """A server that starts its first thread, or a bridge its agent, once was one for ever."""
    looks = Looks(lambda: agent.process.pid, session=None)
    assert looks.look(6) == []
    before = looks.watch.current
    agent.tell("grow")
    looks.speak("s1")
    assert looks.look(20) == []
    assert looks.watch.current > before + 95 * MB


def test_one_spike_is_one_alert_whoever_is_busiest(agent: Agent) -> None:
    looks = Looks(lambda: agent.process.pid)
    looks.look(4)
    agent.tell("grow")
    assert looks.look() == ["alert s1 memory_spike"]
    looks.now += SECOND
    looks.speak("s2")
    assert looks.look(3) == []
    # An urgent look at that session does not measure, and so concludes nothing.
    looks.detector.urgent.add("s1")
    assert looks.detector.check_urgent(looks.now + SECOND) == []
    looks.detector.shutdown()


def test_a_process_that_ends_ends_its_alert_and_the_next_one_has_its_own_baseline(
    agent: Agent,
) -> None:
    found: list[int | None] = [agent.process.pid]
    looks = Looks(lambda: found[0])
    looks.look(4)
    agent.tell("grow")
    looks.look()
    agent.end()
    found[0] = None
    assert looks.look() == ["resolved s1 memory_spike"]
    assert looks.watch.current == 0
    successor = Agent()
    try:
        found[0] = successor.process.pid
        successor.tell("grow")
        assert looks.look(5) == []
        assert looks.watch.current > 100 * MB
    finally:
        successor.end()
    looks.detector.shutdown()


def test_where_there_is_no_process_the_search_becomes_rare() -> None:
    asked = []
    watch = MemoryWatch(lambda: asked.append(look), FLOOR)
    for look in range(200):
        assert watch(look * 5 * SECOND) is None
    assert asked == [0, 1, 3, 7, 15, 31, 63, 124, 185]


def test_the_process_that_listens_on_a_port(agent: Agent) -> None:
    assert listener(agent.port) == agent.process.pid
    agent.end()
    assert listener(agent.port) is None


def test_a_process_that_is_gone_has_no_memory(agent: Agent) -> None:
    assert (resident(agent.process.pid) or 0) > MB
    agent.process.kill()
    agent.process.wait()
    assert resident(agent.process.pid) is None


def test_a_process_that_nobody_waited_for_has_no_memory_either() -> None:
    with subprocess.Popen([sys.executable, "-c", "print('up')"], stdout=subprocess.PIPE) as ended:
        assert ended.stdout is not None
        ended.stdout.read()  # its end: the process is gone, or about to be
        watch = MemoryWatch(lambda: ended.pid, FLOOR)
        while resident(ended.pid) is not None:
            pass
        assert watch(0) is None
        assert watch.current == 0
