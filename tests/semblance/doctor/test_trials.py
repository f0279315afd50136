"""Backends that work, that cannot run here, that compute wrongly, and that take their process with them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semblance.doctor import nodes, trials
from semblance.doctor.trials import BackendTrial, choose, compare, place, try_backends
from semblance.inference import backends
from semblance.inference.models import find_model

_SECONDS = 120.0


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What was tuned on this machine decides nothing here, in the processes of trials either."""
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "home"))


@pytest.fixture
def siamese() -> Path:
    return find_model("siamese")


def _ending(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(trials, "_program", lambda what, model, backend: ["-c", program])


def test_each_backend_here_works_and_agrees_or_says_why_not(siamese: Path) -> None:
    names = backends.names()[1:]
    found = list(try_backends(names, siamese, seconds=_SECONDS))
    assert [trial.name for trial in found] == names
    cpu = found[0]
    assert (cpu.name, cpu.works, cpu.max_difference) == ("cpu", True, 0.0)
    for trial in found:
        assert trial.works == (trial.problem is None)
        if trial.works:
            assert trial.description
            assert trial.images_per_sec is not None
            assert trial.images_per_sec > 0
            assert trial.batch == 256
            assert trial.max_difference is not None
            assert trial.max_difference < 1e-3
        else:
            assert trial.name in (trial.problem or "")
            assert (trial.description, trial.load_ms, trial.images_per_sec, trial.max_difference) == (None,) * 4


def test_the_wheel_behind_a_backend_is_named(siamese: Path) -> None:
    pytest.importorskip("openvino")
    (trial,) = try_backends(["openvino"], siamese, seconds=_SECONDS)
    assert trial.runtime == f"openvino {importlib.metadata.version('openvino')}"
    assert trial.works
    assert trial.max_difference is None  # the CPU was not asked


def test_a_crash_and_a_hang_are_results(monkeypatch: pytest.MonkeyPatch, siamese: Path) -> None:
    _ending(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    crashed, again = try_backends(["cpu", "cuda"], siamese, seconds=_SECONDS)
    assert not crashed.works
    assert crashed.problem == again.problem == "the process died of SIGSEGV while starting"
    assert choose(siamese, "siamese", seconds=_SECONDS).problem == crashed.problem
    (nowhere,) = place(["cuda"], siamese, seconds=_SECONDS)
    assert (nowhere.provider, nowhere.num_nodes, nowhere.problem) == (None, 0, crashed.problem)
    _ending(monkeypatch, "import time; time.sleep(600)")
    (hung,) = try_backends(["cuda"], siamese, seconds=1)
    assert hung.problem == "it did not end in 1 s and was stopped, while starting"


def test_an_empty_list_tries_nothing(siamese: Path) -> None:
    empty: list[BackendTrial] = []
    assert list(try_backends([], siamese, seconds=_SECONDS)) == empty


def test_auto_says_what_it_takes_and_why(siamese: Path) -> None:
    auto = choose(siamese, "siamese", seconds=_SECONDS)
    assert auto.backend in backends.names()
    assert auto.why
    assert (auto.model, auto.problem) == ("siamese", None)


def test_auto_on_a_damaged_model(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    auto = choose(tmp_path / "bad.onnx", "bad", seconds=_SECONDS)
    assert auto.backend is None
    assert "not an ONNX file" in (auto.problem or "")


def test_nodes_are_counted_by_provider_and_operator(siamese: Path) -> None:
    (cpu,) = place(["cpu"], siamese, seconds=_SECONDS)
    assert (cpu.provider, cpu.problem) == ("CPUExecutionProvider", None)
    assert cpu.num_nodes == sum(cpu.operators.values()) > 10
    assert cpu.operators["Conv"] == 2


def test_nodes_on_openvino(siamese: Path) -> None:
    pytest.importorskip("openvino")
    (found,) = place(["openvino"], siamese, seconds=_SECONDS)
    assert found.num_nodes == sum(found.operators.values()) > 10
    assert found.operators["Convolution"] == 2


def test_nodes_on_openvino_are_those_of_the_precision_that_is_run(
    siamese: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")
    asked: list[dict[str, str]] = []
    compile_model = openvino.Core.compile_model

    def spy(core: Any, model: Any, device: str, config: dict[str, str]) -> Any:
        asked.append(config)
        return compile_model(core, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", spy)
    nodes.place(siamese, "openvino")
    assert asked == [{"INFERENCE_PRECISION_HINT": "f32"}], "else it is bf16 wherever the processor has that"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_difference_is_judged_by_the_size_of_the_embeddings(scale: float) -> None:
    reference = np.float32(scale) * np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    assert compare(reference, reference) == (0.0, None)
    difference, problem = compare(reference * np.float32(1 + 1e-4), reference)
    assert 0 < (difference or 0) < 1e-3 * scale
    assert problem is None
    difference, problem = compare(reference * np.float32(1.1), reference)
    assert (difference or 0) > 0.05 * scale
    assert "are not the CPU's" in (problem or "")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_no_difference(value: float) -> None:
    reference = np.ones((8, 4), np.float32)
    embedding = reference.copy()
    embedding[3, 2] = value
    for other in (reference, None):
        difference, problem = compare(embedding, other)
        assert difference is None
        assert "not numbers" in (problem or "")
    assert compare(reference, None) == (None, None)
