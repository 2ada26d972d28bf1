"""The recording of AIWhisperer, and what is expected of it."""

from __future__ import annotations

from tests.play import DATA

RECORDING = DATA / "aiwhisperer" / "transcript.jsonl"
TREE = DATA / "aiwhisperer" / "spans.txt"
SESSION = "2d431cfb-ad36-4f39-8194-46765a9f82d4"


def expected_tree() -> list[str]:
    return [line for line in TREE.read_text().splitlines() if not line.startswith("#")]
