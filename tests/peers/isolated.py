"""A network of its own for a peer that would like to call home: only its model is reachable.

`unshare --net python -m tests.peers.isolated FOLDER COMMAND...` runs the command where there is a
loopback interface and nothing else. Unix sockets are the doors, as they are files and not network:
its port `SERVER_PORT` is reached from outside by FOLDER/server.sock, and what listens outside on
FOLDER/model.sock is reached from inside at `MODEL_PORT`.
"""

from __future__ import annotations

import asyncio
import fcntl
import signal
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.peers.between import ByteRecorder

SERVER_PORT = 7000
MODEL_PORT = 7001
SERVER_SOCKET = "server.sock"
MODEL_SOCKET = "model.sock"

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def raise_loopback() -> None:
    """Bring `lo` up, as `ip link set lo up` does (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


async def run(folder: Path, command: Sequence[str]) -> int:
    """Run the command until it ends, or until SIGTERM comes for both; return its exit code."""
    raise_loopback()
    async with (
        ByteRecorder(folder / MODEL_SOCKET).listening(MODEL_PORT),
        ByteRecorder(SERVER_PORT).listening(folder / SERVER_SOCKET),
    ):
        process = await asyncio.create_subprocess_exec(*command)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.terminate)
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(run(Path(sys.argv[1]), sys.argv[2:])))
