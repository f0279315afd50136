"""What a processor has, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from semblance.doctor.processor import Processor, read_processor

MakeRoot = Callable[[dict[str, str]], Path]

GENOA = "avx avx2 avx512f avx512_bf16 avx512_vnni"
SAPPHIRE_RAPIDS = "avx2 avx512f avx512_bf16 avx512_vnni avx_vnni amx_bf16 amx_tile amx_int8"
ALDER_LAKE = "avx2 avx_vnni"
HASWELL = "avx avx2"


def _processor(root: Path, **told: bool) -> Processor:
    return read_processor(threads=4, root=root, **{"has_openvino": True, **told})


def _flags(processor: Processor) -> dict[str, tuple[str, ...]]:
    return {feature.name: feature.flags for feature in processor.features}


def _cpuinfo(flags: str) -> dict[str, str]:
    one = "processor\t: {}\nmodel name\t: A Processor @ 3GHz\nflags\t\t: fpu {}\nbugs\t\t: spectre_v1\n\n"
    return {"proc/cpuinfo": one.format(0, flags) + one.format(1, flags)}


@pytest.mark.parametrize(
    ("flags", "here", "int8", "bf16"),
    [
        (GENOA, {"AVX2", "AVX-512", "VNNI", "bf16"}, True, True),
        (SAPPHIRE_RAPIDS, {"AVX2", "AVX-512", "VNNI", "bf16", "AMX"}, True, True),
        (ALDER_LAKE, {"AVX2", "VNNI"}, True, False),
        (HASWELL, {"AVX2"}, False, False),
        ("sse2", set(), False, False),
    ],
)
def test_features_and_what_follows(make_root: MakeRoot, flags: str, here: set[str], int8: bool, bf16: bool) -> None:
    processor = _processor(make_root(_cpuinfo(flags)))
    assert processor.model == "A Processor @ 3GHz"
    assert {name for name, found in _flags(processor).items() if found} == here
    about_int8, about_bf16 = processor.follows
    assert about_int8.startswith("int8 gains here") == int8
    assert about_bf16.startswith("bf16 gains here through OpenVINO") == bf16


def test_both_kinds_of_vnni_are_named(make_root: MakeRoot) -> None:
    assert _flags(_processor(make_root(_cpuinfo(SAPPHIRE_RAPIDS))))["VNNI"] == ("avx512_vnni", "avx_vnni")


def test_bf16_without_openvino_says_how_to_get_it(make_root: MakeRoot) -> None:
    root = make_root(_cpuinfo(GENOA))
    assert "pip install 'semblance[openvino]'" in _processor(root, has_openvino=False).follows[1]
    assert "pip" not in _processor(root).follows[1]


def test_an_arm_processor(make_root: MakeRoot) -> None:
    text = "processor\t: 0\nBogoMIPS\t: 243\nFeatures\t: fp asimd asimddp sve i8mm bf16\n"
    processor = _processor(make_root({"proc/cpuinfo": text}))
    assert {name for name, found in _flags(processor).items() if found} == {"dot product", "i8mm", "bf16", "SVE"}
    assert processor.follows[0] == "int8 gains here: it multiplies 8-bit integers itself (asimddp, i8mm)"
    old = _processor(make_root({"proc/cpuinfo": "Features : fp asimd\n"}))
    assert old.follows[0].startswith("int8 gains little here")


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    processor = _processor(tmp_path)
    assert processor.model  # of the platform module, then
    assert (processor.features, processor.follows, processor.memory_bytes) == ((), (), None)


@pytest.mark.parametrize(("quota", "advice"), [("150000", "--threads is 2, not 4"), ("400000", None), ("350000", None)])
def test_a_quota_below_the_threads_is_told(make_root: MakeRoot, quota: str, advice: str | None) -> None:
    root = make_root(
        {
            "proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": f"{quota} 100000\n",
        }
    )
    processor = _processor(root)
    assert processor.quota == int(quota) / 100_000
    assert [advice for text in processor.follows if advice and advice in text] == ([advice] if advice else [])
    assert len(processor.follows) == (1 if advice else 0)


@pytest.mark.parametrize(("limit", "expected"), [("4294967296", 1 << 32), ("34359738368", None)])
def test_a_limit_above_the_memory_is_none(make_root: MakeRoot, limit: str, expected: int | None) -> None:
    root = make_root(
        {
            "proc/meminfo": "MemTotal:       16777216 kB\nMemFree:        1 kB\n",
            "proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{limit}\n",
        }
    )
    processor = _processor(root)
    assert (processor.memory_bytes, processor.memory_limit_bytes) == (1 << 34, expected)


def test_this_machine_can_be_read() -> None:
    assert _processor(Path("/")).model
