"""Rewriting of heads: what is asked for changes, and no other byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debbie_otel.wire.handshake import MAX_HEAD_SIZE
from debbie_otel.wire.request_head import RequestRewriter, end_of_head, rewrite_head

HEAD = b"GET / HTTP/1.1\r\nX-Host: a\r\nhOST :\t old:1 \r\nCookie: a\r\nCookie:  b\r\n\r\n"
REWRITTEN = HEAD.replace(b"GET / ", b"GET /ws?x=\\1 ").replace(b"old:1", b"new:2")


def rewriter() -> RequestRewriter:
    return RequestRewriter(b"new:2", b"/ws?x=\\1")


def fed(data: bytes, step: int, it: RequestRewriter | None = None) -> bytes:
    it = it or rewriter()
    pieces = [it.receive_data(data[i : i + step]) for i in range(0, len(data), step)]
    return b"".join(pieces) + it.finish()


def test_only_what_is_asked_for_changes() -> None:
    assert rewrite_head(HEAD, None, None) == HEAD
    assert rewrite_head(HEAD, b"new:2", b"/ws?x=\\1") == REWRITTEN
    assert rewrite_head(HEAD, b"new:2", None) == HEAD.replace(b"old:1", b"new:2")


@pytest.mark.parametrize("target", [b"/ws", b"/?x=1", b"//", b"*", b"http://x/"])
def test_any_other_target_passes_as_sent(target: bytes) -> None:
    head = HEAD.replace(b" / ", b" " + target + b" ")
    assert rewrite_head(head, None, b"/other") == head


@given(st.integers(1, 400), st.binary(max_size=100))
def test_every_request_of_a_connection_is_rewritten_however_it_is_cut(
    step: int, noise: bytes
) -> None:
    body = HEAD + b"\r\n\r\nHost: body\r\n"
    with_body = b"POST /a HTTP/1.1\r\nContent-Length: %d\r\nHost: old:1\r\n\r\n" % len(body)
    upgrade = HEAD.replace(b"\r\nX-Host", b"\r\nUpgrade: websocket\r\nX-Host")
    frames = b"\x81\x05" + noise + HEAD
    sent = HEAD + with_body + body + upgrade + upgrade + frames
    wanted = REWRITTEN + with_body.replace(b"old:1", b"new:2") + body
    wanted += 2 * upgrade.replace(b" / ", b" /ws?x=\\1 ").replace(b"old:1", b"new:2") + frames
    assert fed(sent, step) == wanted


def test_chunked_bodies_end_the_rewriting() -> None:
    chunked = HEAD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    it = rewriter()
    assert fed(chunked + HEAD, 10**6, it).endswith(b"\r\n\r\n" + HEAD)
    assert it.done


@pytest.mark.parametrize("step", [1000, 10**6])
def test_too_long_a_head_passes_as_it_is(step: int) -> None:
    head = HEAD[:-2] + b"X: " + b"y" * MAX_HEAD_SIZE + b"\r\n\r\n"
    it = rewriter()
    held = 0
    for start in range(0, len(head), step):
        held += len(head[start : start + step]) - len(it.receive_data(head[start : start + step]))
        assert held <= MAX_HEAD_SIZE
    assert fed(head, step) == head


def test_nothing_is_held_where_nothing_is_configured() -> None:
    it = RequestRewriter(None, None)
    assert it.done
    assert it.receive_data(b"GE") == b"GE"


def test_what_is_held_passes_at_the_end() -> None:
    assert fed(HEAD[:-1], 5) == HEAD[:-1]


def test_end_of_head() -> None:
    assert end_of_head(HEAD) == len(HEAD)
    assert end_of_head(HEAD + b"more") == len(HEAD)
    assert end_of_head(b"GET /\n\nx") == 7
    assert end_of_head(HEAD[:-1]) == -1
