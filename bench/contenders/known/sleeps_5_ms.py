"""Takes as long as it says: 5 ms a call."""

from __future__ import annotations

import time
from typing import Any

from bench.contenders import Asked, Loaded, Role

TITLE = "sleeps 5 ms"
ROLE: Role = "known"
PACKAGES = ()

TAKES_S = 0.005


def load(asked: Asked) -> Loaded:
    """No options."""

    def run(given: Any) -> Any:
        time.sleep(TAKES_S)
        return given

    return Loaded(run)
