"""The table of providers: what each is told, and where engines are kept."""

from __future__ import annotations

import mmap
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import BackendError, InputError
from semblance.inference import backends
from semblance.inference.backends import GpuOptions, LoadOptions, ort, tensorrt
from semblance.inference.backends.providers import PROVIDERS

LOAD = LoadOptions(threads=1, shape=(224, 224, 3), buckets=(1, 2, 4, 8), identity="resnet101-fp16-abc")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path))
    return tmp_path


def cuda(**gpu: Any) -> dict[str, str]:
    return dict(PROVIDERS["cuda"].options(replace(LOAD, gpu=GpuOptions(**gpu))))


def trt(**load: Any) -> dict[str, str]:
    return dict(PROVIDERS["tensorrt"].options(replace(LOAD, **load)))


@pytest.mark.parametrize("name", PROVIDERS)
def test_options_are_text_as_onnx_runtime_wants_it(name: str) -> None:
    options = PROVIDERS[name].options(replace(LOAD, gpu=GpuOptions(memory_limit_bytes=1 << 30)))
    assert all(isinstance(part, str) for pair in options.items() for part in pair)


@pytest.mark.parametrize("name", PROVIDERS)
def test_folders_are_options(name: str) -> None:
    assert set(PROVIDERS[name].folders) <= set(PROVIDERS[name].options(LOAD))


def test_what_cuda_is_told_where_nobody_says() -> None:
    assert cuda() == {
        "use_tf32": "0",  # PITFALLS: the provider's own default rounds products to 10 bits
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "prefer_nhwc": "1",
        "enable_cuda_graph": "1",
        "do_copy_in_default_stream": "1",
    }


def test_what_a_user_says_of_a_gpu_reaches_cuda() -> None:
    told = cuda(tf32=True, memory_limit_bytes=123, cuda_graphs=False, nhwc=False, conv_search="exhaustive")
    assert told["use_tf32"] == "1"
    assert told["gpu_mem_limit"] == "123"
    assert told["cudnn_conv_use_max_workspace"] == "0"  # else one convolution may ask for more than the limit
    assert told["enable_cuda_graph"] == told["prefer_nhwc"] == "0"
    assert told["cudnn_conv_algo_search"] == "EXHAUSTIVE"
    assert PROVIDERS["cuda"].options(replace(LOAD, device=3))["device_id"] == "3"


@pytest.mark.parametrize("wrong", [{"conv_search": "fast"}, {"in_flight": 0}, {"in_flight": 1.5}])
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        GpuOptions(**wrong)


def test_tensorrt_builds_one_range_tuned_for_the_largest_bucket() -> None:
    told = trt()
    assert told["trt_profile_min_shapes"] == "image:1x224x224x3"
    assert told["trt_profile_opt_shapes"] == told["trt_profile_max_shapes"] == "image:8x224x224x3"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_tensorrt_may_compute_in_what_the_card_says_and_nothing_else(precision: Any) -> None:
    told = trt(precision=precision)
    allowed = [name for name in ("fp16", "bf16", "int8") if told[f"trt_{name}_enable"] == "True"]
    assert allowed == ([] if precision == "fp32" else [precision])


def test_tensorrt_records_only_where_one_recording_is_all_there_is() -> None:
    one = GpuOptions(in_flight=1)
    assert trt()["trt_cuda_graph_enable"] == "False"
    assert trt(buckets=(8,), gpu=one)["trt_cuda_graph_enable"] == "True"
    assert trt(buckets=(1, 8), gpu=one)["trt_cuda_graph_enable"] == "False"
    assert trt(buckets=(8,), gpu=replace(one, cuda_graphs=False))["trt_cuda_graph_enable"] == "False"


def test_an_engine_is_found_again_by_the_same_and_by_no_other(home: Path) -> None:
    folder = tensorrt.engine_folder(LOAD)
    assert folder == tensorrt.engine_folder(replace(LOAD))
    assert folder.parent == home / "engines"
    assert folder.name.startswith(LOAD.identity)
    others = [
        replace(LOAD, identity="resnet101-fp16-abd"),
        replace(LOAD, buckets=(1, 2, 4)),
        replace(LOAD, buckets=(2, 4, 8)),
        replace(LOAD, shape=(224, 225, 3)),
        replace(LOAD, precision="fp16"),
        replace(LOAD, gpu=GpuOptions(memory_limit_bytes=1 << 30)),
    ]
    assert len({folder, *map(tensorrt.engine_folder, others)}) == 1 + len(others)
    # what does not change an engine does not lose it
    assert folder == tensorrt.engine_folder(replace(LOAD, threads=7, buckets=(1, 4, 8)))


def test_another_version_of_the_runtime_has_engines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    folder = tensorrt.engine_folder(LOAD)
    monkeypatch.setattr(onnxruntime, "__version__", "1.99.0")
    assert tensorrt.engine_folder(LOAD) != folder


def test_an_engine_that_was_built_with_tf32_is_none_for_whoever_forbids_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    folder = tensorrt.engine_folder(LOAD)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    assert tensorrt.engine_folder(LOAD) != folder


def test_models_share_what_was_measured_of_kernels() -> None:
    assert tensorrt.timing_folder(LOAD) == tensorrt.timing_folder(replace(LOAD, identity="siamese"))


def test_graphs_that_are_compiled_have_a_folder_each(home: Path) -> None:
    for name, option in (("coreml", "ModelCacheDirectory"), ("migraphx", "migraphx_model_cache_dir")):
        one, other = (
            PROVIDERS[name].options(replace(LOAD, identity=identity))[option] for identity in ("siamese", "resnet101")
        )
        assert one != other
        assert Path(one).is_relative_to(home / "engines")


def test_coreml_keeps_the_types_of_the_graph() -> None:
    assert PROVIDERS["coreml"].options(LOAD)["ModelFormat"] == "MLProgram"


def test_directml_gets_the_session_that_it_demands() -> None:
    import onnxruntime

    given = ort.session_options(PROVIDERS["directml"], LOAD, strict=True)
    assert not given.enable_mem_pattern
    assert given.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    assert given.get_session_config_entry("session.disable_cpu_ep_fallback") == "1"


def test_a_compiler_gets_the_graph_as_it_was_exported() -> None:
    import onnxruntime

    level = onnxruntime.GraphOptimizationLevel
    for name, row in PROVIDERS.items():
        given = ort.session_options(row, LOAD, strict=False).graph_optimization_level
        expected = level.ORT_ENABLE_BASIC if name in ("tensorrt", "coreml", "migraphx") else level.ORT_ENABLE_ALL
        assert given == expected


def test_quantised_models_are_for_tensorrt_and_not_for_cuda(tiny_model: Any) -> None:
    assert "int8" in PROVIDERS["tensorrt"].precisions
    with pytest.raises(BackendError, match="'cuda' does not compute in int8; it takes fp32, fp16"):
        backends.load(tiny_model.path, "cuda", replace(LOAD, precision="int8"))


@pytest.mark.parametrize(("name", "library"), [("cuda", "cuda"), ("tensorrt", "tensorrt")])
def test_the_installed_wheel_knows_these_options(name: str, library: str) -> None:
    import onnxruntime

    path = Path(onnxruntime.__file__).parent / "capi" / f"libonnxruntime_providers_{library}.so"
    if not path.exists():
        pytest.skip(f"the installed onnxruntime has no {PROVIDERS[name].provider}")
    options = PROVIDERS[name].options(replace(LOAD, device=1, gpu=GpuOptions(memory_limit_bytes=1)))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        assert [option for option in options if binary.find(option.encode() + b"\0") < 0] == []


def test_here_is_a_system_that_some_rows_are_for() -> None:
    assert platform.system() in PROVIDERS["cpu"].systems
