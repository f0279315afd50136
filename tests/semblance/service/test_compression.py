"""Compressed bodies, honest and not."""

from __future__ import annotations

import asyncio
import gzip
import os
import tracemalloc
import zlib

import pytest

from semblance.errors import Overloaded
from semblance.service.budget import ByteBudget
from semblance.service.compression import deflated, inflated
from semblance.service.problems import Problem

_MIB = 1 << 20


def _inflated(content: bytes, encoding: str, max_bytes: int = 64 * _MIB, budget: int = 1024 * _MIB) -> bytes:
    async def work() -> bytes:
        with ByteBudget(budget).share() as share:
            return await inflated(content, encoding, share, max_bytes)

    return asyncio.run(work())


@pytest.mark.parametrize("content", [b"", b"x", os.urandom(5 * _MIB), bytes(9 * _MIB)], ids=len)
def test_what_is_inflated_is_what_was_compressed(content: bytes) -> None:
    assert _inflated(gzip.compress(content, 1), "gzip") == content
    assert _inflated(gzip.compress(content, 1), " X-GZIP ") == content
    assert _inflated(zlib.compress(content, 1), "deflate") == content
    assert _inflated(content, "") == content
    assert _inflated(content, "identity") == content


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "zstd", "compress"])
def test_another_encoding_is_415_and_says_which_are_taken(encoding: str) -> None:
    with pytest.raises(Problem, match="not taken") as caught:
        _inflated(b"x", encoding)
    assert (caught.value.status, caught.value.headers) == (415, {"Accept-Encoding": "gzip, deflate"})


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\x1f\x8b", gzip.compress(b"abc" * 99)[:-9], gzip.compress(b"abc") + b"x", zlib.compress(b"abc")],
)
def test_damaged_content_is_400(content: bytes) -> None:
    with pytest.raises(Problem, match="is no gzip") as caught:
        _inflated(content, "gzip")
    assert caught.value.status == 400


def test_the_limit_is_met_to_the_byte() -> None:
    assert len(_inflated(gzip.compress(bytes(5 * _MIB)), "gzip", max_bytes=5 * _MIB)) == 5 * _MIB
    with pytest.raises(Problem, match="inflates to more than") as caught:
        _inflated(gzip.compress(bytes(5 * _MIB + 1)), "gzip", max_bytes=5 * _MIB)
    assert caught.value.status == 413


def test_a_bomb_is_not_laid_out() -> None:
    bomb = gzip.compress(bytes(200 * _MIB))
    tracemalloc.start()
    with pytest.raises(Problem, match="inflates to more than"):
        _inflated(bomb, "gzip", max_bytes=_MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * _MIB


def test_what_is_inflated_counts_against_the_budget() -> None:
    with pytest.raises(Overloaded):
        _inflated(gzip.compress(bytes(9 * _MIB)), "gzip", budget=8 * _MIB)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("", None),
        ("br", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.1, deflate;q=0.9", "deflate"),
        ("gzip;q=0", None),
        ("gzip;q=x", None),
        ("GZIP", "gzip"),
    ],
)
def test_an_answer_is_compressed_as_its_client_prefers(accepted: str, encoding: str | None) -> None:
    content = b"some words, " * 200
    packed, named = asyncio.run(deflated(content, accepted))
    assert named == encoding
    assert _inflated(packed, named or "") == content


def test_a_short_answer_stays_as_it_is() -> None:
    assert asyncio.run(deflated(b"short", "gzip")) == (b"short", None)
