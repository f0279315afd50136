"""Which models are here: the small ones shipped in the package, and those exported into the cache.

In: a name or a file. Out: the path of an ONNX file. The shipped zoo comes first, so that a name means the same on
every machine. A model's file of another precision is named after it: NAME.int8.onnx of NAME.onnx.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from semblance.card import ModelCard, Precision, read_card
from semblance.errors import ModelError, ModelNotFound
from semblance.home import home


@dataclass(frozen=True, slots=True)
class FoundModel:
    """An ONNX file among the models, with its card or with what is wrong with it."""

    path: Path
    card: ModelCard | None
    problem: str | None  # why there is no card

    @property
    def name(self) -> str:
        """What `find_model` takes: `mobilenet.int8`, where the card of each of its files says `mobilenet`."""
        return self.path.stem


def zoo_folder() -> Path:
    """The models that are shipped inside the package."""
    return Path(__file__).parents[1] / "zoo"


def cache_folder() -> Path:
    """Where exported models are kept, under SEMBLANCE_HOME or the platform's cache directory."""
    return home() / "models"


def find_model(model: str | os.PathLike[str]) -> Path:
    """The ONNX file of that name (`siamese`) or at that path (`./mine.onnx`).

    Raises ModelNotFound, naming what is here and how to export more.
    """
    text = os.fspath(model)
    if text.endswith(".onnx") or os.sep in text:
        if not Path(text).is_file():
            raise ModelNotFound(f"no model file at {text}; `semblance models` lists the models that are here")
        return Path(text)
    for folder in (zoo_folder(), cache_folder()):
        if (folder / f"{text}.onnx").is_file():
            return folder / f"{text}.onnx"
    here = ", ".join(dict.fromkeys(path.stem for path in _files())) or "none"
    raise ModelNotFound(
        f"unknown model {text!r}; here are: {here}; others are exported from a checkout with `python -m export {text}`"
    )


def list_models() -> list[FoundModel]:
    """Every model that can be named, zoo first, each with its card or its problem."""
    found = []
    for path in _files():
        try:
            found.append(FoundModel(path, read_card(path), None))
        except ModelError as error:
            found.append(FoundModel(path, None, str(error)))
    return found


def precision_files(model: Path) -> list[Path]:
    """`model`, and what lies beside it in other precisions; of one that is shipped, in the cache too.

    Of two files of one name it is the shipped one, as in `find_model`.
    """
    folders = [model.parent]
    if model.parent == zoo_folder():
        folders.append(cache_folder())
    found = {model.name: model}
    for folder in folders:
        for name in (f"{model.stem}.{precision}.onnx" for precision in get_args(Precision)):
            if (folder / name).is_file():
                found.setdefault(name, folder / name)
    return list(found.values())


def _files() -> list[Path]:
    folders = (zoo_folder(), cache_folder())
    return [path for folder in folders for path in sorted(folder.glob("*.onnx"), key=lambda path: path.stem)]
