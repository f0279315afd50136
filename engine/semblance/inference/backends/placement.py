"""Which nodes of a loaded graph run on which provider, as ONNX Runtime itself tells.

In: a session that was opened with the record of it. Out: nodes by provider. That a provider is in a session's list says
nothing: each node goes to the first provider that takes it, and whatever none takes goes to the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semblance.inference.backends.providers import Provider

RECORD = "session.record_ep_graph_assignment_info"  # the session's option that `read` depends on

_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph, after ONNX Runtime's own simplifications and before a provider's."""

    name: str
    op: str


@dataclass(frozen=True, slots=True)
class Placement:
    """The nodes of a session, by the provider that runs them."""

    nodes: Mapping[str, tuple[Node, ...]]

    def ops(self, provider: str) -> Counter[str]:
        """How many of each operation `provider` runs."""
        return Counter(node.op for node in self.nodes.get(provider, ()))

    def misplaced(self, row: Provider) -> tuple[Node, ...]:
        """Those that do not run on the provider of `row`, though it does not have to leave them to the CPU."""
        return tuple(
            node
            for provider, nodes in self.nodes.items()
            if provider != row.provider
            for node in nodes
            if node.op not in row.on_host
        )

    def __str__(self) -> str:
        """As `CUDAExecutionProvider 104 nodes (Conv 53, Relu 49, ...)`, provider by provider."""
        return "; ".join(
            f"{provider} {len(nodes)} nodes ({_counts(self.ops(provider))})" for provider, nodes in self.nodes.items()
        )


def read(session: Any) -> Placement:
    """Where the nodes of `session` are. It must have been opened with `RECORD`."""
    found: dict[str, list[Node]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, []).extend(Node(node.name, node.op_type) for node in part.get_nodes())
    return Placement({provider: tuple(nodes) for provider, nodes in found.items()})


def named(nodes: tuple[Node, ...]) -> str:
    """As `3 nodes: Cast 'cast', Reshape 'flatten', MatMul 'head'`: how many, and the first few."""
    listed = [f"{node.op} {node.name!r}" if node.name else node.op for node in nodes[:_MOST_NAMED]]
    if len(nodes) > _MOST_NAMED:
        listed.append("...")
    return f"{len(nodes)} node{'s' * (len(nodes) != 1)}: {', '.join(listed)}"


def _counts(ops: Counter[str]) -> str:
    listed = [f"{op} {number}" for op, number in ops.most_common(_MOST_NAMED)]
    return ", ".join([*listed, "..."] if len(ops) > _MOST_NAMED else listed)
