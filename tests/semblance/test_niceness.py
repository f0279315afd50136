"""Threads that give way, where the system knows that of single threads."""

from __future__ import annotations

import os
import sys
import threading

import numpy as np
import pytest

from semblance import Batcher, Encoder
from semblance.errors import InputError
from semblance.niceness import give_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness is a process's")


def niceness_of_threads(batcher: Batcher, name: str) -> set[int]:
    found = [each.native_id for each in batcher._threads if each.name == f"semblance-{name}"]
    return {os.getpriority(os.PRIO_PROCESS, number) for number in found if number is not None}


def test_a_thread_and_those_it_starts_give_way_and_no_other() -> None:
    before, found = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), list[int]()

    def look() -> None:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def work() -> None:
        give_way(before + 3)
        look()
        child = threading.Thread(target=look)
        child.start()
        child.join()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before + 3, before + 3]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_a_batchers_threads_give_way_where_they_are_told() -> None:
    encoder = Encoder.load("siamese")
    with Batcher(encoder, niceness=7) as batcher:
        batcher.submit(np.zeros((28, 28), np.uint8)).result()
        assert niceness_of_threads(batcher, "decode") == {7}
        assert niceness_of_threads(batcher, "batch") == {7}
    with pytest.raises(InputError, match="niceness"):
        Batcher(encoder, niceness=-1)


def test_zero_asks_nothing() -> None:
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    give_way(0)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
