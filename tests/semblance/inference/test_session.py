"""Sessions: buckets, padding, threads, and cards that do not fit their graph."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from semblance.errors import InputError, ModelError
from semblance.inference.session import Session


def random_images(num: int, *, height: int = 8, width: int = 8, channels: int = 1) -> Any:
    return np.random.default_rng(num).integers(0, 256, (num, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("num", [0, 1, 2, 3, 7, 8, 9, 31])
def test_any_number_of_rows_equals_the_plain_product(tiny_model: Any, num: int) -> None:
    session = Session(tiny_model.path, threads=1, max_batch=8)
    images = random_images(num)
    got = session.run(images)
    assert got.shape == (num, 16)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, tiny_model.embed(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("max_batch", "buckets"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_buckets_are_powers_of_two_up_to_the_largest_batch(tiny_model: Any, max_batch: int, buckets: Any) -> None:
    assert Session(tiny_model.path, max_batch=max_batch).buckets == buckets


def test_only_bucket_sizes_reach_the_runtime(tiny_model: Any) -> None:
    session = Session(tiny_model.path, max_batch=8)
    seen: list[int] = []
    (runner,) = session._runners

    class Spy:
        description = runner.description

        def run(self, images: Any) -> Any:
            seen.append(len(images))
            return runner.run(images)

    session._runners = [Spy()]  # type: ignore[list-item]
    for num in range(20):
        session.run(random_images(num))
    session.warm_up()
    assert set(seen) == {1, 2, 4, 8}


def test_an_embedding_does_not_depend_on_its_batch_mates(tiny_model: Any) -> None:
    session = Session(tiny_model.path, max_batch=8)
    images = random_images(13)
    alone = np.concatenate([session.run(images[row : row + 1]) for row in range(13)])
    np.testing.assert_allclose(session.run(images), alone, rtol=1e-5, atol=1e-5)


IN_A_FRESH_PROCESS = """
import sys
from pathlib import Path
import numpy as np
from semblance.inference.session import Session

def held():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) // 1024

session = Session(Path(sys.argv[1]), threads=1, max_batch=512)
images = np.random.default_rng(0).integers(0, 256, (512, 256, 256, 1), dtype=np.uint8)
before = held()
expected = session.run(images)
kept = held() - before
session.release_memory()
print(kept, held() - before, np.array_equal(session.run(images), expected))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what a process holds")
def test_memory_of_large_batches_is_given_back(tiny_model_maker: Any) -> None:
    model = tiny_model_maker("wide", height=256, width=256)  # 128 MiB of floats in a batch of 512
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, str(model.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    kept, left, is_equal = done.stdout.split()
    assert int(kept) > 64, "nothing was kept: this test shows nothing"
    assert int(left) < 32
    assert is_equal == "True"


def test_many_threads_share_one_session(tiny_model: Any) -> None:
    session = Session(tiny_model.path, threads=2, max_batch=8)
    images = random_images(40)
    expected = tiny_model.embed(images)
    results: dict[int, Any] = {}

    def work(which: int) -> None:
        results[which] = session.run(images[which : which + 9])

    threads = [threading.Thread(target=work, args=(which,)) for which in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which in range(30):
        np.testing.assert_allclose(results[which], expected[which : which + 9], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8, 1), np.float32), np.zeros((2, 8, 9, 1), np.uint8)])
def test_other_arrays_are_refused_with_what_is_eaten(tiny_model: Any, images: Any) -> None:
    with pytest.raises(InputError, match=r"uint8 \[N, 8, 8, 1\]"):
        Session(tiny_model.path).run(images)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "2"])
@pytest.mark.parametrize("option", ["threads", "max_batch"])
def test_counts_are_whole_and_at_least_one(tiny_model: Any, option: str, value: Any) -> None:
    with pytest.raises(InputError, match=option):
        Session(tiny_model.path, **{option: value})


def test_a_list_is_no_array(tiny_model: Any) -> None:
    with pytest.raises(InputError, match="was given list"):
        Session(tiny_model.path).run([1])  # type: ignore[arg-type]  # that is the point


def test_a_card_of_another_graph_is_found_at_load(tiny_model_maker: Any) -> None:
    import onnx

    small, wide = tiny_model_maker("small"), tiny_model_maker("wide", dimension=32)
    larger = tiny_model_maker("larger", height=9)
    for wrong, message in ((wide, r"\[N, 32\]"), (larger, "does not take")):
        model = onnx.load(small.path)
        model.metadata_props[0].value = wrong.card.to_json()
        path = small.path.with_name(f"mixed-{wrong.card.name}.onnx")
        onnx.save(model, path)
        with pytest.raises(ModelError, match=message):
            Session(path)
