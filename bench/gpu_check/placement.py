"""Proof that the GPU computes a model, all of it: which provider each node of the graph was given to.

In: a model and a backend. Out: a check with the nodes by provider. ONNX Runtime is asked twice: once, left free, it
says where it put each node; and the engine's own session, which forbids any other place, has to load.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bench.gpu_check.checks import Check
from bench.gpu_check.running import PROVIDERS, open_session
from bench.gpu_check.setting import Precision, Setting
from semblance.inference.session import Session

_MOST_NAMED = 5


def check_placement(path: Path, name: str, precision: Precision, *, backend: str) -> Check:
    """All nodes of the graph in `path` lie on the provider of `backend`."""
    session = open_session(path, Setting(precision=precision), backend, records_placement=True)
    by_provider: Counter[str] = Counter()
    strays = []
    for part in session.get_provider_graph_assignment_info():
        nodes = part.get_nodes()
        by_provider[part.ep_name] += len(nodes)
        if part.ep_name != PROVIDERS[backend]:
            strays += [f"{node.op_type} {node.name}".strip() for node in nodes]
    Session(path, backend=backend, max_batch=1)  # raises where a node has to go elsewhere
    is_proved = not strays and by_provider[PROVIDERS[backend]] > 0
    said = ", ".join(f"{count} nodes on {provider}" for provider, count in by_provider.items()) or "no node recorded"
    if strays:
        said += f"; not on {PROVIDERS[backend]}: {', '.join(strays[:_MOST_NAMED])}"
    return Check(
        name="every node on the device",
        subject=name,
        precision=precision,
        passed=is_proved,
        said=said,
        figures={"nodes_by_provider": dict(by_provider), "provider_options": session.get_provider_options()},
    )
