"""How much of the device's memory is in use, now and at most.

In: nvidia-smi. Out: bytes, or None where there is none to ask. It counts the device's whole memory, with whatever other
processes hold, since inside a container it cannot tell whose is whose: what is said is the growth over a block.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from bench.gpu_check.device import ask_smi, smi_command

MIB = 1 << 20
_EVERY_MS = 250  # a runtime keeps what it took, so that no peak is shorter


@dataclass(slots=True)
class Peak:
    """Filled when its block has ended."""

    before_bytes: int | None = None
    peak_bytes: int | None = None  # None: nothing to ask

    @property
    def grown_bytes(self) -> int | None:
        """What the block added at most."""
        if self.peak_bytes is None or self.before_bytes is None:
            return None
        return max(0, self.peak_bytes - self.before_bytes)


def used_bytes() -> int | None:
    """In use on the device now."""
    answer = ask_smi(["memory.used"])
    return _bytes(answer[0]) if answer else None


@contextlib.contextmanager
def watched() -> Iterator[Peak]:
    """The largest use during the block, looked at four times a second by one nvidia-smi that runs along."""
    peak = Peak(before_bytes=used_bytes())
    command = smi_command(["memory.used"], "-lms", str(_EVERY_MS))
    if command is None or peak.before_bytes is None:
        yield peak
        return
    if line_by_line := shutil.which("stdbuf"):  # else a pipe may get its lines in blocks, and none at the end
        command = [line_by_line, "-oL", *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seen = [peak.before_bytes]

    def read() -> None:
        assert process.stdout is not None  # it was asked for
        for line in process.stdout:
            if (value := _bytes(line.strip())) is not None:
                seen.append(value)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield peak
    finally:
        process.terminate()
        process.wait()
        reader.join()
        peak.peak_bytes = max(seen)


def _bytes(mib: str | None) -> int | None:
    try:
        return round(float(mib) * MIB) if mib else None
    except ValueError:
        return None
