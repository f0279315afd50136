"""Buffers of one's own: on the CPU provider the same answers as without, from any thread, at any bucket, for good."""

from __future__ import annotations

import mmap
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import BackendError, ModelError
from semblance.inference.backends import GpuOptions, LoadOptions, bound, libraries, ort, pages
from semblance.inference.backends.bound import BoundRunner
from semblance.inference.backends.gate import Gate
from semblance.inference.backends.ort import OrtRunner
from semblance.inference.backends.providers import PROVIDERS
from semblance.inference.session import Session

LOAD = LoadOptions(threads=1, shape=(8, 8, 1), buckets=(1, 2, 4, 8))
CPU = PROVIDERS["cpu"]
# as the provider of a GPU is told to record; the CPU's ignores it, so that all but the recording itself takes place
RECORDING = replace(CPU, options=lambda load: {"enable_cuda_graph": "1"})


def random_images(num: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num, 8, 8, 1), dtype=np.uint8)


@pytest.mark.parametrize("row", [CPU, RECORDING], ids=["plain", "recording"])
@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_the_answers_are_those_of_the_plain_runner(tiny_model: Any, row: Any, in_flight: int) -> None:
    load = replace(LOAD, gpu=GpuOptions(in_flight=in_flight))
    own, plain = BoundRunner(tiny_model.path, row, load), OrtRunner(tiny_model.path, CPU, load)
    for seed, bucket in enumerate((8, 1, 4, 2, 2, 8, 1, 8)):
        images = random_images(bucket, seed)
        found = own.run(images)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, plain.run(images))


def test_an_answer_stays_after_the_next_batch(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, CPU, LOAD)
    batches = [random_images(4, seed) for seed in range(8)]
    kept = [runner.run(images) for images in batches]
    for images, found in zip(batches, kept, strict=True):
        np.testing.assert_allclose(found, tiny_model.embed(images), rtol=1e-5, atol=1e-5)
    kept[0][:] = 0  # an array of one's own
    np.testing.assert_allclose(runner.run(batches[0]), tiny_model.embed(batches[0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", [CPU, RECORDING], ids=["plain", "recording"])
def test_each_of_many_threads_gets_its_own_answer(tiny_model: Any, row: Any) -> None:
    runners = [BoundRunner(tiny_model.path, row, LOAD) for _ in range(2)]

    def work(which: int) -> None:
        for turn in range(12):
            images = random_images(LOAD.buckets[(which + turn) % 4], 100 * which + turn)
            found = runners[which % 2].run(images)
            np.testing.assert_allclose(found, tiny_model.embed(images), rtol=1e-5, atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, which) for which in range(16)]:
            done.result(timeout=60)


def test_a_batch_goes_through_while_another_is_in_flight_and_a_third_waits(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, CPU, LOAD)
    in_flight = [runner._slots_for(4).get()]
    runner.run(random_images(4))
    in_flight.append(runner._slots_for(4).get())
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(runner.run, random_images(4))
        assert not wait([third], timeout=0.2).done
        runner.run(random_images(8))  # another bucket has slots of its own
        runner._slots_for(4).put(in_flight.pop())
        np.testing.assert_allclose(third.result(timeout=30), tiny_model.embed(random_images(4)), rtol=1e-5, atol=1e-5)


def test_each_bucket_and_slot_has_its_own_recording_and_buffers(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, RECORDING, LOAD)
    slots = [runner._slots_for(bucket).get() for bucket in LOAD.buckets for _ in range(LOAD.gpu.in_flight)]
    numbers = [int(slot.run_options.get_run_config_entry("gpu_graph_id")) for slot in slots]
    assert sorted(numbers) == list(range(1, 9))  # 0 is the number of runs that name none
    addresses = [
        each for slot in slots for each in (slot.image.data_ptr(), slot.output.data_ptr(), slot.host.ctypes.data)
    ]
    assert len(set(addresses)) == len(addresses)


def test_a_number_is_not_used_again_after_a_failure(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, RECORDING, LOAD)
    first = runner._slots_for(2).get()
    del runner._slots[2]  # as if the second slot had found no memory
    again = runner._slots_for(2).get()
    assert first.run_options.get_run_config_entry("gpu_graph_id") not in {
        slot.run_options.get_run_config_entry("gpu_graph_id") for slot in (again, runner._slots_for(2).get())
    }


def test_buffers_stay_where_they_are(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, RECORDING, replace(LOAD, gpu=GpuOptions(in_flight=1)))

    def addresses() -> tuple[int, int]:
        slots = runner._slots_for(4)
        slot = slots.get()
        slots.put(slot)
        return slot.image.data_ptr(), slot.output.data_ptr()

    before = addresses()
    for seed in range(5):
        runner.run(random_images(4, seed))
    assert addresses() == before


def test_all_runs_are_in_one_thread(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, CPU, LOAD)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: runner.run(random_images(2, seed)), range(20)))
    assert len([each for each in runner._worker._threads if each.is_alive()]) == 1


def test_a_batch_of_no_bucket_is_refused(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="batches of 1, 2, 4, 8, was given 3"):
        BoundRunner(tiny_model.path, CPU, LOAD).run(random_images(3))


def test_images_that_the_graph_does_not_take_are_an_error_and_the_next_ones_are_not(tiny_model: Any) -> None:
    runner = BoundRunner(tiny_model.path, CPU, LOAD)
    for _ in range(5):  # more than there are slots
        with pytest.raises(BackendError, match=r"batch of 2: shape \[2, 9, 8, 1\]"):
            runner.run(np.zeros((2, 9, 8, 1), np.uint8))
    assert runner.run(random_images(2)).shape == (2, 16)
    other = BoundRunner(tiny_model.path, CPU, replace(LOAD, shape=(9, 8, 1)))
    with pytest.raises(BackendError, match=r"batch of 2: .*dimensions"):
        other.run(np.zeros((2, 9, 8, 1), np.uint8))


def test_an_output_without_a_width_is_refused_at_load(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    cast = model.graph.node[0]
    cast.output[0] = "embedding"
    del model.graph.node[1:]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("embedding", 1, ["N", 8, 8, 1]))
    onnx.save(model, tiny_model.path)
    with pytest.raises(ModelError, match=r"\['N', 8, 8, 1\], expected is float32 \[N, D\] with D fixed"):
        BoundRunner(tiny_model.path, CPU, LOAD)


def test_nothing_is_asked_of_a_gpu_while_another_session_records(
    tiny_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[int] = []

    def described(*given: Any, **options: Any) -> str:  # locks a page, where there is a GPU
        inside.append(bound._GATE._num_together)
        return "made up"

    monkeypatch.setattr(bound, "_described", described)
    BoundRunner(tiny_model.path, CPU, LOAD)
    assert inside == [1]


def test_it_says_what_it_does(tiny_model: Any) -> None:
    assert BoundRunner(tiny_model.path, CPU, LOAD).description.endswith("CPUExecutionProvider, 1 thread")
    assert BoundRunner(tiny_model.path, RECORDING, LOAD).description.endswith("1 thread, CUDA graphs")


def test_host_buffers_are_whole_pages_of_their_own(tmp_path: Path) -> None:
    first, second = pages.host_array((3, 5)), pages.host_array((3, 5))
    for each in (first, second):
        assert each.ctypes.data % mmap.PAGESIZE == 0
        assert each.shape == (3, 5)
        assert each.dtype == np.uint8
        assert not each.any()
        each[:] = 7
    assert first.ctypes.data != second.ctypes.data


def test_pages_are_not_said_to_be_locked_where_nothing_locks_them() -> None:
    if libraries.cuda_version() is not None:
        pytest.skip("this onnxruntime has CUDA: what it locks is for a test on a GPU")
    assert not pages.lock(pages.host_array((4,)), 0)


def test_one_alone_waits_for_all_and_all_wait_for_one() -> None:
    gate, inside, worst = Gate(), [0, 0], []  # together, alone

    def work(which: int) -> None:
        for _ in range(50):
            kind = int(which == 0)
            with gate.alone() if kind else gate.together():
                inside[kind] += 1
                worst.append(inside[1] > 1 or (inside[1] and inside[0]))
                inside[kind] -= 1

    threads = [threading.Thread(target=work, args=(which % 3,)) for which in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(worst) == 300
    assert not any(worst)


def test_many_are_in_the_gate_at_once() -> None:
    gate, meeting = Gate(), threading.Barrier(3, timeout=30)

    def enter() -> None:
        with gate.together():
            meeting.wait()

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(enter) for _ in range(3)]:
            done.result(timeout=30)


def test_a_failure_inside_the_gate_leaves_it_open() -> None:
    gate = Gate()
    for way in (gate.together, gate.alone):
        with pytest.raises(ValueError, match="inside"), way():
            raise ValueError("inside")
    with gate.alone():
        pass
    with gate.together():
        pass


def test_a_session_pads_and_warms_up_buffers_of_its_own(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort, "OrtRunner", BoundRunner)
    session = Session(tiny_model.path, backend="cpu", threads=1, max_batch=8)
    assert [each.bucket for each in session.warm_up()] == [1, 2, 4, 8]
    images = random_images(13)
    np.testing.assert_allclose(session.run(images), tiny_model.embed(images), rtol=1e-5, atol=1e-5)
    session.release_memory()
    np.testing.assert_allclose(session.run(images), tiny_model.embed(images), rtol=1e-5, atol=1e-5)
