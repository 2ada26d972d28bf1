"""A rule of one's own, on a metric of the program's: Debbie raises the alert.

    python examples/own_rule.py

In a configuration file it is a table `[[rules]]` with the same keys.
"""

from __future__ import annotations

import asyncio

from opentelemetry.sdk.metrics import MeterProvider

from debbie_otel import DebbieFactory
from debbie_otel.detection.settings import RuleSettings

CROWDED = RuleSettings(
    name="crowded", metric="shop.queue.length", aggregate="last", above=10, severity="high"
)


async def main() -> None:
    debbie = DebbieFactory.create_default(rules=[CROWDED], detection={"check_interval": 0.2})
    assert debbie.detector is not None

    # Debbie reads the program's metrics by a reader of its own, beside the exporter's.
    provider = MeterProvider([debbie.detector.metric_reader()])
    queue = provider.get_meter("shop").create_gauge("shop.queue.length")

    async with debbie:
        queue.set(12)
        async for transition in debbie.monitor.alerts():
            alert = transition.alert
            print(f"{transition.event}: {alert.alert_type} ({alert.severity}): {alert.message}")
            if transition.event == "resolved":
                break
            queue.set(3)  # somebody opens another till
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
