"""Where nodes run: told by ONNX Runtime, and an error wherever it is not where it was asked for.

AzureExecutionProvider is in the plain wheel and takes no ordinary node, so that everything goes to the CPU: just what
happens to a GPU's provider that does not know an operation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from semblance.errors import BackendError, ModelError
from semblance.inference.backends import LoadOptions, ort, placement
from semblance.inference.backends.placement import Node, Placement
from semblance.inference.backends.providers import PROVIDERS, Provider

LOAD = LoadOptions(threads=1, shape=(8, 8, 1))
AZURE = Provider(
    "azure", "AzureExecutionProvider", "pip install onnxruntime", lambda load: {}, "one", "fp32", ("fp32",)
)


@pytest.fixture
def _azure() -> None:
    import onnxruntime

    if AZURE.provider not in onnxruntime.get_available_providers():
        pytest.skip(f"this onnxruntime has no {AZURE.provider}")


def test_every_node_of_a_model_on_the_cpu_is_listed(tiny_model: Any) -> None:
    found = ort.place(tiny_model.path, PROVIDERS["cpu"], LOAD)
    assert list(found.nodes) == ["CPUExecutionProvider"]
    assert found.ops("CPUExecutionProvider") == {"Cast": 1, "Reshape": 1, "MatMul": 1}
    assert found.ops("CUDAExecutionProvider") == {}
    assert found.misplaced(PROVIDERS["cpu"]) == ()
    assert str(found) == "CPUExecutionProvider 3 nodes (Cast 1, Reshape 1, MatMul 1)"


@pytest.mark.usefixtures("_azure")
def test_a_model_that_the_provider_does_not_take_is_refused_with_its_nodes(tiny_model: Any) -> None:
    with pytest.raises(BackendError) as raised:
        ort.open_session(tiny_model.path, AZURE, LOAD)
    assert str(raised.value) == (
        f"backend 'azure' cannot run {tiny_model.path}: AzureExecutionProvider does not take "
        "3 nodes: Cast, Reshape, MatMul; use another export of the model or another backend"
    )


@pytest.mark.usefixtures("_azure")
def test_a_refusal_says_nothing_beside_its_error(tiny_model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BackendError):
        ort.open_session(tiny_model.path, AZURE, LOAD)
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("_azure")
def test_nodes_have_the_names_that_the_export_gave_them(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    for node in model.graph.node:
        node.name = f"resnet/{node.op_type.lower()}"
    onnx.save(model, tiny_model.path)
    with pytest.raises(BackendError, match="3 nodes: Cast 'resnet/cast', Reshape 'resnet/reshape', MatMul"):
        ort.open_session(tiny_model.path, AZURE, LOAD)


@pytest.mark.usefixtures("_azure")
def test_what_a_provider_has_to_leave_to_the_cpu_may_be_there_and_nothing_else(tiny_model: Any) -> None:
    with pytest.raises(BackendError, match="2 nodes: Reshape, MatMul"):
        ort.open_session(tiny_model.path, replace(AZURE, on_host=frozenset({"Cast"})), LOAD)
    row = replace(AZURE, on_host=frozenset({"Cast", "Reshape", "MatMul"}))
    session = ort.open_session(tiny_model.path, row, LOAD)
    assert placement.read(session).ops("CPUExecutionProvider")["MatMul"] == 1


@pytest.mark.usefixtures("_azure")
def test_a_damaged_model_is_not_blamed_on_the_provider(tiny_model: Any) -> None:
    import onnx

    model = onnx.load(tiny_model.path)
    model.graph.node[1].op_type = "NoSuchOperator"
    onnx.save(model, tiny_model.path)
    with pytest.raises(ModelError, match="NoSuchOperator"):
        ort.open_session(tiny_model.path, AZURE, LOAD)
    tiny_model.path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="export the model again"):
        ort.open_session(tiny_model.path, AZURE, LOAD)


def test_a_single_node_elsewhere_is_misplaced() -> None:
    found = Placement(
        {
            "CUDAExecutionProvider": tuple(Node(f"conv{number}", "Conv") for number in range(50)),
            "CPUExecutionProvider": (Node("shape", "Shape"), Node("cast", "Cast")),
        }
    )
    assert found.misplaced(PROVIDERS["cuda"]) == (Node("shape", "Shape"), Node("cast", "Cast"))
    assert found.misplaced(replace(PROVIDERS["cuda"], on_host=frozenset({"Cast"}))) == (Node("shape", "Shape"),)


def test_many_nodes_are_counted_and_a_few_named() -> None:
    assert placement.named((Node("", "Conv"),)) == "1 node: Conv"
    listed = placement.named(tuple(Node(f"n{number}", "Conv") for number in range(70)))
    assert listed == "70 nodes: Conv 'n0', Conv 'n1', Conv 'n2', Conv 'n3', Conv 'n4', ..."
