"""Hard cases made by hand: recordings beside this file, and their labels in labels.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from debbie_otel.app.recording import read_recording
from tests.corpus.case import Case, Label

FOLDER = Path(__file__).parent


def load() -> Iterator[Case]:
    """Yield every case; a recording is named as its label is."""
    labels = msgspec.json.decode((FOLDER / "labels.json").read_bytes(), type=list[Label])
    for label in labels:
        messages = tuple(read_recording(FOLDER / f"{label.name}.jsonl"))
        yield Case(label=label, messages=messages)
