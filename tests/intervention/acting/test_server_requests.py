"""Requests of servers across a restart: who gets the answers of the client."""

from __future__ import annotations

import json
from typing import Any

import pytest

from debbie_otel.intervention.acting.server_requests import Questions
from tests.transports.acting import notification, request, result


def test_nothing_changes_as_long_as_nobody_has_left() -> None:
    questions = Questions()
    payload = request(1, "ask").encode()
    assert questions.to_client(payload) is payload
    assert questions.to_server(payload) is payload
    assert not questions


@pytest.mark.parametrize("call_id", [0, "0", 1.5, None])
def test_an_id_that_is_still_open_is_renamed_and_given_back(call_id: Any) -> None:
    questions = Questions()
    questions.leave([call_id])
    renamed = json.loads(questions.to_client(request(call_id, "ask", a=1).encode()))
    assert renamed["id"] != call_id
    assert renamed["params"] == {"a": 1}
    answer = questions.to_server(result(renamed["id"], "yes").encode())
    assert answer is not None
    assert json.loads(answer) == {"jsonrpc": "2.0", "id": call_id, "result": "yes"}
    assert questions.to_server(result(call_id, "for nobody").encode()) is None
    assert not questions


def test_ids_of_another_type_and_other_messages_pass() -> None:
    questions = Questions()
    questions.leave([0])
    for text in (request("0", "ask"), result(0, "an answer"), notification("n"), "[]", "{", "7"):
        payload = text.encode()
        assert questions.to_client(payload) is payload
    for text in (request(0, "ask"), result("0", "x"), notification("n"), "[]", "{"):
        payload = text.encode()
        assert questions.to_server(payload) is payload


def test_in_a_batch_only_what_is_for_nobody_is_taken_out() -> None:
    questions = Questions()
    questions.leave([1, 2])
    batch = f"[{result(1, 'x')},{result(3, 'y')}]".encode()
    left = questions.to_server(batch)
    assert left is not None
    assert [member["id"] for member in json.loads(left)] == [3]
    assert questions.to_server(f"[{result(2, 'x')}]".encode()) is None


def test_after_another_restart_renamed_questions_are_for_nobody() -> None:
    questions = Questions()
    questions.leave([1])
    renamed = json.loads(questions.to_client(request(1, "ask").encode()))["id"]
    questions.leave([renamed])
    assert questions.to_server(result(renamed, "late").encode()) is None
