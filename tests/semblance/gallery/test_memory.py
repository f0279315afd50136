"""What a stage has freed is the system's again."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from semblance.gallery.memory import release_memory


def resident_bytes() -> int:
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell what a process holds")
def test_what_was_freed_is_given_back() -> None:
    before = resident_bytes()
    kept = [np.ones(2**13) for _ in range(2000)]  # 64 kB each, which the C library takes from its heap
    last = kept.pop()  # above the others, so that the heap does not shrink by itself
    kept.clear()
    assert resident_bytes() - before > 2**26, "nothing was kept: this test shows nothing"
    release_memory()
    assert resident_bytes() - before < 2**25
    assert last.sum() == 2**13
