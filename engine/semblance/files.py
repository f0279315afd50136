"""Files that are whole or not there: written under another name, then renamed.

In: a path and its bytes. Out: the file. Whoever reads at `path` sees the old content or the new, never a part of it,
whenever the writer is killed.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Put `content` at `path`, in the place of what was there; the folder must exist. Raises OSError."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could keep the new name and lose the bytes
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
