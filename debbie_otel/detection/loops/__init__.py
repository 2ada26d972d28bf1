"""Online repetition analysis: whether an agent goes round in circles.

`LoopDetector` takes in what one session does, call by call and chunk by chunk, and says when it
repeats itself. What counts as "the same again" is decided with care, because a false alarm costs
more than a late one: see `calls` (repeated calls, cycles, failures), `similar` (near-duplicates)
and `speech` (monologue, chanting).
"""

from debbie_otel.detection.loops.findings import LoopFinding, LoopKind, LoopSettings, LoopTier
from debbie_otel.detection.loops.loop_detector import LoopDetector
from debbie_otel.detection.loops.repetition import LoopSteps

__all__ = ["LoopDetector", "LoopFinding", "LoopKind", "LoopSettings", "LoopSteps", "LoopTier"]
