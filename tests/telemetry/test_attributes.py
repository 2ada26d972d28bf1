from __future__ import annotations

import pytest

from debbie_otel.telemetry.attributes import LayeredAttributes, SharedAttributes


def test_two_layers_read_as_one() -> None:
    layered = LayeredAttributes(SharedAttributes({"session.id": "s"}), {"n": 1})
    assert dict(layered) == {"session.id": "s", "n": 1}
    assert (list(layered), len(layered)) == (["session.id", "n"], 2)
    with pytest.raises(KeyError):
        layered["other"]


def test_a_shared_layer_is_a_copy() -> None:
    given = {"session.id": "s"}
    shared = SharedAttributes(given)
    given["session.id"] = "t"
    assert (dict(shared), shared.encoded) == ({"session.id": "s"}, None)
