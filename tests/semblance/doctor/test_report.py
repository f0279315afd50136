"""The whole record, what is required of it, and what stays as it is for whoever reads its JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

import semblance
from semblance.doctor import report as module
from semblance.doctor import trials
from semblance.doctor.gpu import Gpus
from semblance.doctor.installed import Installed
from semblance.doctor.processor import Processor
from semblance.doctor.report import Report, check, check_required, examine
from semblance.doctor.trials import AutoChoice, BackendTrial
from semblance.errors import BackendError, ModelNotFound
from semblance.inference import backends


def _trial(name: str, problem: str | None = None) -> BackendTrial:
    return BackendTrial(name, "onnxruntime 1", problem is None, problem, None, None, None, None, None)


def _report(*tried: BackendTrial) -> Report:
    return Report(
        semblance="0",
        python="3",
        executable="python",
        platform="p",
        machine="m",
        installed=Installed({}, None, ()),
        processor=Processor("p", 1, 1, None, None, None, (), ()),
        gpus=Gpus(None, (), None, None, (), ()),
        backends=tried,
        auto=AutoChoice("siamese", "cpu", "why", None),
        nodes=None,
    )


def test_one_backend_that_works_is_enough() -> None:
    check(_report(_trial("cpu"), _trial("cuda", "no GPU")))


def test_none_that_works_is_an_error_with_the_cpus_cause() -> None:
    with pytest.raises(BackendError, match="no backend works here, not even cpu: broken"):
        check(_report(_trial("cpu", "broken"), _trial("cuda", "no GPU")))


def test_what_is_required_has_to_work() -> None:
    report = _report(_trial("cpu"), _trial("cuda", "no GPU"), _trial("openvino", "no wheel"))
    check(report, ["cpu"])
    with pytest.raises(BackendError, match=r"^cuda is required and does not work: no GPU$"):
        check(report, ["cpu", "cuda"])
    with pytest.raises(BackendError, match=r"no GPU; openvino is required"):
        check(report, ["cuda", "openvino"])


def test_an_unknown_backend_cannot_be_required() -> None:
    check_required(backends.names()[1:])
    for name in ("cudaa", "auto", ""):
        with pytest.raises(BackendError, match="there are: cpu"):
            check_required([name])


@pytest.fixture
def _no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that answer at once, and in which nothing of NVIDIA's works."""

    def program(what: str, model: Path, backend: str) -> list[str]:
        note = {
            "smoke": "'result': {'description': 'd', 'load_ms': 1, 'batch': 2, 'images_per_sec': 3, "
            "'embedding': [[1.0, 2.0]]}",
            "choose": "'result': {'backend': 'cpu', 'why': 'because'}",
            "place": "'result': [{'provider': 'P', 'num_nodes': 2, 'operators': {'Conv': 2}}]",
        }[what]
        if backend == "cuda":
            note = "'problem': 'no such provider'"
        return ["-c", f"import json, sys; open(sys.argv[-1], 'w').write(json.dumps({{{note}}}))"]

    monkeypatch.setattr(trials, "_program", program)


@pytest.mark.usefixtures("_no_trials")
def test_all_parts_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[tuple[int, int | None]] = []
    nothing = Gpus(None, (), None, None, (), ())
    monkeypatch.setattr(module, "read_gpus", lambda **told: nothing)
    report = examine("autoencoder", nodes=True, progress=lambda done, total: steps.append((done, total)))
    assert report.semblance == semblance.__version__
    assert report.auto == AutoChoice("autoencoder", "cpu", "because", None)
    names = [trial.name for trial in report.backends]
    assert sorted(names) == sorted(backends.names()[1:])
    assert names[0] == "cpu"
    assert steps == [(done, len(names) + 1) for done in range(len(names) + 2)]
    assert [row.backend for row in report.nodes or ()] == names
    assert examine(nodes=False).nodes is None


def test_an_unknown_model_is_told_before_anything_is_tried() -> None:
    with pytest.raises(ModelNotFound, match="resnt"):
        examine("resnt")


@pytest.mark.usefixtures("_no_trials")
def test_the_fields_stay_as_they_are() -> None:
    """Programs read this document: a field may be added, none may go."""
    document = asdict(examine(nodes=True))
    assert list(document) == [
        "semblance", "python", "executable", "platform", "machine", "installed", "processor", "gpus", "backends",
        "auto", "nodes",
    ]  # fmt: skip
    assert list(document["installed"]) == ["versions", "onnxruntime_cuda", "clashes"]
    assert list(document["processor"]) == [
        "model", "processors", "threads", "quota", "memory_bytes", "memory_limit_bytes", "features", "follows",
    ]  # fmt: skip
    assert list(document["gpus"]) == ["driver", "devices", "visible", "visible_devices", "libraries", "problems"]
    for trial in document["backends"]:
        assert list(trial) == [
            "name", "runtime", "works", "problem", "description", "load_ms", "batch", "images_per_sec",
            "max_difference",
        ]  # fmt: skip
    assert list(document["auto"]) == ["model", "backend", "why", "problem"]
    for row in document["nodes"]:
        assert list(row) == ["backend", "provider", "num_nodes", "operators", "problem"]
