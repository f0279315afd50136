"""Whether a processor's sums of bytes are whole: by made-up systems, and here by the arithmetic itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from semblance.instructions import cuts_byte_sums_off, flags


def system(root: Path, text: str) -> Path:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "machine", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", "x86_64", False),
        ("flags\t\t: fpu avx2 avx_vnni\n", "AMD64", False),
        ("flags\t\t: fpu avx2 avx512f\n", "x86_64", True),
        ("flags\t\t: fpu avx2\n\nflags\t\t: avx512_vnni\n", "x86_64", True),
        ("model name: some\n", "x86_64", True),
        ("Features\t: fp asimd\n", "aarch64", False),
    ],
)
def test_x86_needs_vnni(tmp_path: Path, text: str, machine: str, expected: bool) -> None:
    assert cuts_byte_sums_off(system(tmp_path, text), machine) is expected


def test_a_system_that_does_not_tell_is_not_trusted(tmp_path: Path) -> None:
    assert flags(tmp_path) is None
    assert cuts_byte_sums_off(tmp_path, "x86_64")
    assert not cuts_byte_sums_off(tmp_path, "arm64")


def test_where_it_says_that_sums_are_whole_they_are() -> None:
    from semblance.inference import backends
    from semblance.local import nearest

    if cuts_byte_sums_off():
        pytest.skip("this processor is not said to have whole sums")
    graph = nearest.graphs_folder() / "bytes.onnx"
    assert nearest._is_exact(backends.open_session(graph, "cpu", threads=1))
