"""Loads, and raises at the first call."""

from __future__ import annotations

from typing import Any

from bench.contenders import Asked, Loaded, Role

TITLE = "fails"
ROLE: Role = "known"
PACKAGES = ()


def load(asked: Asked) -> Loaded:
    """No options."""

    def run(given: Any) -> Any:
        raise ValueError("it was to fail, and did")

    return Loaded(run)
