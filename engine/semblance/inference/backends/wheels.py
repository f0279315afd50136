"""Which of the wheels that run graphs are installed, and whether they get on with each other.

In: nothing. Out: names and versions, the `onnxruntime` module, or a RuntimeMissing that holds the pip command. All
builds of ONNX Runtime install a package of the same name: the last one wins, file by file.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from types import ModuleType

from semblance.errors import RuntimeMissing

_ONNXRUNTIMES = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-migraphx", "onnxruntime-rocm",
    "onnxruntime-qnn", "onnxruntime-openvino",
)  # fmt: skip


def onnxruntime() -> ModuleType:
    """The `onnxruntime` module, if exactly one wheel provides it; RuntimeMissing with the pip command otherwise."""
    wheels = installed_wheels()
    if len(wheels) > 1:
        raise RuntimeMissing(
            f"{' and '.join(wheels)} are both installed and overwrite each other's files; "
            f"pip uninstall -y {' '.join(wheels)}, then one of: pip install 'semblance[cpu]' | 'semblance[gpu]'"
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise RuntimeMissing("no ONNX Runtime is installed: pip install 'semblance[cpu]', or with an NVIDIA GPU "
                             "pip install 'semblance[gpu]'")  # fmt: skip
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:  # a library of the system is missing, or files of another version lie among its own
        raise RuntimeMissing(
            f"{' and '.join(wheels) or 'onnxruntime'} is installed and cannot be imported ({error}); "
            f"pip install --force-reinstall {' '.join(wheels) or 'onnxruntime'}"
        ) from error


def installed_wheels() -> list[str]:
    """Those installed of the wheels that all bring a package called `onnxruntime`."""
    return [name for name in _ONNXRUNTIMES if version_of(name) is not None]


def version_of(wheel: str) -> str | None:
    """The version of an installed wheel; None where it is not installed."""
    try:
        return importlib.metadata.version(wheel)
    except importlib.metadata.PackageNotFoundError:
        return None
