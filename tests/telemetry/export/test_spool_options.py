from __future__ import annotations

import pytest

from debbie_otel.errors import ConfigurationError
from debbie_otel.telemetry.export.spool_options import SpoolOptions


def test_options_from_the_environment() -> None:
    options = SpoolOptions.from_environ(
        {
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "300",
            "OTEL_BSP_SCHEDULE_DELAY": "250",
        }
    )
    assert (options.queue, options.batch, options.delay) == (100, 100, 0.25)
    assert SpoolOptions.from_environ({"OTEL_BSP_SCHEDULE_DELAY": ""}) == SpoolOptions()
    with pytest.raises(ConfigurationError, match="OTEL_BSP_MAX_QUEUE_SIZE: 'many'"):
        SpoolOptions.from_environ({"OTEL_BSP_MAX_QUEUE_SIZE": "many"})
