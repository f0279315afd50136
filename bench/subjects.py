"""The models that races are about: their original, their exports in each precision, and real images of their size.

In: a name. Out: files, which are exported into the cache folder once for this state of the exporter, and words on why
one is missing. An export is a command in a process of its own, since the conversion of a large network leaves gigabytes
behind. ResNet101 has random weights, seeded, where none are given: its speed is that of any, its neighbours mean
nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.images import find_data, parity_images
from models.base import Original, find
from semblance.errors import InputError, SourceError
from semblance.home import home
from semblance.inference.models import zoo_folder

PRECISIONS = ("fp32", "bf16", "int8")  # that processors compute in

_ROOT = Path(__file__).resolve().parent.parent
_PARITY_IMAGES = "64"  # of an export that is timed; what it finds on all images is measured elsewhere

MOBILENET_ALPHA = 0.75
MOBILENET_WEIGHTS = Path("weights", "mobilenet_v1_075_224_notop.weights.h5")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under measurement."""

    name: str
    original_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None  # as models.weights.load takes them; None: the original's own
    arguments: tuple[str, ...] = ()  # of the exporter, for variants as well
    judged_on: tuple[str, ...] = ()  # the exporter's options for a variant's gate, which by default takes all images
    is_quick: Mapping[str, bool] = field(default_factory=dict)  # precisions that a quick run does not wait for: False
    is_large: bool = False  # an image takes a tenth of a second
    missing: str | None = None  # why it cannot be had here

    @property
    def original(self) -> Original:
        """As models/ has it."""
        return find(self.name, **self.original_options)

    def path(self, precision: str) -> Path:
        """Where that file is, or would be."""
        shipped = zoo_folder() / _file_name(self.name, precision)
        return shipped if shipped.is_file() else self._folder / shipped.name

    @property
    def _folder(self) -> Path:
        return home() / "bench" / f"{self.name}-{_state(self.name, (*self.arguments, f'{self.weights}'))}"

    def ensure(self, precision: str, *, is_full: bool, say: Callable[[str], None]) -> str | None:
        """Export that file unless it is there; None, or why it is not there."""
        if self.missing or self.path(precision).is_file():
            return self.missing
        if not is_full and not self.is_quick.get(precision, True):
            return "its export takes minutes, which only the full run does"
        say(f"exporting {self.name} in {precision} into {self._folder}")
        return self._export(precision)

    def require(self) -> None:
        """Raises SourceError where it cannot be had here."""
        if self.missing:
            raise SourceError(self.missing)

    def _export(self, precision: str) -> str | None:
        target = self._folder / _file_name(self.name, precision)
        target.parent.mkdir(parents=True, exist_ok=True)
        if precision == "fp32":
            command = [self.name, *self.arguments, "--parity-images", _PARITY_IMAGES, "--out", str(target)]
            if self.weights is not None:
                command += ["--weights", self.weights]
        else:
            source = target.with_name(_file_name(self.name, "fp32"))
            if not source.is_file():
                shutil.copyfile(self.path("fp32"), source)
            command = [str(source), "--precision", precision]
            command += self.judged_on
        done = subprocess.run(
            [sys.executable, "-m", "export", *command], cwd=_ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and target.is_file():
            return None
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "the export failed")

    def images(self, count: int) -> NDArray[np.uint8]:
        """`count` real ones, uint8 [count, H, W, C]; where there are fewer, the first again. Raises SourceError."""
        self.require()
        return _images(self.name, tuple(self.original_options.items()), count)


def subjects() -> dict[str, Subject]:
    """All of them, by name."""
    mobilenet = find_data(MOBILENET_WEIGHTS)
    return {
        "autoencoder": Subject("autoencoder"),
        "siamese": Subject("siamese"),
        "mobilenet": Subject(
            "mobilenet",
            {"alpha": MOBILENET_ALPHA},
            weights=None if mobilenet is None else str(mobilenet),
            arguments=("--alpha", f"{MOBILENET_ALPHA}"),
            judged_on=("--gate-images", "400"),
            missing=None
            if mobilenet
            else f"{MOBILENET_WEIGHTS.name} is not on this machine; set SEMBLANCE_DATA to a folder with weights/",
        ),
        "resnet101": Subject(
            "resnet101",
            weights=os.environ.get("SEMBLANCE_RESNET101_WEIGHTS", "random"),
            judged_on=("--gate-images", "200", "--force"),  # random weights find nothing that could be lost
            is_large=True,
            is_quick={"bf16": False, "int8": False},
        ),
    }


def subject(name: str) -> Subject:
    """The one of that name. Raises InputError."""
    found = subjects()
    if name not in found:
        raise InputError(f"no subject {name!r}; there are: {', '.join(found)}")
    return found[name]


def _file_name(name: str, precision: str) -> str:
    return f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx"


@cache
def _state(name: str, arguments: tuple[str, ...]) -> str:
    """Of all that an export's bytes depend on, but for its libraries: sources and arguments."""
    sources = sorted((_ROOT / "export").glob("*.py"))
    sources += [_ROOT / "models" / f"{each}.py" for each in ("base", "preprocess", "applications", "weights", "fill")]
    sources += [path for path in (_ROOT / "models" / f"{name}.py",) if path.is_file()]
    digest = hashlib.sha256(repr(arguments).encode())
    for path in sources:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _images(name: str, options: tuple[tuple[str, Any], ...], count: int) -> NDArray[np.uint8]:
    images = parity_images(find(name, **dict(options)), count).images
    return np.concatenate([images] * -(-count // len(images)))[:count]
