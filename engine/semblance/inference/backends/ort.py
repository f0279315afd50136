"""ONNX Runtime: one session on the provider of one row of the table.

In: an ONNX file and a row. Out: a runner whose nodes all lie on that row's provider. ONNX Runtime itself would warn and
put a GPU session on the CPU, so every row but the CPU's forbids that, and where its nodes came to lie is read back.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semblance.errors import BackendError, ModelError
from semblance.inference.backends import causes, placement
from semblance.inference.backends.options import LoadOptions
from semblance.inference.backends.placement import Node, Placement
from semblance.inference.backends.providers import Options, Provider
from semblance.inference.backends.wheels import onnxruntime
from semblance.instructions import cuts_byte_sums_off

# Weights of 8 bits multiplied by slower kernels whose sums are whole
WHOLE_SUMS = "session.x64quantprecision"
_NO_FALLBACK = "session.disable_cpu_ep_fallback"
# How a session is refused when no provider takes a node, and it may not be put on the CPU or not be recorded there
_REFUSED = ("assigned to the default CPU EP", "cannot use the graph capture feature")
# What turns recordings off, by the options of the providers that have them
NO_GRAPHS = {"enable_cuda_graph": "0", "trt_cuda_graph_enable": "False"}


class OrtRunner:
    """One ONNX Runtime session on one provider, with its inputs and outputs in host memory."""

    def __init__(self, model: Path, row: Provider, options: LoadOptions) -> None:
        """Load `model`. Raises BackendError, RuntimeMissing, ModelError."""
        self._session = open_session(model, row, options)
        check_signature(model, self._session)
        self._failures = failures()
        # DirectML crashes where two threads are in one session (its documentation says so, onnxruntime #22147), and
        # a device would only queue them: on a CPU alone they gain
        self._turn: AbstractContextManager[Any] = nullcontext() if row.is_cpu else threading.Lock()
        self._row, self._shape = row, options.shape
        self.description = describe(row, options)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[N, H, W, C] uint8 -> [N, D] float32. Raises BackendError where ONNX Runtime fails."""
        try:
            with self._turn:
                embedding: NDArray[np.float32] = self._session.run(["embedding"], {"image": images})[0]
        except self._failures as error:
            raise run_error(self._row, self.description, len(images), error) from error
        return embedding

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""
        if not self._row.is_cpu:
            return  # what it reserved lies on the device
        # ONNX Runtime gives back at the end of a run, of the smallest one here
        options = onnxruntime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        with suppress(*self._failures):  # then it keeps what it has, and the next batch says what is wrong
            self._session.run(["embedding"], {"image": np.zeros((1, *self._shape), np.uint8)}, options)


def open_session(model: Path, row: Provider, options: LoadOptions, *, provider_options: Options | None = None) -> Any:
    """An `InferenceSession` of the graph in `model`, all of it on the provider of `row`, or an error that says why not.

    `provider_options` take the place of those of the row. Raises BackendError, RuntimeMissing, ModelError.
    """
    if cause := causes.before(row, options.device):
        raise cause.error(row)
    of_provider = dict(row.options(options) if provider_options is None else provider_options)
    try:
        session = _open(model, row, options, of_provider, strict=not row.is_cpu and not row.on_host)
    except Exception as error:  # ONNX Runtime raises classes of its own, by failure, without a common base
        # which nodes it may not put on the CPU, it tells only of a session that it does open
        is_refused = any(words in str(error) for words in _REFUSED)
        nodes = _placement(model, row, options, of_provider).misplaced(row) if is_refused else ()
        raise (_misplaced(model, row, nodes) if nodes else _load_error(model, row, error)) from error
    _check_started(row, session)
    if not row.is_cpu and (nodes := placement.read(session).misplaced(row)):
        raise _misplaced(model, row, nodes)
    return session


def place(model: Path, row: Provider, options: LoadOptions) -> Placement:
    """Where each node of the graph in `model` would run if `row` took what it can and the CPU the rest.

    Raises BackendError, RuntimeMissing, ModelError.
    """
    if cause := causes.before(row, options.device):
        raise cause.error(row)
    return _placement(model, row, options, dict(row.options(options)))


def session_options(row: Provider, options: LoadOptions, *, strict: bool) -> Any:
    """Options of a session on the provider of `row`; `strict`: a node that it does not take is an error."""
    ort = onnxruntime()
    given = ort.SessionOptions()
    # all callers share the session's one pool and work beside it. ONNX Runtime counts one of them, and starts a thread
    # less than it is told; of several callers the others are to be left out too
    given.intra_op_num_threads = max(1, options.threads - options.streams + 1)
    given.inter_op_num_threads = 1
    given.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL  # DirectML has no other
    given.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    # its warnings speak to developers of runtimes, and what it logs as an error it raises as well
    given.log_severity_level = 4
    if row.compiles:
        # fusions that are for kernels of ONNX Runtime's own would stand in the way of those that the provider makes
        given.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if not row.is_cpu:
        # a plan of the memory for each batch size is kept beside the arena that it came from; DirectML and the
        # recording of CUDA graphs want it off
        given.enable_mem_pattern = False
    given.add_session_config_entry(placement.RECORD, "1")
    if row.is_cpu and options.precision == "int8" and cuts_byte_sums_off():
        given.add_session_config_entry(WHOLE_SUMS, "1")
    if strict:
        given.add_session_config_entry(_NO_FALLBACK, "1")
    return given


def _placement(model: Path, row: Provider, options: LoadOptions, of_provider: dict[str, str]) -> Placement:
    """As `place`; without recordings, for which ONNX Runtime wants all nodes on the device."""
    unrecorded = {name: NO_GRAPHS.get(name, value) for name, value in of_provider.items()}
    try:
        session = _open(model, row, options, unrecorded, strict=False)
    except Exception as error:
        raise _load_error(model, row, error) from error
    _check_started(row, session)
    return placement.read(session)


def _open(model: Path, row: Provider, options: LoadOptions, of_provider: dict[str, str], *, strict: bool) -> Any:
    for name in row.folders:
        if name in of_provider:
            Path(of_provider[name]).mkdir(parents=True, exist_ok=True)
    # enable_fallback: else its Python layer prints the error, and begins anew on the CPU; also in the middle of a run
    return onnxruntime().InferenceSession(
        model,
        session_options(row, options, strict=strict),
        providers=[(row.provider, of_provider)],
        enable_fallback=0,
    )


def describe(row: Provider, options: LoadOptions) -> str:
    """What runs where, for people: runtime, version, provider, threads."""
    return f"onnxruntime {onnxruntime().__version__}, {row.provider}, {options.threads_told}"


def run_error(row: Provider, description: str, batch: int, error: Exception) -> BackendError:
    """The failure of a batch, with its cause where the words are known; they are those of devices."""
    cause = None if row.is_cpu else causes.of_text(str(error))
    why = f"{cause.what}; {cause.remedy}" if cause else _first_line(error)
    return BackendError(f"{description} failed on a batch of {batch}: {why}")


def _check_started(row: Provider, session: Any) -> None:
    if row.provider not in session.get_providers():
        raise causes.not_started(row).error(row)


def _misplaced(model: Path, row: Provider, nodes: tuple[Node, ...]) -> BackendError:
    return BackendError(
        f"backend {row.name!r} cannot run {model}: {row.provider} does not take {placement.named(nodes)}; "
        "use another export of the model or another backend"
    )


def _load_error(model: Path, row: Provider, error: Exception) -> BackendError | ModelError:
    if not row.is_cpu and (cause := causes.of_text(str(error))):
        return cause.error(row)
    if row.is_cpu or type(error).__name__ in ("InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NoModel"):
        return ModelError(f"{model}: ONNX Runtime cannot load it ({_first_line(error)}); export the model again")
    return BackendError(f"backend {row.name!r} cannot run {model}: {_first_line(error)}")


def check_signature(model: Path, session: Any) -> None:
    """Names and batch axis as `python -m export` makes them; one fixed at 1 would fail at the second picture."""
    inputs = {each.name: each.shape for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    if list(inputs) != ["image"] or "embedding" not in outputs:
        raise ModelError(
            f"{model}: its graph has the inputs {list(inputs)} and outputs {outputs}, expected are `image` and "
            "`embedding`; export the model with `python -m export`"
        )
    if isinstance(inputs["image"][0], int):
        raise ModelError(f"{model}: its batch axis is fixed at {inputs['image'][0]}; export the model again")


def failures() -> tuple[type[Exception], ...]:
    """What `run` raises: ONNX Runtime's exceptions have no base of their own, and bad arguments are ValueErrors."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    raised = [each for each in vars(state).values() if isinstance(each, type) and issubclass(each, Exception)]
    return (*raised, ValueError, RuntimeError)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
