"""What may be read and decoded, and how much at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from semblance.errors import ImageError, InputError
from semblance.inputs import limits as module
from semblance.inputs.decode import decode
from semblance.inputs.formats.base import Header
from semblance.inputs.limits import Limits, check_pixels, read_file, room_for


@pytest.fixture
def _one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_num_processors", lambda: 1)


def test_limits_are_counts() -> None:
    with pytest.raises(InputError, match="max_pixels"):
        Limits(max_pixels=0)
    with pytest.raises(InputError, match="max_bytes"):
        Limits(max_bytes=-1)


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(bytes(11))
    assert read_file(path, Limits(max_bytes=11)) == bytes(11)
    with pytest.raises(ImageError, match=r"a\.png: 11 bytes, the limit is 10; raise it"):
        read_file(path, Limits(max_bytes=10))


def test_pixels_that_take_more_memory_count_twice() -> None:
    assert check_pixels(5, 8, "any", Limits(max_pixels=40)) == 40
    assert check_pixels(5, 8, "any", Limits(max_pixels=80), weight=2) == 80
    with pytest.raises(ImageError, match="5 x 8 = 40 pixels, which count 2 times in this kind of picture, the limit"):
        check_pixels(5, 8, "any", Limits(max_pixels=79), weight=2)
    weights = {
        Header("PNG", 1, 1, "rgb"): 1,
        Header("PNG", 1, 1, "rgb", 8, "straight"): 1,
        Header("PNG", 1, 1, "grey", 16): 1,
        Header("PNG", 1, 1, "grey", 16, "straight"): 2,
        Header("TIFF", 1, 1, "rgb", 16): 2,
        Header("AVIF", 1, 1, "grey"): 2,
        Header("JPEG", 1, 1, "cmyk"): 2,
        Header("TIFF", 1, 1, "cmyk"): 1,
        Header("WebP", 1, 1, "rgb", is_animated=True): 2,
        Header("GIF", 1, 1, "palette", is_animated=True): 1,
        Header("JPEG", 1, 1, "rgb"): 1,
    }
    assert {header: header.weight for header in weights} == weights


@pytest.mark.usefixtures("_one_processor")
def test_threads_never_decode_more_at_a_time_than_there_is_room_for() -> None:
    limits, lock = Limits(max_pixels=30_000_000), threading.Lock()
    now = most = num_together = most_together = 0

    def work(num_pixels: int) -> None:
        nonlocal now, most, num_together, most_together
        with room_for(num_pixels, limits):
            with lock:
                now, num_together = now + num_pixels, num_together + 1
                most, most_together = max(most, now), max(most_together, num_together)
            time.sleep(0.001)
            with lock:
                now, num_together = now - num_pixels, num_together - 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1, 30_000_000, 9_000_000, 9_000_000, 20_000_000, 0] * 20))
    assert most <= 30_000_000
    assert most_together > 1
    assert now == num_together == 0


@pytest.mark.usefixtures("_one_processor")
def test_one_that_is_larger_than_the_room_goes_alone_and_room_is_given_back_after_an_error() -> None:
    limits = Limits(max_pixels=1)  # 25 million for the one processor
    for _ in range(3):
        with pytest.raises(ValueError, match="inside"), room_for(10**9, limits):
            raise ValueError("inside")
    assert module._num_taken == 0


@pytest.mark.usefixtures("_one_processor")
def test_a_large_one_is_not_passed_by_small_ones_for_ever() -> None:
    limits = Limits(max_pixels=25_000_000)
    order: list[str] = []
    first_in, first_out = threading.Event(), threading.Event()

    def hold() -> None:
        with room_for(1, limits):
            first_in.set()
            first_out.wait(10)

    def take(name: str, num_pixels: int) -> None:
        with room_for(num_pixels, limits):
            order.append(name)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    first_in.wait(10)
    for name, num_pixels in (("large", 25_000_000), ("small", 1)):
        threads.append(threading.Thread(target=take, args=(name, num_pixels)))
        threads[-1].start()
        time.sleep(0.05)
    assert order == []
    first_out.set()
    for thread in threads:
        thread.join(10)
    assert order == ["large", "small"]


def test_decoding_asks_for_the_room_that_its_pixels_take(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, Limits]] = []

    @contextmanager
    def watched(num_pixels: int, limits: Limits) -> Iterator[None]:
        asked.append((num_pixels, limits))
        yield

    monkeypatch.setattr("semblance.inputs.decode.room_for", watched)
    limits = Limits(max_pixels=99)
    deep = cv2.imencode(".png", np.zeros((5, 7, 3), np.uint16))[1].tobytes()
    decode(deep, channels=3, limits=limits)
    decode(np.zeros((5, 7, 3), np.uint8), channels=3, limits=limits)  # is there already
    assert asked == [(70, limits)]
