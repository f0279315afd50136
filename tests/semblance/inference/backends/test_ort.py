"""ONNX Runtime's rows: what is asked for is used, or the error says why and how to mend it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from semblance.errors import BackendError, ModelError
from semblance.inference import backends
from semblance.inference.backends import LoadOptions, ort
from semblance.inference.backends.providers import PROVIDERS


def test_the_cpu_row_runs_and_says_what_it_is(tiny_model: Any) -> None:
    runner = backends.load(tiny_model.path, "cpu", LoadOptions(threads=2)).runner
    assert "CPUExecutionProvider, 2 threads" in runner.description


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (8, 1), (8, 2), (8, 4), (6, 4), (8, 8), (1, 2)])
def test_callers_and_the_pool_they_share_are_all_threads_and_no_more(threads: int, streams: int) -> None:
    given = ort.session_options(PROVIDERS["cpu"], LoadOptions(threads=threads, streams=streams), strict=False)
    num_pooled = given.intra_op_num_threads - 1  # ONNX Runtime counts the caller, of whom there are several
    assert num_pooled + streams == max(threads, streams)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell a process's threads")
def test_onnx_runtime_counts_the_caller_among_its_threads(tiny_model: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tiny_model.path)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["4", "4"], done.stderr


IN_A_FRESH_PROCESS = """
import os, sys
from pathlib import Path
from semblance.inference.session import Session

Session(Path(sys.argv[1]), backend="cpu", threads=1)  # what is started once
before = len(os.listdir("/proc/self/task"))
session = Session(Path(sys.argv[1]), backend="cpu", threads=8, streams=4)
print(len(os.listdir("/proc/self/task")) - before, session.streams)
"""


def test_auto_says_what_it_chose(tiny_model: Any) -> None:
    loaded = backends.load(tiny_model.path, "auto", LoadOptions(threads=1, shape=(8, 8, 1)))
    assert "CPUExecutionProvider" in loaded.runner.description


def test_an_unknown_backend_lists_those_there_are(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="auto, cpu, cuda"):
        backends.load(tiny_model.path, "tpu", LoadOptions(threads=1))


def test_a_gpu_asked_for_where_there_is_none_is_an_error_with_the_remedy(tiny_model: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the CUDA provider: what it does is for a test on a GPU")
    with pytest.raises(BackendError, match=r"CUDAExecutionProvider.*pip install 'semblance\[gpu\]'"):
        backends.load(tiny_model.path, "cuda", LoadOptions(threads=1))


def test_a_graph_of_other_names_or_a_fixed_batch_is_refused_at_load(tiny_model: Any) -> None:
    import onnx

    for change, message in (
        (lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1), "fixed at 1"),
        (lambda model: _rename(model, "image", "x"), r"inputs \['x'\]"),
        (lambda model: _rename(model, "embedding", "y"), r"outputs \['y'\]"),
    ):
        model = onnx.load(tiny_model.path)
        change(model)
        path = tiny_model.path.with_name("changed.onnx")
        onnx.save(model, path)
        with pytest.raises(ModelError, match=message):
            backends.load(path, "cpu", LoadOptions(threads=1))


def _rename(model: Any, old: str, new: str) -> None:
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name


def test_what_the_runtime_refuses_is_a_backend_error(tiny_model: Any) -> None:
    runner = backends.load(tiny_model.path, "cpu", LoadOptions(threads=1)).runner
    with pytest.raises(BackendError, match="batch of 2"):
        runner.run(np.zeros((2, 9, 8, 1), np.uint8))


def test_memory_is_given_back_by_a_graph_that_does_not_say_its_images_size(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    for axis, name in ((1, "H"), (2, "W")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, tiny_model.path)
    runner = backends.load(tiny_model.path, "cpu", LoadOptions(threads=1, shape=(8, 8, 1))).runner
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), dtype=np.uint8)
    runner.run(images)
    runner.release_memory()
    np.testing.assert_allclose(runner.run(images), tiny_model.embed(images), rtol=1e-5, atol=1e-5)


def test_a_damaged_graph_is_a_model_error(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    model.graph.node[1].op_type = "NoSuchOperator"
    onnx.save(model, tiny_model.path)
    with pytest.raises(ModelError, match="NoSuchOperator"):
        backends.load(tiny_model.path, "cpu", LoadOptions(threads=1))


def test_a_session_never_begins_anew_on_another_provider(tiny_model: Any) -> None:
    runner = ort.OrtRunner(tiny_model.path, PROVIDERS["cpu"], LoadOptions(threads=1))
    assert not runner._session._enable_fallback  # ONNX Runtime's Python layer would, and print that it does


def test_what_fails_is_said_once_and_by_the_error(tiny_model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    runner = ort.OrtRunner(tiny_model.path, PROVIDERS["cpu"], LoadOptions(threads=1))
    with pytest.raises(BackendError, match="batch of 2"):
        runner.run(np.zeros((2, 9, 8, 1), np.uint8))
    tiny_model.path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="export the model again"):
        ort.open_session(tiny_model.path, PROVIDERS["cpu"], LoadOptions(threads=1))
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_is_no_embedding_model_is_not_recorded(tiny_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # its callers hand in arrays from anywhere, and a recording reads the addresses that it was made with
    def open_session(model: Any, row: Any, options: LoadOptions, *, provider_options: Any) -> Any:
        return row.options(options)

    monkeypatch.setattr(ort, "open_session", open_session)
    assert backends.open_session(tiny_model.path, "cuda", threads=1)["enable_cuda_graph"] == "0"


@pytest.mark.parametrize(
    ("precision", "cuts_off", "expected"), [("int8", True, "1"), ("int8", False, None), ("fp32", True, None)]
)
def test_bytes_are_multiplied_by_whole_sums_where_the_processor_would_cut_them_off(
    precision: Any, cuts_off: bool, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "cuts_byte_sums_off", lambda: cuts_off)
    given = ort.session_options(PROVIDERS["cpu"], LoadOptions(threads=1, precision=precision), strict=False)
    if expected is None:
        with pytest.raises(RuntimeError):  # ONNX Runtime's word for an entry that is not there
            given.get_session_config_entry(ort.WHOLE_SUMS)
    else:
        assert given.get_session_config_entry(ort.WHOLE_SUMS) == expected
