"""Requests as bytes, and answers read from pieces of any size."""

from __future__ import annotations

import pytest

from bench.service.wire import AnswerReader, embed_request, form, request

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-Length: 5\r\n\r\nhello"


def read(data: bytes, size: int) -> AnswerReader:
    """An answer that comes in pieces of `size` bytes; complete with the last and not before."""
    reader = AnswerReader()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    done = [reader.feed(each) for each in pieces]
    assert done == [False] * (len(pieces) - 1) + [True]
    return reader


@pytest.mark.parametrize("size", [1, 2, 7, 63, 1000])
def test_an_answer_is_read_from_any_pieces(size: int) -> None:
    reader = read(ANSWER, size)
    assert (reader.status, reader.body, reader.will_close) == (200, b"hello", False)
    assert reader.header("CONTENT-TYPE") == "text/plain"
    assert reader.header("x-nothing") is None


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_an_interim_answer_is_passed_over(size: int) -> None:
    assert read(b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, size).status == 200


def test_204_has_no_body() -> None:
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n", 9).body == b""


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nhel")
    assert not reader.feed(b"lo")
    assert reader.is_ended_by_close
    assert reader.will_close
    assert reader.body == b"hello"


def test_connection_close_is_seen() -> None:
    assert read(b"HTTP/1.1 408 x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 1000).will_close


def test_what_is_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no answer of HTTP/1\.1"):
        AnswerReader().feed(b"SSH-2.0-x\r\n\r\n")


def test_a_request_has_its_length() -> None:
    assert request("PUT", "/x", b"abc", {"A": "b"}) == (
        b"PUT /x HTTP/1.1\r\nHost: 127.0.0.1\r\nA: b\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert b"Content-Length" not in request("GET", "/x")
    assert b"Content-Length: 0" in request("POST", "/x")


def test_several_pictures_are_a_form() -> None:
    assert form([b"one", b"two"]) in embed_request([b"one", b"two"])
    assert embed_request([b"one"]).endswith(b"\r\n\r\none")
