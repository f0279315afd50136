"""The check of GPUs, as far as no GPU is needed: the same code on the CPU provider, and pretended devices.

How fast anything is depends on the machine and on what else it does, so that no time is asserted.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from rich.console import Console

from bench.gpu_check import (
    ceiling,
    contenders,
    device,
    engine,
    invariance,
    matching,
    memory,
    parity,
    placement,
    race,
    residence,
    resnet,
    result,
    running,
    speed,
    subjects,
    tables,
    usable,
    whole,
    worker,
)
from bench.gpu_check.contenders import Calls, Job
from bench.gpu_check.device import Gpu
from bench.gpu_check.setting import BATCHES, FACTORS, Setting, alternatives, everywhere, pivot
from bench.gpu_check.subjects import Pictures, Subject
from bench.operations import operations_of
from export.half import to_half
from semblance.card import CARD_KEY
from semblance.errors import BackendError, InputError, ModelNotFound

ROOT = Path(__file__).parents[2]
BACKEND = "cpu"
DEVICE = Gpu("Pretended GPU 1/2", "600.1", "13.1", {"power_limit_w": "700.00"})

needs_no_gpu = pytest.mark.skipif(device.find_gpu() is not None, reason="this machine has a GPU")


@pytest.fixture(scope="module", autouse=True)
def _short_turns() -> Iterator[None]:
    """No figure counts here, so that few calls make one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_TURN_S", 0.001)
        patch.setattr(race, "_TURN_S", 0.001)
        yield


@pytest.fixture
def tiny(tiny_model: Any) -> Subject:
    """An fp32 model with its fp16 form beside it."""
    half = to_half(onnx.load(tiny_model.path))
    del half.metadata_props[:]
    entry = half.metadata_props.add()
    entry.key, entry.value = CARD_KEY, dataclasses.replace(tiny_model.card, precision="fp16").to_json()
    onnx.save(half, tiny_model.path.with_name("tiny.fp16.onnx"))
    return subjects.subject(tiny_model.path)


@pytest.fixture
def shown(tiny: Subject) -> Pictures:
    """Images of ten kinds that are told apart easily, with their labels."""
    kinds = subjects.noise(tiny.card, 10)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 200)
    images = np.clip(kinds[labels] + rng.normal(0, 12, (200, *kinds.shape[1:])), 0, 255).astype(np.uint8)
    return Pictures(images, labels.astype(np.str_), "200 drawn images of ten kinds")


@pytest.fixture
def pretend_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`pretend(script)`: from here on `nvidia-smi` is that shell script, and no CUDA driver is found."""

    def pretend(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setattr(device, "LIBRARY", "libcuda-that-is-not-here.so")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return pretend


# What it prints on stdout, whatever fields it is asked for: one value for each
ANSWERS = """
for each in "$@"; do case "$each" in --query-gpu=*) fields="${each#--query-gpu=}";; esac; done
fields=$(echo "$fields" | sed -e 's/mig.mode.current/[N\\/A]/' -e 's/memory.used/512/')
echo "$fields" | sed -e 's/^name/NVIDIA H100 80GB HBM3/' -e 's/,/, /g'
"""


# ----------------------------------------------------------------------------------------------------------------------
# Whether there is a device


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=variables)


@needs_no_gpu
def test_without_a_gpu_it_says_what_it_looked_for_in_one_line_and_that_is_no_failure() -> None:
    ended = run_module("bench.gpu_check")
    assert (ended.returncode, ended.stderr) == (0, "")
    (line,) = ended.stdout.splitlines()
    assert line.startswith("no NVIDIA GPU here (looked for: nvidia-smi on PATH")
    assert "libcuda.so.1" in line


@needs_no_gpu
def test_make_finds_no_gpu_without_installing_anything() -> None:
    command = ["make", "--no-print-directory", "gpu-check"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, device.none_found() + "\n")


@needs_no_gpu
def test_looking_needs_the_standard_library_only() -> None:
    look = "import bench.gpu_check.device as d, sys; code = d.main(); print({'numpy', 'onnx', 'rich'} & {*sys.modules})"
    ended = subprocess.run([sys.executable, "-S", "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"
    assert run_module("bench.gpu_check.device").returncode == device.NONE_HERE


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_devices_that_are_hidden_are_not_there(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert device.find_gpu() is None
    assert "CUDA_VISIBLE_DEVICES hides all devices" in device.none_found()


@needs_no_gpu
def test_a_gpu_that_cannot_be_used_is_cause_and_remedy_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # whoever imported TensorFlow here has hidden them all
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{ANSWERS}\n")
    program.chmod(0o755)
    ended = run_module("bench.gpu_check", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: NVIDIA H100 80GB HBM3 is here")
    assert "CUDAExecutionProvider" in line
    assert "pip install 'semblance[gpu]'" in line


def test_what_nvidia_smi_says_is_kept(pretend_smi: Callable[[str], None]) -> None:
    pretend_smi(ANSWERS)
    found = device.find_gpu()
    assert found is not None
    assert (found.name, found.driver) == ("NVIDIA H100 80GB HBM3", "driver_version")
    assert found.facts["mig_mode"] is None
    assert found.facts["power_limit_w"] == "power.limit"
    json.dumps(found.as_json())


def test_an_nvidia_smi_that_knows_fewer_fields_is_asked_for_each(pretend_smi: Callable[[str], None]) -> None:
    pretend_smi('case "$*" in *mig*) echo "not a valid field"; exit 2;; esac\n' + ANSWERS)
    found = device.find_gpu()
    assert found is not None
    assert found.facts["mig_mode"] is None
    assert found.facts["driver"] == "driver_version"


def test_an_nvidia_smi_that_fails_is_no_gpu_and_is_mentioned(pretend_smi: Callable[[str], None]) -> None:
    pretend_smi("echo 'could not communicate with the driver'; exit 9")
    assert device.find_gpu() is None
    assert "nvidia-smi is here and names none" in device.none_found()


def test_the_driver_is_asked_where_there_is_no_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        """libcuda's functions, as ctypes gives them."""

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = 1
            return 0

        def cuDeviceGet(self, number: Any, ordinal: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetName(self, text: Any, size: int, number: Any) -> int:  # noqa: N802
            text.value = b"NVIDIA L4"
            return 0

        def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
            version._obj.value = 13010
            return 0

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "smi_facts", lambda: None)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Library())
    assert device.find_gpu() == Gpu("NVIDIA L4", None, "13.1", {})


@pytest.mark.parametrize(("status", "is_none"), [(0, True), (34, True), (100, True), (803, False), (999, False)])
def test_a_driver_that_does_not_start_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch, status: int, is_none: bool
) -> None:
    class Library:
        """libcuda's functions on a machine where none of them works."""

        def __getattr__(self, name: str) -> Callable[..., int]:
            return lambda *given: status

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device, "smi_facts", lambda: None)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: Library())
    found = device.find_gpu()
    assert (found is None) == is_none
    if found is not None:
        assert found.trouble == f"its driver does not start: cuInit gives {status}"
        with pytest.raises(BackendError, match=rf"cannot be used: its driver does not start: cuInit gives {status}"):
            usable.require_usable(found)


def test_a_device_that_works_raises_nothing() -> None:
    usable.require_usable(DEVICE, BACKEND)


def test_one_that_does_not_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: Any, **more: Any) -> None:
        raise OSError("libcudnn.so.9: wrong ELF class")

    monkeypatch.setattr(usable, "Session", broken)
    hidden = dataclasses.replace(DEVICE, trouble="nvidia-smi lists it and CUDA does not: cuInit gives 803")
    with pytest.raises(BackendError) as raised:
        usable.require_usable(hidden)
    said = str(raised.value)
    assert said.startswith("Pretended GPU 1/2 is here (driver 600.1, which runs CUDA up to 13.1) and cannot be used: ")
    assert "cuInit gives 803; libcudnn.so.9: wrong ELF class" in said
    assert "pip install 'semblance[gpu]'" in said


def test_versions_are_those_installed_or_none() -> None:
    found = usable.versions()
    assert found["numpy"] == np.__version__
    assert set(found) >= {"onnxruntime", "onnxruntime-gpu", "torch", "jax", "keras", "cudnn in use"}

    class Cudnn:
        @staticmethod
        def cudnnGetVersion() -> int:  # noqa: N802
            return 91302

    assert usable.cudnn_version(lambda name: Cudnn()) == "9.13.2"


def test_memory_is_the_largest_that_was_seen(pretend_smi: Callable[[str], None]) -> None:
    pretend_smi('case "$*" in *-lms*) echo 100; echo 900; echo "[N/A]"; echo 200; exec sleep 5;; *) echo 150;; esac')
    assert memory.used_bytes() == 150 * memory.MIB
    with memory.watched() as peak:
        time.sleep(0.5)  # for a process to begin and to speak
    assert (peak.before_bytes, peak.peak_bytes) == (150 * memory.MIB, 900 * memory.MIB)
    assert peak.grown_bytes == 750 * memory.MIB


@needs_no_gpu
def test_memory_without_anything_to_ask_is_none() -> None:
    with memory.watched() as peak:
        pass
    assert (peak.peak_bytes, peak.grown_bytes) == (None, None)


# ----------------------------------------------------------------------------------------------------------------------
# Models and images


def test_the_shipped_models_are_checked_where_none_is_named() -> None:
    assert {"autoencoder", "siamese"} <= {each.name for each in subjects.subjects(None)}


def test_a_half_is_taken_from_beside_its_model_and_not_by_itself(tiny: Subject) -> None:
    assert tiny.half == tiny.path.with_name("tiny.fp16.onnx")
    assert tiny.is_small
    with pytest.raises(InputError, match="name the fp32 file"):
        subjects.subject(tiny.half)
    with pytest.raises(ModelNotFound):
        subjects.subjects(["nosuch"])


def test_images_without_labels_are_noise_that_says_so(tiny: Subject) -> None:
    found = subjects.pictures(tiny.card, 30)
    assert (found.images.shape, found.images.dtype, found.labels) == ((30, 8, 8, 1), np.uint8, None)
    assert found.described.startswith("30 images of seeded noise")
    assert len(np.unique(found.images.reshape(30, -1), axis=0)) == 30
    assert (found.images == subjects.pictures(tiny.card, 30).images).all()


def test_garments_come_with_labels(fashion_mnist_dir: Path) -> None:
    (siamese,) = subjects.subjects(["siamese"])
    found = subjects.pictures(siamese.card, 40)
    assert found.images.shape == (40, 28, 28, 1)
    assert found.labels is not None
    assert "Fashion-MNIST" in found.described


# ----------------------------------------------------------------------------------------------------------------------
# The network with random weights


@pytest.fixture(scope="module")
def random_network(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """ResNet-101 with random weights, in both precisions."""
    return subjects.subject(resnet.write(tmp_path_factory.mktemp("random"))[0])


def test_resnet101_costs_what_is_known_of_it(random_network: Subject) -> None:
    assert operations_of(random_network.path) == pytest.approx(15.6e9, rel=0.005)  # 7.8 billion multiply-adds


def test_the_random_network_embeds_alike_in_both_precisions(random_network: Subject) -> None:
    found = random_network
    assert found.half is not None
    assert not found.is_trained
    assert parity.tolerance_of(found).overlap_at_10 == 0
    images = subjects.noise(found.card, 3)
    full, half = parity.reference(found, images), engine.open_engine(found.half, BACKEND).run(images)
    assert np.linalg.norm(full, axis=1) == pytest.approx(1, abs=1e-5)
    assert (full * half).sum(axis=1).min() > 0.999
    assert operations_of(found.half) == operations_of(found.path)


# ----------------------------------------------------------------------------------------------------------------------
# What is measured


def test_a_factor_is_turned_alone() -> None:
    best = Setting(precision="fp16", nhwc=True)
    for factor, values in FACTORS.items():
        others = alternatives(best, factor)
        assert others[0] == best
        assert sorted(str(getattr(each, factor)) for each in others) == sorted(map(str, values))
        for each in others[1:]:
            assert dataclasses.replace(each, **{factor: getattr(best, factor)}) == best


def test_every_batch_size_has_plain_runs_bound_ones_and_graphs() -> None:
    found = everywhere(Setting(precision="tf32", nhwc=True, graphs=True, search="DEFAULT"))
    assert [(each.io, each.graphs) for each in found] == [("plain", False), ("bound", False), ("bound", True)]
    assert all((each.precision, each.nhwc, each.search) == ("tf32", True, "DEFAULT") for each in found)
    assert len({each.session_key for each in found}) == 2  # plain and bound are one session


def test_a_plan_is_far_from_all_combinations() -> None:
    races = 3 * (len(FACTORS) + len(BATCHES))
    assert races * 3 < 3 * 2 * 2 * 2 * 3 * len(BATCHES)
    assert pivot([1, 8, 64], is_small=False) == 8
    assert pivot([1, 8, 64], is_small=True) == 64
    assert pivot([512], is_small=True) == 512


def test_options_of_the_provider_are_words() -> None:
    assert Setting(precision="tf32", graphs=True).provider_options() == {
        "use_tf32": "1",
        "enable_cuda_graph": "1",
        "prefer_nhwc": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    assert Setting(precision="fp16").provider_options()["use_tf32"] == "0"


def test_plain_and_bound_runs_give_the_same(tiny: Subject, tiny_model: Any) -> None:
    images = subjects.noise(tiny.card, 5)
    for setting in everywhere(Setting()):
        prepared = running.prepare(running.open_session(tiny.path, setting, BACKEND), setting, images, BACKEND)
        np.testing.assert_allclose(prepared.with_copies(), tiny_model.embed(images), rtol=1e-5)
        assert (prepared.without_copies is None) == (setting.io == "plain")
        if prepared.without_copies is not None:
            prepared.without_copies()


def test_turns_are_five_rounds_at_least_and_all_begin_one() -> None:
    order = []
    calls = {name: lambda name=name: order.append(name) or time.sleep(0.002) for name in "abc"}
    times = speed.in_turns(calls, seconds=0)
    assert {name: len(each) for name, each in times.items()} == {"a": 5, "b": 5, "c": 5}
    assert "".join(order[6:]) == "abcbcacababcbca"


def test_figures_follow_from_the_times() -> None:
    found = speed.figures_of([0.001] * 98 + [0.002] * 2, 32)
    assert (found["p50_ms"], found["images_per_sec"], found["num_calls"]) == (1.0, 32000.0, 100)
    assert found["p99_ms"] == 2.0
    assert found["quantiles_ms"]["p100"] == 2.0


def test_a_sweep_has_rows_of_all_settings_and_a_best_for_each_precision(tiny: Subject) -> None:
    sweep = speed.Sweep(tiny, BACKEND, [1, 3])
    sweep.run(20.0)  # of which it uses all; 8 were too few on a busy machine
    assert set(sweep.best) == {"fp32", "fp16"}
    assert sweep.not_measured == []
    assert {row["race"] for row in sweep.rows if row["precision"] == "fp16"} == {
        "fp16: search", "fp16: nhwc", "fp16: graphs", "fp16: batch 1", "fp16: batch 3",
    }  # fmt: skip
    assert {row["copies"] for row in sweep.rows if row["io"] == "plain"} == {"inside"}
    assert {row["copies"] for row in sweep.rows if row["io"] == "bound"} == {"inside", "outside"}


def test_a_sweep_without_time_says_what_it_left_out(tiny: Subject) -> None:
    sweep = speed.Sweep(tiny, BACKEND, [1])
    sweep.run(0.0)
    assert sweep.rows == []
    assert len(sweep.not_measured) == 2 * (len(FACTORS) + 1)


def test_a_setting_that_fails_is_a_row_with_its_reason(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*given: Any) -> None:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(speed, "prepare", no_memory)
    sweep = speed.Sweep(tiny, BACKEND, [1])
    sweep.run(10.0)
    assert {row["failed"] for row in sweep.rows} == {"out of memory"}


def test_a_run_that_fails_when_it_is_timed_is_a_row_too(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*given: Any, **more: Any) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(speed, "in_turns", lost)
    sweep = speed.Sweep(tiny, BACKEND, [1])
    sweep.run(10.0)
    assert {row["failed"] for row in sweep.rows} == {"device lost"}


# ----------------------------------------------------------------------------------------------------------------------
# Proofs


def test_the_same_file_on_the_same_processor_is_at_parity(tiny: Subject, shown: Pictures) -> None:
    checks = parity.check_parity(tiny, shown, parity.reference(tiny, shown.images), backend=BACKEND)
    assert [(check.precision, check.passed) for check in checks] == [("fp32", True), ("fp16", True)]
    assert checks[0].figures["max_unit_error"] <= 1e-5
    assert checks[1].figures["p_at_10_fp32"] > 0.5
    assert abs(checks[1].figures["lost_p_at_10"]) <= 0.005
    json.dumps([check.as_json() for check in checks])


def test_halves_without_labels_are_told_and_not_judged(tiny: Subject, shown: Pictures) -> None:
    unlabelled = dataclasses.replace(shown, labels=None)
    checks = parity.check_parity(tiny, unlabelled, parity.reference(tiny, shown.images), backend=BACKEND)
    assert [(check.precision, check.passed) for check in checks] == [("fp32", True), ("fp16", None)]


def test_other_embeddings_are_no_parity(tiny: Subject, shown: Pictures) -> None:
    wrong = parity.reference(tiny, shown.images)
    wrong[7] += 0.01 * np.abs(wrong).max()
    (check, _) = parity.check_parity(tiny, shown, wrong, backend=BACKEND)
    assert check.passed is False
    assert "max_unit_error" in check.said


def test_a_proof_that_cannot_run_is_a_failed_check(tiny: Subject, shown: Pictures) -> None:
    if "CUDAExecutionProvider" in usable.onnxruntime().get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    checks = parity.check_parity(tiny, shown, parity.reference(tiny, shown.images), backend="cuda")
    assert [(check.precision, check.passed) for check in checks] == [("fp32", False), ("tf32", False), ("fp16", False)]
    assert all("BackendError" in check.said for check in checks)


INVARIANCES = [invariance.check_batches, invariance.check_places, invariance.check_graphs, invariance.check_callers]


@pytest.mark.parametrize("check", INVARIANCES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_image_alone_is_the_image_among_others(
    check: Callable[..., Any], precision: Any, tiny: Subject, shown: Pictures
) -> None:
    path = tiny.path if precision == "fp32" else tiny.half
    found = check(path, tiny.name, precision, shown.images[:20], backend=BACKEND)
    assert found.passed is True
    assert found.figures["max_unit_difference"] <= invariance.TOLERANCES[precision]


class FalseSession:
    """Embeds pixels, but adds a little where `when(batch, call)` says so, as a wrong kernel would."""

    max_batch, buckets = 8, (1, 2, 4, 8)

    def __init__(self, when: Callable[[NDArray[np.uint8], int], bool]) -> None:
        self._when, self._num_calls = when, 0

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._num_calls += 1
        vectors = images.reshape(len(images), -1).astype(np.float32) + 1
        if self._when(images, self._num_calls):
            vectors[-1, 0] += 5
        return vectors


@pytest.mark.parametrize("check", INVARIANCES, ids=lambda check: check.__name__)
def test_what_depends_on_the_batch_is_found(
    check: Callable[..., Any], shown: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = iter([lambda images, call: len(images) == 4 or call == 200, lambda images, call: False])
    monkeypatch.setattr(invariance, "_session", lambda *given, **more: FalseSession(next(sessions)))
    if check is invariance.check_places:  # it embeds full batches, and the first of each bucket
        sessions = iter([lambda images, call: len(images) == 8])
    found = check(Path("any"), "any", "fp32", shown.images[:8], backend=BACKEND)
    assert found.passed is False
    assert found.figures["max_unit_difference"] > invariance.TOLERANCES["fp32"]


def test_a_vector_that_is_not_finite_is_a_difference() -> None:
    ours = np.ones((2, 3), np.float32)
    assert invariance.largest_difference(ours, ours * 2) == 0
    assert invariance.largest_difference(ours, np.full((2, 3), np.nan, np.float32)) == float("inf")
    assert invariance.largest_difference(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32)) == 0


def test_every_node_is_where_it_was_asked_for(tiny: Subject) -> None:
    found = placement.check_placement(tiny.path, tiny.name, "fp32", backend=BACKEND)
    assert found.passed is True
    assert found.figures["nodes_by_provider"] == {"CPUExecutionProvider": 3}


def test_a_node_elsewhere_is_named(tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = running.open_session(tiny.path, Setting(), BACKEND, records_placement=True)
    monkeypatch.setattr(placement, "open_session", lambda *given, **more: on_cpu)
    monkeypatch.setattr(placement, "Session", lambda *given, **more: None)
    found = placement.check_placement(tiny.path, tiny.name, "fp32", backend="cuda")
    assert found.passed is False
    assert "not on CUDAExecutionProvider: " in found.said
    assert "MatMul" in found.said


@pytest.mark.parametrize(("each_mib", "passed"), [(0, True), (40, False)])
def test_memory_that_grows_with_every_load_is_found(each_mib: int, passed: bool, tiny: Subject) -> None:
    used = iter(range(1000 * memory.MIB, 2000 * memory.MIB, each_mib * memory.MIB or 1))
    found = residence.check_residence(tiny.path, tiny.name, "fp32", backend=BACKEND, used=lambda: next(used))
    assert found.passed is passed


def test_memory_that_cannot_be_asked_for_is_not_judged(tiny: Subject) -> None:
    found = residence.check_residence(tiny.path, tiny.name, "fp32", backend=BACKEND, used=lambda: None)
    assert found.passed is None


def test_matches_of_all_descriptors_are_the_cpus() -> None:
    found = matching.check_matching(BACKEND, size=100)
    assert (found.passed, found.figures["num_unequal"]) == (True, {})


def test_a_distance_that_is_off_by_one_is_found() -> None:
    ours = {field: np.arange(4) for field in ("row", "set", "index", "first", "second")}
    theirs = {**ours, "second": np.array([0, 1, 3, 3])}
    assert matching.num_unequal(ours, ours) == 0
    assert matching.num_unequal(ours, theirs) == 1
    assert matching.num_unequal(ours, {field: each[:2] for field, each in ours.items()}) == 4


# ----------------------------------------------------------------------------------------------------------------------
# The ceiling


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", np.float32), ("tf32", np.float32), ("fp16", np.float16)])
def test_the_product_is_one_and_right(precision: Any, dtype: Any) -> None:
    graph = ceiling.matmul_graph(32, precision)
    onnx.checker.check_model(graph)
    prepared = ceiling._prepared(precision, BACKEND, 32)
    product = prepared.with_copies()
    expected = prepared._given["a"].astype(np.float64) @ prepared._given["b"].astype(np.float64)
    assert product.dtype == dtype
    np.testing.assert_allclose(product, expected, atol=0.05 if dtype == np.float16 else 1e-4)


def test_the_ceiling_is_a_rate() -> None:
    (row,) = ceiling.measure_ceiling(BACKEND, seconds=0.01, size=64)
    assert row["tflop_per_sec"] == pytest.approx(2 * 64**3 / row["p50_ms"] / 1e9)


# ----------------------------------------------------------------------------------------------------------------------
# Contenders


def job_of(subject: Subject, contender: str, **fields: Any) -> Job:
    (job, *_), _ = race.jobs(subject, backend=BACKEND, max_batch=4, setting=Setting(), only=[contender])
    return dataclasses.replace(job, **fields)


def test_all_contenders_have_what_the_harness_asks_for() -> None:
    assert contenders.names() == ["keras_jax", "onnxruntime_bound", "semblance_engine", "torch_compiled"]
    for name in contenders.names():
        module = contenders.open_contender(name)
        assert module.PACKAGES
        assert module.VARIANTS
        assert isinstance(module.ENVIRONMENT, dict)
        assert callable(module.load)


@pytest.mark.parametrize("name", ["torch_compiled", "keras_jax"])
def test_one_that_is_not_installed_is_told(name: str, tiny: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda package: None)
    entered, absent = race.jobs(tiny, backend=BACKEND, max_batch=4, setting=None, only=[name])
    module = contenders.open_contender(name)
    assert entered == []
    assert absent == {title: f"not installed: {', '.join(module.PACKAGES)}" for title in module.VARIANTS}


def test_a_command_is_a_fresh_process_that_knows_its_job(tiny: Subject) -> None:
    job = job_of(tiny, "semblance_engine")
    python, *rest, text = race.command(job)
    assert (python, rest) == (sys.executable, ["-m", "bench.gpu_check.worker"])
    assert Job(**json.loads(text)).as_json() == json.loads(text) == json.loads(json.dumps(job.as_json()))
    keras = dataclasses.replace(job, contender="keras_jax")
    assert race.environment(keras)["KERAS_BACKEND"] == "jax"
    assert race.environment(keras)["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_a_worker_answers_line_by_line_and_survives_a_mistake(tiny: Subject) -> None:
    asked = [{"time": 1, "copies": "inside"}, {"prepare": 2}, {"time": 3, "copies": "inside"},
             {"time": 1, "copies": "outside"}]  # fmt: skip
    answers = io.StringIO()
    worker.serve(job_of(tiny, "semblance_engine"), io.StringIO("\n".join(map(json.dumps, asked))), answers)
    loaded, early, prepared, timed, outside = map(json.loads, answers.getvalue().splitlines())
    assert loaded["loaded_s"] > 0
    assert "nothing was prepared" in early["failed"]
    assert (prepared["precision"], prepared["has_run_alone"]) == ("fp16", False)
    assert len(timed["seconds"]) == 3
    assert "no run without copies" in outside["failed"]


@pytest.mark.parametrize("vectors", [np.zeros((1, 4), np.float32), np.full((2, 4), np.nan, np.float32)])
def test_a_contender_that_gives_nonsense_is_out(vectors: NDArray[np.float32], tiny: Subject) -> None:
    job = job_of(tiny, "semblance_engine")
    with pytest.raises(ValueError, match="not finite"):
        worker._prepared(lambda images: Calls(lambda: vectors, None, "fp32", 1), job, 2)


def test_a_race_in_processes_has_rows_of_all_and_of_those_that_fail(tiny: Subject) -> None:
    entered, _ = race.jobs(tiny, backend=BACKEND, max_batch=2, setting=Setting(),
                           only=["semblance_engine", "onnxruntime_bound"])  # fmt: skip
    broken = dataclasses.replace(entered[0], title="broken", half=str(tiny.path.with_name("gone.onnx")))
    rows = race.race([*entered, broken], [1, 2], seconds=0.2, compile_seconds=60)
    measured = [(row["contender"], row["batch"], row["copies"]) for row in rows if "failed" not in row]
    title = "onnxruntime, fastest setting"
    assert sorted(measured) == sorted(
        (name, batch, copies)
        for batch in (1, 2)
        for name, copies in (("semblance fp16", "inside"), ("semblance fp32", "inside"), (title, "inside"),
                             (title, "outside"))
    )  # fmt: skip
    (failed,) = (row for row in rows if "failed" in row)
    assert failed["contender"] == "broken"
    assert "gone.onnx" in failed["failed"]


def test_a_process_that_dies_or_is_late_is_told(tiny: Subject) -> None:
    dying = race.Worker(job_of(tiny, "semblance_engine", shape=("not", "a", "shape")))
    dying.ask(None, 60)
    with pytest.raises(race.WorkerFailed):
        dying.ask({"prepare": 1}, 60)
    dying._process.kill()
    with pytest.raises(race.WorkerFailed, match="its process ended"):
        dying.ask({"prepare": 1}, 60)
    dying.stop()
    late = race.Worker(job_of(tiny, "semblance_engine"))
    with pytest.raises(race.WorkerFailed, match="not ready within 0 s"):
        late.ask(None, 0.0)
    late.stop()


# ----------------------------------------------------------------------------------------------------------------------
# The whole


@pytest.fixture(scope="module")
def document(_short_turns: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The shortest run of everything on the CPU provider, as it comes back from its file."""
    folder = tmp_path_factory.mktemp("whole")
    plan = whole.Plan(models=["autoencoder"], backend=BACKEND, seconds=4, batches=[1, 4], race_batches=[2],
                      num_images=60, ceiling_size=64, with_random_network=False)  # fmt: skip
    found = whole.run(plan, DEVICE, Console(file=io.StringIO()))
    json.dumps(found, allow_nan=False)
    path = result.write(found, folder)
    assert path.name == f"gpu-pretended-gpu-1-2-{found['date']}.json"
    return json.loads(path.read_text())


def test_a_run_is_a_complete_document_in_which_all_is_proved(document: Any) -> None:
    assert result.lacking(document) == []
    assert document["passed"] is True
    assert {check["subject"] for check in document["checks"]} == {"autoencoder", "local matching"}
    assert [check for check in document["checks"] if check["passed"] is False] == []
    assert document["models"][0]["flop_per_image"] > 0
    assert set(document["memory"]) >= {"autoencoder: proofs", "autoencoder: speed", "autoencoder: beside others"}


def test_every_measured_row_has_a_rate_and_a_share_of_the_ceiling(document: Any) -> None:
    flop = document["models"][0]["flop_per_image"]
    for row in (*document["speed"], *document["contenders"]):
        if "failed" not in row:
            assert row["tflop_per_sec"] == pytest.approx(row["images_per_sec"] * flop / 1e12)
            assert row["share_of_ceiling"] == pytest.approx(
                row["tflop_per_sec"] / document["ceiling"][0]["tflop_per_sec"]
            )


def test_who_is_absent_is_in_the_document(document: Any) -> None:
    for name in ("torch_compiled", "keras_jax"):
        module = contenders.open_contender(name)
        for title in module.VARIANTS:
            rows = [row for row in document["contenders"] if row["contender"] == title]
            assert rows or document["absent"][title].startswith("not installed: ")


@needs_no_gpu
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_device_on_which_everything_fails_still_gives_a_complete_document(tiny: Subject) -> None:
    plan = whole.Plan(models=[str(tiny.path)], backend="cuda", seconds=3, batches=[1], race_batches=[1], num_images=30,
                      ceiling_size=64, contenders=["semblance_engine"], with_random_network=False)  # fmt: skip
    found = whole.run(plan, DEVICE, Console(file=io.StringIO()))
    assert (result.lacking(found), found["passed"]) == ([], False)
    assert {check["precision"] for check in found["checks"]} == {"fp32", "tf32", "fp16", "any"}
    assert {check["passed"] for check in found["checks"]} == {False}
    assert all("failed" in row for kind in ("ceiling", "speed", "contenders") for row in found[kind])
    assert any(line.startswith("matching: BackendError") for line in found["not_measured"])
    tables.show(found, Console(file=io.StringIO()))
    tables.markdown(found)
    json.dumps(found, allow_nan=False)


def test_tables_and_markdown_come_from_the_document(document: Any) -> None:
    printed = io.StringIO()
    tables.show(document, Console(file=printed, width=150))
    for title in ("checks", "largest matrix product", "speed", "beside others, in turns", "matching"):
        assert title in printed.getvalue()
    lines = tables.markdown(document).splitlines()
    assert lines[0] == f"### Pretended GPU 1/2, {document['date']}"
    assert "power limit 700.00 W" in lines[2]
    assert any(line.startswith("| autoencoder | 4 | fp32 | bound") for line in lines)
    assert {line.count("|") for line in lines[4:]} == {10}


def test_a_result_that_lacks_something_is_not_written(document: Any, tmp_path: Path) -> None:
    row = {key: value for key, value in document["speed"][0].items() if key != "threads"}
    broken = {**document, "speed": [row]}
    del broken["date"]
    assert result.lacking(broken) == ["date", "speed[0].threads"]
    with pytest.raises(ValueError, match="lacks date, speed"):
        result.write(broken, tmp_path)


def test_a_run_needs_neither_tensorflow_nor_keras_nor_pytorch() -> None:
    look = (
        "import bench.gpu_check.whole, sys; print({'tensorflow', 'keras', 'torch', 'jax', 'tf2onnx'} & {*sys.modules})"
    )
    ended = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


def test_parts_of_a_run_have_files_of_their_own() -> None:
    assert result.file_name("NVIDIA L4", "2026-01-31", ["race", "proofs", "speed"]) == "gpu-nvidia-l4-2026-01-31.json"
    assert result.file_name("NVIDIA L4", "2026-01-31", ["race"]) == "gpu-nvidia-l4-2026-01-31-race.json"


def test_the_readme_of_results_names_every_field(document: Any) -> None:
    text = (ROOT / "bench" / "results" / "README.md").read_text()
    for field in result.FIELDS:
        assert field == "format" or f"`{field}`" in text
