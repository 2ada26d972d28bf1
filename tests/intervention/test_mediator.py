"""The mediator, by wire transcripts: no socket, no event loop."""

from __future__ import annotations

import json
from typing import Any

import pytest

from debbie_otel.errors import ChannelError
from debbie_otel.intervention.mediator import FORWARD, MAX_PENDING, Ids, Mediator, SessionNames
from tests.intervention.mediated import Mediated
from tests.play import Play

ASKED = '>> {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t","arguments":{}}}'
ASKED_ON = ASKED.replace(">>", "->")


def asked() -> Mediated:
    """A connection on which the client waits for the answer to its request 1."""
    it = Mediated()
    assert it.play(ASKED) == [ASKED_ON]
    return it


# -- nothing to do ---------------------------------------------------------------------------------


def test_without_an_act_every_message_is_the_very_same() -> None:
    mediator = Mediator(Play("acp").connection)
    for payload in (b'{"id":1,"method":"m"}', b"[]", b"{", b'[{"id":1,"result":1.10}]', b"\xff"):
        assert mediator.client_sent(payload) is FORWARD
        assert mediator.client_view(payload) is payload
        assert mediator.server_sent(payload) == [FORWARD]


# -- requests of Debbie's own ------------------------------------------------------------------------


def test_the_answer_to_an_injected_request_is_for_debbie_alone() -> None:
    it = asked()
    request = it.request("prompt")
    assert it.told[-1] == '-> {"jsonrpc":"2.0","id":1001,"method":"prompt"}'
    assert it.shown == [it.told[-1]]
    assert it.play(
        """
        << {"jsonrpc":"2.0","method":"news"}
        << {"jsonrpc":"2.0","id":1001,"result":{}}
        << {"jsonrpc":"2.0","id":1,"result":{}}
        """
    ) == [
        '<- {"jsonrpc":"2.0","method":"news"}',
        f"?? {request} answer",
        '<- {"jsonrpc":"2.0","id":1,"result":{}}',
    ]
    assert not it.mediator.expects_answers


def test_ids_are_of_the_clients_kind_and_never_taken() -> None:
    it = Mediated()
    it.play('>> {"id":"a","method":"x"}')
    assert it.request("prompt") == "debbie-1"
    it.play('>> {"id":"debbie-2","method":"x"}')
    assert it.request("prompt") == "debbie-3"
    ids = Ids()
    first = ids.new(numbered=True)
    assert isinstance(first, int)
    assert 1 << 51 < first < 1 << 53


def test_so_many_wait_and_no_more() -> None:
    it = Mediated()
    for _ in range(MAX_PENDING):
        it.request("prompt")
    with pytest.raises(ChannelError, match=f"{MAX_PENDING} requests"):
        it.request("prompt")


def test_what_could_not_be_sent_is_waited_for_no_more() -> None:
    it = asked()
    request = it.request("again", replaces=it.call(1))
    assert it.carry_out(it.mediator.unsent(request, "it is closed")) == [
        f"?? {request} fails: it is closed"
    ]
    assert it.carry_out(it.mediator.unsent(request, "it is closed")) == []
    assert it.play('<< {"id":1,"result":2}') == ['<- {"id":1,"result":2}']


def test_the_end_tells_who_waits_and_lets_through_what_was_held() -> None:
    it = asked()
    request = it.request("prompt")
    it.mediator.hold(it.call(1))
    assert it.play('<< {"id":1,"result":1}') == []
    assert it.carry_out(it.mediator.end("closed")) == [
        '<- {"id":1,"result":1}',
        f"?? {request} fails: closed",
    ]


# -- answers that are held back ----------------------------------------------------------------------


def test_a_held_answer_waits_for_its_release() -> None:
    it = asked()
    call = it.call(1)
    it.mediator.hold(call)
    assert it.play('<< {"id":1,"result":1.10}') == []
    assert it.play('<< {"method":"news"}') == ['<- {"method":"news"}']
    assert it.carry_out(it.mediator.release(call)) == ['<- {"id":1,"result":1.10}']
    assert it.carry_out(it.mediator.release(call)) == []


def test_released_before_it_comes_it_passes() -> None:
    it = asked()
    call = it.call(1)
    it.mediator.hold(call)
    assert it.carry_out(it.mediator.release(call)) == []
    assert it.play('<< {"id":1,"result":1}') == ['<- {"id":1,"result":1}']


RESPONSES = [
    r'{"jsonrpc":"2.0","result":{"n":1e999,"m":1.10},"id":ID}',
    r'{"id":ID,"result":{"a":1,"a":2},"_meta":{"x":NaN},"jsonrpc":"2.0"}',
    r'{"id":ID,"result":"\ud800"}',
    '{ "id" :\tID , "result" : [ ] }',
]


@pytest.mark.parametrize("response", RESPONSES)
def test_another_answer_in_its_place_keeps_every_byte_but_the_id(response: str) -> None:
    it = asked()
    call = it.call(1)
    it.mediator.hold(call)
    assert it.play('<< {"id":1,"result":{"isError":true}}') == []
    other = response.replace("ID", "1001").encode()
    assert it.carry_out(it.mediator.answer(call, other)) == [f"<- {response.replace('ID', '1')}"]
    with pytest.raises(ChannelError, match="not held"):
        it.mediator.answer(call, other)


@pytest.mark.parametrize("response", RESPONSES)
def test_so_does_the_answer_to_a_request_that_replaces_it(response: str) -> None:
    it = asked()
    it.request("again", replaces=it.call(1))
    assert it.play(f"<< {response.replace('ID', '1001')}") == [
        "?? 1001 answer",
        f"<- {response.replace('ID', '1')}",
    ]
    assert it.play('<< {"id":1,"result":"late"}') == []  # one answer, not two


def test_a_replacement_that_fails_lets_the_servers_own_answer_through() -> None:
    it = asked()
    it.request("again", replaces=it.call(1))
    assert it.play(
        """
        << {"id":1,"result":"own"}
        << {"id":1001,"error":{"code":1,"message":"no"}}
        """
    ) == ["?? 1001 error", '<- {"id":1,"result":"own"}']


def test_an_error_in_the_servers_place() -> None:
    it = asked()
    call = it.call(1)
    it.mediator.hold(call)
    (told,) = it.carry_out(it.mediator.fail(call, "given up"))
    assert json.loads(told[3:]) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": -32000, "message": "given up"},
    }
    assert it.play('<< {"id":1,"result":"late"}') == []


ODD_IDS = ["0.1000000000000000055", "1e400", "12345678901234567890123", r'"\u0061"', "null", "true"]


@pytest.mark.parametrize("raw", ODD_IDS)
def test_ids_go_back_as_they_came(raw: str) -> None:
    it = Mediated()
    it.play(f'>> {{"jsonrpc":"2.0","id":{raw},"method":"tools/call","params":{{"name":"t"}}}}')
    (call,) = it.stage.connection.pending_calls
    it.mediator.hold(call)
    assert it.carry_out(it.mediator.answer(call, b'{"id":7,"result":1}')) == [
        f'<- {{"id":{raw},"result":1}}'
    ]


def test_an_id_that_a_double_would_confuse_is_another_request() -> None:
    it = Mediated()
    it.play('>> {"id":0.1000000000000000055,"method":"tools/call","params":{"name":"t"}}')
    (call,) = it.stage.connection.pending_calls
    it.mediator.hold(call)
    assert it.play('<< {"id":0.1,"result":1}') == ['<- {"id":0.1,"result":1}']


def test_nothing_is_held_that_has_its_answer_or_beyond_the_limit() -> None:
    it = asked()
    call = it.call(1)
    it.play('<< {"id":1,"result":1}')
    with pytest.raises(ChannelError, match="already"):
        it.mediator.hold(call)
    for number in range(10, 10 + MAX_PENDING + 1):
        it.play(f'>> {{"id":{number},"method":"x"}}')
    for number in range(10, 10 + MAX_PENDING):
        it.mediator.hold(it.call(number))
    with pytest.raises(ChannelError, match=f"{MAX_PENDING} answers"):
        it.mediator.hold(it.call(10 + MAX_PENDING))


# -- batches -----------------------------------------------------------------------------------------


def two_asked() -> Mediated:
    it = Mediated()
    it.play('>> [{"id":1,"method":"a"},{"id":2,"method":"b"},{"method":"n"}]')
    return it


def test_a_batch_with_a_held_answer_comes_as_one_array() -> None:
    it = two_asked()
    call = it.call(1)
    it.mediator.hold(call)
    assert it.play('<< [{"id":1,"result":{"isError":true}},{"id":2,"result":1.10}]') == []
    assert it.carry_out(it.mediator.answer(call, b'{"id":9,"result":"good"}')) == [
        '<- [{"id":1,"result":"good"},{"id":2,"result":1.10}]'
    ]


def test_a_batch_waits_for_the_last_that_is_held() -> None:
    it = two_asked()
    one, two = it.call(1), it.call(2)
    it.mediator.hold(one)
    it.mediator.hold(two)
    assert it.play('<< [{"id":2,"result":2},{"id":1,"result":1}]') == []
    assert it.carry_out(it.mediator.release(two)) == []
    assert it.carry_out(it.mediator.release(one)) == [
        '<- [{"id":2,"result":2},{"id":1,"result":1}]'
    ]


def test_what_is_for_debbie_is_taken_out_of_a_batch() -> None:
    it = two_asked()
    it.request("prompt")
    assert it.play('<< [{"id":1,"result":1},{"id":1001,"result":2},{"id":2,"result":3}]') == [
        "?? 1001 answer",
        '<- [{"id":1,"result":1},{"id":2,"result":3}]',
    ]
    it.request("prompt")
    assert it.play('<< [{"id":1002,"result":2}]') == ["?? 1002 answer"]


def test_a_batch_without_what_is_expected_is_the_very_same() -> None:
    it = two_asked()
    it.request("prompt")
    assert it.play('<< [ {"id":1,"result":1} ]') == ['<- [ {"id":1,"result":1} ]']


# -- across a restart --------------------------------------------------------------------------------


def restarted(dialect: str = "acp") -> Mediated:
    it = Mediated(dialect)
    it.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"session/new","params":{}}
        << {"jsonrpc":"2.0","id":1,"result":{"sessionId":"main"}}
        """
    )
    it.carry_out(it.mediator.restarted("main", "main-2", None))
    return it


def test_names_change_where_the_dialect_has_them_and_nowhere_else() -> None:
    it = restarted()
    assert it.play(
        '>> {"id":2,"method":"session/prompt","params":{"sessionId":"main","branch":"main"}}'
    ) == ['-> {"id":2,"method":"session/prompt","params":{"sessionId":"main-2","branch":"main"}}']
    assert it.play(
        '<< {"method":"session/update","params":{"sessionId":"main-2","text":"main-2"}}'
    ) == ['<- {"method":"session/update","params":{"sessionId":"main","text":"main-2"}}']


@pytest.mark.parametrize(
    "spelled", [r'"sess/1é"', r'"sess\/1é"', r'"\u0073ess/1\u00e9"', r'"sess/1\u00E9"']
)
def test_a_name_is_known_however_json_spells_it(spelled: str) -> None:
    it = Mediated("acp")
    it.mediator.restarted("sess/1é", "new", None)
    assert it.play(
        f'>> {{"id":2,"method":"session/prompt","params":{{"sessionId":{spelled}}}}}'
    ) == ['-> {"id":2,"method":"session/prompt","params":{"sessionId":"new"}}']


def test_a_new_session_never_gets_a_name_that_the_client_uses() -> None:
    """A server that counts its sessions gives the old name to the next one."""
    it = restarted()
    (told,) = it.play('<< {"jsonrpc":"2.0","id":3,"result":{"sessionId":"main"}}')
    name = json.loads(told[3:])["result"]["sessionId"]
    assert name not in ("main", "main-2")
    prompt = '>> {"id":4,"method":"session/prompt","params":{"sessionId":%s}}'
    (sent,) = it.play(prompt % json.dumps(name))
    assert json.loads(sent[3:])["params"]["sessionId"] == "main"
    (sent,) = it.play(prompt % '"main"')
    assert json.loads(sent[3:])["params"]["sessionId"] == "main-2"


def test_a_later_name_takes_the_place_of_an_earlier_one() -> None:
    names, paths = SessionNames(), ["params.s"]
    names.learn("a", "b")
    names.learn("a", "c")
    assert names.to_server(b'{"params":{"s":"a"}}', paths) == b'{"params":{"s":"c"}}'
    assert names.to_client(b'{"params":{"s":"c"}}', paths) == b'{"params":{"s":"a"}}'
    assert names.to_client(b'{"params":{"s":"b"}}', paths) == b'{"params":{"s":"b"}}'
    assert names.server_name("a") == "c"
    names.learn("a", "a")
    assert names.server_name("a") == "a"


def test_requests_that_the_old_server_owed_are_answered() -> None:
    it = Mediated("acp")
    it.play(
        """
        >> {"jsonrpc":"2.0","id":1,"method":"session/prompt","params":{"sessionId":"s"}}
        >> {"jsonrpc":"2.0","id":2,"method":"session/list"}
        """
    )
    kept = it.call(1)
    request = it.request("ping")
    told = it.carry_out(it.mediator.restarted("s", "s", kept))
    assert told[0] == f"?? {request} fails: the session was restarted"
    assert json.loads(told[1][3:])["id"] == 2
    assert len(told) == 2
    again = it.request("session/prompt", replaces=kept)
    assert it.play(f'<< {{"id":{again},"result":{{"stopReason":"end_turn"}}}}') == [
        f"?? {again} answer",
        '<- {"id":1,"result":{"stopReason":"end_turn"}}',
    ]


@pytest.mark.parametrize("call_id", [0, "0", 1.5, None])
def test_an_open_question_of_the_old_server_keeps_its_id_to_itself(call_id: Any) -> None:
    it = Mediated("acp")
    raw = json.dumps(call_id)
    it.play(f'<< {{"id":{raw},"method":"fs/read_text_file","params":{{"sessionId":"s"}}}}')
    it.carry_out(it.mediator.restarted("s", "s", None))
    (told,) = it.play(f'<< {{"id":{raw},"method":"fs/read_text_file","params":{{"a":1}}}}')
    renamed = json.loads(told[3:])["id"]
    assert renamed != call_id
    assert it.play(f'>> {{"id":{json.dumps(renamed)},"result":"yes"}}') == [
        f'-> {{"id":{raw},"result":"yes"}}'
    ]
    assert it.play(f'>> {{"id":{raw},"result":"late, for no one"}}') == []


def test_after_another_restart_renamed_questions_have_no_server() -> None:
    it = Mediated("acp")
    it.play('<< {"id":1,"method":"fs/read_text_file","params":{}}')
    it.carry_out(it.mediator.restarted("s", "s", None))
    (told,) = it.play('<< {"id":1,"method":"fs/read_text_file","params":{}}')
    renamed = json.dumps(json.loads(told[3:])["id"])
    it.carry_out(it.mediator.restarted("s", "s", None))
    assert it.play(f'>> {{"id":{renamed},"result":"late"}}') == []


def test_in_a_batch_of_answers_only_what_has_no_server_is_taken_out() -> None:
    it = Mediated("acp")
    it.play('<< {"id":1,"method":"fs/read_text_file","params":{}}')
    it.carry_out(it.mediator.restarted("s", "s", None))
    assert it.play('>> [{"id":1,"result":1},{"id":3,"result":3}]') == ['-> [{"id":3,"result":3}]']
