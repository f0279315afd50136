"""Threads that give way to others of the same process: whoever computes, to whoever answers.

In: a number from 0 to 19, as of nice(1). Out: nothing; the calling thread, and the threads that it starts from then on,
get the processor only where nobody of a lower number wants it. Linux knows that of single threads; elsewhere nothing
happens.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

MOST = 19


def give_way(niceness: int) -> None:
    """Have the calling thread, and those that it starts, give way to threads of a lower `niceness`, 0 to 19."""
    if niceness > 0 and sys.platform == "linux":
        with suppress(OSError):  # a sandbox that does not let it: then all are alike, as before
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
