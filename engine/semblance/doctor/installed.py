"""Which wheels are installed of those that decide what runs, and which of them overwrite each other's files.

In: the names and versions of all installed wheels. Out: one record. Nothing of them is imported: a broken one would
take the process with it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from semblance.errors import RuntimeMissing
from semblance.inference.backends import wheels

_NAMED = ("numpy", "usearch", "openvino")
_OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_PREFIXES = ("onnxruntime", "tensorrt", "nvidia-")


@dataclass(frozen=True, slots=True)
class Installed:
    """Wheels by name, and what is wrong with them."""

    versions: Mapping[str, str]  # those that matter, by name
    onnxruntime_cuda: str | None  # the CUDA that the installed ONNX Runtime was built for; None: it has none
    clashes: tuple[str, ...]  # each with the command that mends it


def read_installed(versions: Mapping[str, str] | None = None) -> Installed:
    """Of those `versions`; by default of the wheels that this Python finds."""
    versions = dict(_all_versions()) if versions is None else versions
    matter = {
        name: versions[name]
        for name in sorted(versions)
        if name in _NAMED or name in _OPENCVS or name.startswith(_PREFIXES)
    }
    clashes = (*_onnxruntime_clash(), *_opencv_clash(matter), *_nvidia_clashes(matter))
    return Installed(matter, _onnxruntime_cuda(), clashes)


def _all_versions() -> Iterator[tuple[str, str]]:
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"]
        if name:  # a damaged folder has none
            yield re.sub(r"[-_.]+", "-", name).lower(), found.version


def _onnxruntime_clash() -> Iterator[str]:
    if len(wheels.installed_wheels()) > 1:
        try:
            wheels.onnxruntime()
        except RuntimeMissing as error:  # raised before anything is imported
            yield str(error)


def _opencv_clash(versions: Mapping[str, str]) -> Iterator[str]:
    here = [name for name in _OPENCVS if name in versions]
    if len(here) > 1:
        yield (
            f"{' and '.join(here)} are installed and overwrite each other's files; "
            f"pip uninstall -y {' '.join(here)}, then: pip install opencv-python-headless"
        )


def _nvidia_clashes(versions: Mapping[str, str]) -> Iterator[str]:
    """cuDNN for CUDA 12 and for CUDA 13 lie in the same folder; the other libraries have one for each CUDA."""
    here = sorted(name for name in versions if re.fullmatch(r"nvidia-cudnn-cu\d+", name))
    if len(here) > 1:
        yield (
            f"{' and '.join(here)} are installed and overwrite each other's files; "
            f"pip uninstall -y {' '.join(here)}, then: pip install --force-reinstall 'semblance[gpu]'"
        )


def _onnxruntime_cuda() -> str | None:
    spec = importlib.util.find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        try:
            text = (Path(folder) / "capi/build_and_package_info.py").read_text()
        except OSError:
            continue
        if found := re.search(r"^cuda_version\s*=\s*['\"]([\d.]+)", text, re.MULTILINE):
            return found[1]
    return None
