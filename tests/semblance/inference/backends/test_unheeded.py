"""Options of a GPU that mean nothing to a backend are named."""

from __future__ import annotations

import pytest

from semblance.inference.backends.options import GpuOptions
from semblance.inference.backends.unheeded import unheeded

ALL = ["devices", "TF32", "GPU memory"]


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize(
    ("gpu", "names"),
    [
        (GpuOptions(), ["devices"]),  # as --devices 0
        (GpuOptions(tf32=True), ["TF32"]),
        (GpuOptions(devices=(1,), memory_limit_bytes=1), ["devices", "GPU memory"]),
    ],
)
def test_a_cpu_heeds_none_and_those_that_were_said_are_named(backend: str, gpu: GpuOptions, names: list[str]) -> None:
    assert unheeded(backend, gpu) == names


def test_how_convolutions_are_chosen_is_for_cuda_alone() -> None:
    for backend, names in (("cuda", []), ("tensorrt", ["conv_search"]), ("directml", ["conv_search"])):
        assert unheeded(backend, GpuOptions(conv_search="exhaustive")) == names


@pytest.mark.parametrize("backend", ["cuda", "directml", "coreml", "migraphx"])
def test_a_device_has_nothing_against_what_it_does_anyway(backend: str) -> None:
    assert unheeded(backend, GpuOptions()) == []


@pytest.mark.parametrize(
    ("backend", "names"),
    [("cuda", []), ("directml", ["TF32", "GPU memory"]), ("migraphx", ["TF32", "GPU memory"]), ("coreml", ALL)],
)
def test_a_device_heeds_what_changes_the_options_of_its_provider(backend: str, names: list[str]) -> None:
    assert unheeded(backend, GpuOptions(devices=(0, 1), tf32=True, memory_limit_bytes=1)) == names
    for name, gpu in (
        ("devices", GpuOptions(devices=(1,))), ("TF32", GpuOptions(tf32=True)),
        ("GPU memory", GpuOptions(memory_limit_bytes=1)),
    ):  # fmt: skip
        assert unheeded(backend, gpu) == ([name] if name in names else [])
