"""The engine's matching: exact, on bytes, many pictures at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.contenders import Asked, Loaded, Role
from bench.contenders.matching_task import RATIO, Pair, Triples, as_triples

TITLE = "semblance"
ROLE: Role = "engine"
PACKAGES = ("onnxruntime",)


def load(asked: Asked) -> Loaded:
    """No options."""
    from semblance.local.descriptors import DescriptorSets
    from semblance.local.matching import match_one_to_many

    def prepare(given: Pair) -> tuple[Any, Any]:
        return given.query, given.train if len(given.train) == 1 else DescriptorSets.join(given.train)

    def answers(found: Any) -> Triples:
        return as_triples(np.stack([found.train_set, found.query, found.train], axis=1))

    return Loaded(
        lambda prepared: match_one_to_many(*prepared, ratio=RATIO, threads=asked.threads),
        prepare=prepare,
        answers=answers,
    )
