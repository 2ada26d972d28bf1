"""The executor: what it takes a strategy's word for, and what it does without one."""

from __future__ import annotations

import pytest

from debbie_otel.intervention.attempt import Attempt, InterventionExecutor
from debbie_otel.intervention.intervention_config import InterventionConfig
from debbie_otel.intervention.recovery import RecoveryWatch
from debbie_otel.intervention.steps import Done, DoneKind
from tests.intervention import alerts
from tests.intervention.stage import ENDS, LivePlay

Said = Done | bool | None


async def execute(strategy: str, said: Said = None, live: LivePlay | None = None) -> Done:
    async def strategy_of_a_user(attempt: Attempt) -> Said:
        assert attempt.session.info.id == attempt.alert.session_id
        assert [call.method for call in attempt.calls] == ["sendUserMessage"]
        return said

    live = live or LivePlay()
    executor = InterventionExecutor(InterventionConfig(), live)
    executor.register("mine", strategy_of_a_user)
    alert = alerts.alert()
    return await executor.execute(alert, strategy, 0, RecoveryWatch(alert), live.clock())


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (None, DoneKind.ACTED),
        (True, DoneKind.ACTED),
        (False, DoneKind.FAILED),
        (Done.acted("said"), DoneKind.ACTED),
        (Done.impossible("dialect", "no way"), DoneKind.IMPOSSIBLE),
    ],
)
async def test_what_a_strategy_returns(said: Said, kind: DoneKind) -> None:
    done = await execute("custom:mine", said)
    assert done.kind is kind
    assert done is said or not isinstance(said, Done)


async def test_a_strategy_that_is_not_known() -> None:
    done = await execute("custom:other")
    assert (done.kind, done.reason) == (DoneKind.IMPOSSIBLE, "unknown")


async def test_a_session_that_is_gone_cannot_be_acted_on() -> None:
    live = LivePlay()
    live.tell(ENDS)
    done = await execute("custom:mine", None, live)
    assert (done.kind, done.reason) == (DoneKind.IMPOSSIBLE, "no_channel")
