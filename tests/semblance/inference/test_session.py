"""Sessions: buckets, padding, threads, and cards that do not fit their graph."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from semblance.container import available_threads
from semblance.errors import BackendError, InputError, ModelError
from semblance.inference import backends, tuned
from semblance.inference.backends import GpuOptions, LoadOptions, auto
from semblance.inference.session import Session

RECORD = tuned.Tuned(
    backend="cpu", threads=1, streams=1, max_batch=8, images_per_sec=1.0, latency_ms=1.0, when="2026-11-25"
)


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


# ----------------------------------------------------------------------------------------------------------------------
# Devices, made up: what they are loaded with, and how many there are


@pytest.fixture
def devices(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> list[LoadOptions]:
    """What each made-up session on a GPU was loaded with, in order; the one that `auto` comes to is CUDA."""
    loaded: list[LoadOptions] = []
    load = backends._load

    class MadeUp:
        description = "made up"

        def run(self, images: Any) -> Any:
            return tiny_model.embed(images)

        def release_memory(self) -> None:
            pass

    def made_up(model: Any, backend: str, options: LoadOptions) -> Any:
        if backend != "cuda":
            return load(model, backend, options)
        loaded.append(options)
        return MadeUp()

    monkeypatch.setattr(backends, "_load", made_up)
    monkeypatch.setattr(auto, "_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    return loaded


@pytest.mark.parametrize("backend", ["cuda", "auto"])
def test_a_session_is_loaded_for_each_stream_on_each_device(
    devices: list[LoadOptions], tiny_model: Any, backend: str
) -> None:
    gpu = GpuOptions(devices=(0, 3), in_flight=2)
    session = Session(tiny_model.path, backend=backend, streams=2, gpu=gpu)
    assert session.backend == "cuda"
    assert [each.device for each in devices] == [0, 3, 0, 3]
    assert {(each.threads, each.streams, each.gpu) for each in devices} == {(1, 1, gpu)}
    assert session.streams == 2 * 2 * 2, "batches in flight"
    images = random_images(9)
    np.testing.assert_allclose(session.run(images), tiny_model.embed(images), rtol=1e-5, atol=1e-5)


def test_what_was_measured_for_a_device_is_how_it_is_loaded(devices: list[LoadOptions], tiny_model: Any) -> None:
    tuned.keep(tiny_model.path, tiny_model.card, replace(RECORD, backend="cuda", threads=1, streams=3))
    assert Session(tiny_model.path, streams=None).streams == 3 * GpuOptions().in_flight
    assert len(devices) == 3
    tuned.forget(tiny_model.path, tiny_model.card)


def test_what_was_measured_for_one_backend_is_not_how_another_is_loaded(tiny_model: Any) -> None:
    """One thread is enough for the host of a GPU; where that is gone, the CPU has all of them again."""
    tuned.keep(tiny_model.path, tiny_model.card, replace(RECORD, backend="cuda", threads=1, streams=1))
    session = Session(tiny_model.path)
    assert session.backend == "cpu"
    assert f"{available_threads()} thread" in session.description
    assert session.max_batch > RECORD.max_batch, "the batch of a GPU is none of the CPU's either"
    assert "not cuda: " in session.why
    tuned.forget(tiny_model.path, tiny_model.card)


def test_a_device_that_fails_is_no_fault_of_the_model(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        description = "full"

        def run(self, images: Any) -> Any:
            raise BackendError("the memory of the GPU does not suffice")

    monkeypatch.setattr(backends, "_load", lambda *given: Full())
    with pytest.raises(BackendError, match=r"^the memory of the GPU does not suffice$"):
        Session(tiny_model.path, backend="cuda")


def test_options_of_a_gpu_are_refused_by_a_cpu_and_by_a_device_that_does_not_heed_them(tiny_model: Any) -> None:
    for backend in ("cpu", "auto"):
        with pytest.raises(BackendError, match="options that mean nothing to the backend 'cpu'"):
            Session(tiny_model.path, backend=backend, gpu=GpuOptions())
    with pytest.raises(BackendError, match=r"options that mean nothing to the backend 'directml'.*: TF32;"):
        Session(tiny_model.path, backend="directml", gpu=GpuOptions(tf32=True))
