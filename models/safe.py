"""Any Keras model from a file, without running what a stranger wrote into it.

In: a whole model's .keras or .h5 file. Out: the model, uncompiled. A model file holds a configuration beside its
arrays, and a configuration can name Python functions, carry pickled code or point to other files; Keras's safe mode
long left .h5 files out (CVE-2025-9905). So the configuration is read here first, and every object in it must be a
layer, an operation or a setting of Keras itself, and none that runs foreign code. Trust a file's source all the same:
Keras then parses it.
"""

from __future__ import annotations

import importlib
import inspect
import json
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.fill import WeightsError

if TYPE_CHECKING:
    import keras

# Layers of Keras that run code from the file, or read other files and addresses
_FORBIDDEN = frozenset({
    "Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer",
    "StringLookup", "IntegerLookup", "TextVectorization",
})  # fmt: skip
_MODELS = frozenset({"Functional", "Model", "Sequential"})
_DATA = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__slice__", "__ellipsis__", "__tuple__"})
_MAX_CONFIG_BYTES = 64 << 20  # an honest configuration has a few megabytes at most
_ADVICE = "export from a model without it, or give only its weights with --weights FILE"


class UnsafeModelError(WeightsError):
    """A model file that names objects which are not plain parts of Keras."""


def open_keras_file(path: str | Path) -> keras.Model:
    """The model in a .keras or whole-model .h5 file, uncompiled, its configuration checked before Keras sees it.

    Raises UnsafeModelError where it names anything but plain parts of Keras, WeightsError where it is no such file.
    """
    path = Path(path)
    check_config(_read_config(path), where=str(path))
    import keras

    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a damaged configuration makes Keras stumble over
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: Keras cannot build this model ({reason}); save it again, as .keras") from error


def check_config(config: Any, *, where: str) -> None:
    """Raise UnsafeModelError if any object in a model's configuration is not a plain part of Keras."""
    for item in _objects(config):
        name, module, registered = item["class_name"], item.get("module"), item.get("registered_name")
        if not isinstance(name, str) or name in _FORBIDDEN:
            raise UnsafeModelError(f"{where}: refused, its {name!r} layer can run code or read other files; {_ADVICE}")
        if not _is_plain(name, module, item.get("config")) or registered not in (None, name):
            known = ".".join(str(part) for part in (module, name) if part)
            raise UnsafeModelError(f"{where}: refused, {registered or known!r} is not a plain part of Keras; {_ADVICE}")


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in the configuration that names a class, at any depth."""
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _is_plain(name: str, module: Any, config: Any) -> bool:
    if name == "function":
        return module in ("builtins", "keras.activations") and config in _activations()
    if name in _DATA:
        return True
    if module is None:  # old .h5 files give the bare name
        return name in _layers_and_settings()
    if not isinstance(module, str) or not f"{module}.".startswith("keras."):
        return False
    return name in _layers_and_settings() or _is_operation(name, module)


@cache
def _layers_and_settings() -> frozenset[str]:
    """Names of the public classes of Keras that an honest configuration is made of."""
    import keras

    places = [keras.layers, keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies]
    places += [keras.optimizers, keras.optimizers.schedules, keras.losses, keras.metrics]  # of compiled models inside
    found = {name for place in places for name, value in vars(place).items() if inspect.isclass(value)}
    return frozenset(found | _MODELS) - _FORBIDDEN


@cache
def _activations() -> frozenset[str]:
    import keras

    return frozenset(name for name, value in vars(keras.activations).items() if inspect.isfunction(value))


def _is_operation(name: str, module: str) -> bool:
    """A step such as a division that was written on tensors: `TrueDivide` of `keras.src.ops.numpy`."""
    import keras

    if not module.startswith("keras.src.ops."):
        return False
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return False
    return inspect.isclass(found) and issubclass(found, keras.Operation)


# ------------------------------------------------------------------------------------------------------------------
# The configuration, read without Keras


def _read_config(path: Path) -> Any:
    if not path.is_file():
        raise WeightsError(f"no model file at {path}; give an existing .keras or .h5 file of a whole model")
    try:
        if path.suffix == ".keras":
            text = _config_in_zip(path)
        elif path.suffix in (".h5", ".hdf5"):
            text = _config_in_h5(path)
        else:
            raise WeightsError(f"{path}: a whole model is read from .keras or .h5 files, not {path.suffix!r}")
        config = json.loads(text)
    except (OSError, KeyError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole Keras model ({error}); save it with model.save('NAME.keras'), or give weights alone "
            "with --weights FILE"
        ) from error
    if isinstance(config, dict):
        config.pop("compile_config", None)  # Keras drops it too where it is told not to compile
    return config


def _config_in_zip(path: Path) -> str | bytes:
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("config.json").file_size
        if size > _MAX_CONFIG_BYTES:
            raise ValueError(f"its configuration claims {size:,} bytes, at most {_MAX_CONFIG_BYTES:,} are read")
        return archive.read("config.json")


def _config_in_h5(path: Path) -> str | bytes:
    import h5py

    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise KeyError("there is no model_config in it, only weights")
        text = file.attrs["model_config"]
    if not isinstance(text, str | bytes):
        raise ValueError(f"its model_config is {type(text).__name__}, not text")
    return text
