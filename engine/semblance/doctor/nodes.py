"""Which provider runs which nodes of a model, where a backend was asked for.

In: an ONNX file and a backend's name. Out: for each provider the number of its nodes, by operator. A backend refuses a
model of which some nodes would run elsewhere; here they may, so that one sees which.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semblance.card import ModelCard, read_card
from semblance.inference import tuned
from semblance.inference.backends import LoadOptions, openvino, ort
from semblance.inference.backends.providers import PROVIDERS
from semblance.inference.session import default_max_batch

_NO_OPERATORS = ("Input", "Output", "Const")  # of OpenVINO's graphs


def place(model: Path, backend: str) -> list[dict[str, Any]]:
    """[{"provider": name, "num_nodes": count, "operators": {type: count}}], most nodes first.

    Raises BackendError, RuntimeMissing, ModelError.
    """
    if backend == openvino.NAME:
        return _told({"OpenVINO CPU": _openvino_operators(model)})
    placement = ort.place(model, PROVIDERS[backend], _options(model, read_card(model)))
    return _told({provider: placement.ops(provider) for provider in placement.nodes})


def _options(model: Path, card: ModelCard) -> LoadOptions:
    """With the batch sizes of a session, so that an engine which is built here is the one that a session looks for."""
    return LoadOptions(
        threads=1,
        precision=card.precision,
        shape=(card.height, card.width, card.channels),
        buckets=(1, default_max_batch(card)),
        identity=tuned.identity(model, card),
    )


def _openvino_operators(model: Path) -> Counter[str]:
    """OpenVINO runs a graph on one device or not at all; these are the steps that are left after it fused some."""
    core = openvino.openvino().Core()
    hint = openvino.hint_of(read_card(model).precision)
    compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": hint})
    kinds = (node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops())
    return Counter(kind for kind in kinds if kind not in _NO_OPERATORS)


def _told(operators: Mapping[str, Counter[str]]) -> list[dict[str, Any]]:
    found = [
        {"provider": provider, "num_nodes": counts.total(), "operators": dict(counts.most_common())}
        for provider, counts in operators.items()
    ]
    return sorted(found, key=lambda each: -each["num_nodes"])
