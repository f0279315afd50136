"""The limit on BLAS's threads is shared by whoever is at it, and taken back by the last."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from semblance.gallery import blas
from semblance.gallery.blas import blas_threads, one_blas_thread


def now() -> list[int]:
    """Of NumPy's: another library may have brought a BLAS of its own since."""
    return [each["num_threads"] for each in blas._blas().info()]


def test_inside_there_is_one_thread_and_afterwards_what_there_was() -> None:
    with threadpool_limits(3, user_api="blas"):
        assert blas_threads() == 3
        with one_blas_thread():
            assert set(now()) == {1}
        assert set(now()) == {3}


def test_a_thread_that_asks_meanwhile_hears_of_the_usual_number() -> None:
    usual = blas_threads()
    with ThreadPoolExecutor(1) as pool:
        with one_blas_thread():
            asked = pool.submit(blas_threads)
            time.sleep(0.05)
        assert asked.result() == usual


def test_an_error_inside_takes_the_limit_back() -> None:
    before = now()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert now() == before


def test_many_at_once() -> None:
    before = now()
    matrix = np.ones((200, 200), np.float32)

    def work(turn: int) -> set[int]:
        with one_blas_thread():
            matrix @ matrix
            time.sleep(turn % 3 / 1000)
            return set(now())

    with ThreadPoolExecutor(4) as pool:
        assert all(seen == {1} for seen in pool.map(work, range(60)))
    assert now() == before
