from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.servers import TranscriptClient, TranscriptServer

DATA = Path(__file__).parent / "data"


def recording(folder: Path, *lines: str) -> Path:
    path = folder / "transcript.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


ASK = '{"t": 0, "dir": "client->server", "msg": {"id": 1, "method": "ask"}}'
ANSWER = '{"t": 0.1, "dir": "server->client", "msg": {"id": 1, "result": "%s"}}'


@pytest.mark.parametrize("name", ["aiwhisperer", "acp", "codex"])
async def test_the_halves_fit(name: str) -> None:
    path = DATA / name / "transcript.jsonl"
    from_server = path.read_text().count('"dir": "server->client"')
    async with TranscriptServer(path) as server:
        assert await TranscriptClient(path).play(server.url) == from_server > 50


async def test_json_is_compared_by_value_not_by_text(tmp_path: Path) -> None:
    path = recording(tmp_path, ASK, ANSWER % "yes")
    async with TranscriptServer(path) as server, connect(server.url, proxy=None) as client:
        await client.send('{"method":"ask",   "id":1}')
        assert await client.recv() == '{"id": 1, "result": "yes"}'


async def test_the_client_names_the_line_that_differs(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    mine, other = tmp_path, tmp_path / "other"
    path = recording(mine, ASK, "", ANSWER % "no")
    async with TranscriptServer(recording(other, ASK, ANSWER % "yes")) as server:
        with pytest.raises(AssertionError, match=r"transcript.jsonl:3: expected .*no.*got .*yes"):
            await TranscriptClient(path).play(server.url)


async def test_the_server_names_the_line_that_differs(tmp_path: Path) -> None:
    path = recording(tmp_path, ASK, ANSWER % "yes")
    with pytest.raises(AssertionError, match=r"transcript.jsonl:1: expected .*ask.*got .*tell"):
        async with TranscriptServer(path) as server, connect(server.url, proxy=None) as client:
            await client.send('{"id": 1, "method": "tell"}')


async def test_silence_is_named(tmp_path: Path) -> None:
    path = recording(tmp_path, ASK, ANSWER % "yes")
    with pytest.raises(AssertionError, match=r":1: nothing came within 0.1 s, expected .*ask"):
        async with (
            TranscriptServer(path, timeout=0.1) as server,
            connect(server.url, proxy=None) as client,
        ):
            await client.wait_closed()


async def test_a_closed_connection_is_named(tmp_path: Path) -> None:
    path = recording(tmp_path, ASK, ANSWER % "yes")
    with pytest.raises(AssertionError, match=r":1: the connection was closed"):
        async with TranscriptServer(path) as server, connect(server.url, proxy=None):
            pass


async def test_a_connection_that_nobody_opens_is_named(tmp_path: Path) -> None:
    path = recording(tmp_path, ASK)
    with pytest.raises(AssertionError, match=r":1: connection 1 was not opened within 0.1 s"):
        async with TranscriptServer(path, timeout=0.1):
            pass


async def test_timing_of_the_recording(tmp_path: Path) -> None:
    path = recording(tmp_path, ASK, ANSWER % "yes")
    loop = asyncio.get_running_loop()
    async with TranscriptServer(path, speed=0.5) as server:
        started = loop.time()
        await TranscriptClient(path).play(server.url)
        assert 0.19 < loop.time() - started < 2
