"""How many spans wait, and when they are sent: defaults, and `OTEL_BSP_*`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
)

from debbie_otel.errors import ConfigurationError


class SpoolOptions(msgspec.Struct, frozen=True):
    """How much is kept, and when it is sent.

    Attributes:
        queue: Spans that wait at most; about 3 KB each.
        batch: Spans in one export at most; four times the SDK's, as every request has its price.
        delay: Seconds after which also less than a batch is sent.
        first_retry: Seconds before the first repetition; doubles up to `last_retry`.
        refusals: Attempts at a batch that the receiver refuses, before it goes to the file.

    """

    queue: int = 65536
    batch: int = 2048
    delay: float = 1.0
    first_retry: float = 0.5
    last_retry: float = 10.0
    refusals: int = 3

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> SpoolOptions:
        """Read `OTEL_BSP_*`; raise ConfigurationError for what is no positive number."""
        options = cls()
        queue = _positive(environ, OTEL_BSP_MAX_QUEUE_SIZE, options.queue)
        return cls(
            queue=queue,
            batch=min(queue, _positive(environ, OTEL_BSP_MAX_EXPORT_BATCH_SIZE, options.batch)),
            delay=_positive(environ, OTEL_BSP_SCHEDULE_DELAY, int(options.delay * 1000)) / 1000,
        )


def _positive(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        raise ConfigurationError(name, f"{text!r} is no positive whole number")
    return int(text)
