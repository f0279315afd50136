"""Three ways to fill a network with weights in place: from a file's arrays, from ImageNet, or random but alive.

In: a freshly initialised network. Out: nothing but the filled network, or a WeightsError that says what was expected.
Of a file only arrays are read: a model file's configuration can hold code, and a stranger's file must not run it.
"""

from __future__ import annotations

import math
import socket
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.base import Original
from semblance.errors import SemblanceError

if TYPE_CHECKING:
    import h5py
    import keras

Shapes = Counter[tuple[int, ...]]

_DOWNLOAD_TIMEOUT_S = 30.0  # of silence: a network that swallows packets must end in an error, not in a hang
_NUM_CALIBRATION_IMAGES = 16
_LAST_OF_BRANCH = "_3_bn"  # Keras Applications' name for the batch norm that ends a ResNet's residual branch
_BRANCH_SCALE = 0.2


class WeightsError(SemblanceError):
    """Weights that are missing, do not fit the network, or cannot be downloaded."""


# ------------------------------------------------------------------------------------------------------------------
# From a file


def fill_from_file(network: keras.Model, path: Path) -> None:
    """Fill from a .weights.h5, a whole model's .h5, or a .keras file: by order of the layers, whatever their names."""
    if not path.is_file():
        raise WeightsError(f"no weights file at {path}; give an existing .weights.h5, .h5 or .keras file")
    if path.suffix not in (".h5", ".hdf5", ".keras"):
        raise WeightsError(f"{path}: weights are read from .weights.h5, .h5 or .keras files, not {path.suffix!r}")
    try:
        stored = _stored_shapes(path)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: not a readable weights file ({error}); copy or download it again") from error
    wanted: Shapes = Counter(tuple(variable.shape) for variable in network.weights)
    if stored != wanted:
        raise WeightsError(f"{path} does not fit {network.name}: {_difference(stored, wanted)}")
    try:
        network.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path} does not fit {network.name}, its arrays lie in other layers ({reason}); "
            "give weights that were saved from the same network"
        ) from error


def _stored_shapes(path: Path) -> Shapes:
    """How often each array shape occurs in the file, optimizer state and dropout's random states left out."""
    import h5py

    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member, h5py.File(member) as file:
            return _shapes_in(file)
    with h5py.File(path) as file:
        return _shapes_in(file)


def _shapes_in(file: h5py.File) -> Shapes:
    import h5py

    shapes: Shapes = Counter()

    def visit(name: str, item: object) -> None:
        is_ours = not name.startswith(("optimizer", "_optimizer")) and "seed_generator" not in name
        if isinstance(item, h5py.Dataset) and is_ours:
            shapes[item.shape] += 1

    file.visititems(visit)  # does not follow links out of the file
    return shapes


def _difference(stored: Shapes, wanted: Shapes) -> str:
    missing, extra = wanted - stored, stored - wanted
    parts = [f"expected {wanted.total()} arrays of {_num_numbers(wanted):,} numbers"]
    parts.append(f"the file has {stored.total()} of {_num_numbers(stored):,}")
    if missing:
        parts.append(f"missing is for example shape {next(iter(missing))}")
    if extra:
        parts.append(f"too much is for example shape {next(iter(extra))}")
    return "; ".join(parts) + "; give weights that were saved from the same network"


def _num_numbers(shapes: Shapes) -> int:
    return sum(math.prod(shape) * count for shape, count in shapes.items())


# ------------------------------------------------------------------------------------------------------------------
# From ImageNet


def fill_from_imagenet(network: keras.Model, original: Original) -> None:
    """Fill with the weights that Keras Applications publishes: downloaded once, checked, kept in Keras's cache."""
    if original.imagenet is None:
        raise WeightsError(f"{original.name} has no ImageNet weights; give a file with --weights FILE")
    try:
        with _network_timeout(_DOWNLOAD_TIMEOUT_S):
            pretrained = original.imagenet()
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise WeightsError(
            f"the ImageNet weights of {original.name} cannot be downloaded ({error}); connect to the network, or give "
            "a file with --weights FILE (Keras Applications' own 'notop' file fits), or --weights random"
        ) from error
    network.set_weights(pretrained.get_weights())


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# ------------------------------------------------------------------------------------------------------------------
# At random


def fill_randomly(network: keras.Model, original: Original, seed: int) -> None:
    """Fill with He-normal kernels drawn from `seed`, batch-norm statistics measured on drawn images.

    Without those statistics the activations of a deep random network explode or die out, and every image gets the same
    vector. He et al. 2015, "Delving Deep into Rectifiers", eq. 10: variance 2 / fan-in. The last scale of a residual
    branch is small, as it starts out and largely stays in training (Goyal et al. 2017, "Accurate, Large Minibatch SGD",
    section 5.1, begin at 0): with 1 each block doubles the variance and with it float32's rounding, until ResNet101
    tells two runtimes apart where it should tell images apart.
    """
    import tensorflow as tf

    generator = np.random.default_rng(seed)
    network.set_weights([_draw_array(variable, generator) for variable in network.weights])
    images = draw_images(_NUM_CALIBRATION_IMAGES, original.height, original.width, original.channels, seed=seed)
    with _measuring_batch_norm(network):
        network(original.preprocess(tf.constant(images)), training=True)


def _draw_array(variable: keras.Variable, generator: np.random.Generator) -> NDArray[np.float32]:
    shape = tuple(variable.shape)
    if len(shape) < 2:
        if variable.name == "gamma" and variable.path.split("/")[-2].endswith(_LAST_OF_BRANCH):
            return np.full(shape, _BRANCH_SCALE, np.float32)
        is_one = variable.name in ("gamma", "moving_variance")
        return np.full(shape, float(is_one), np.float32)
    # A depthwise kernel [h, w, C, 1] sums over its window only
    fan_in = math.prod(shape[:2]) if shape[-1] == 1 and len(shape) == 4 and shape[2] > 1 else math.prod(shape[:-1])
    return (generator.standard_normal(shape, np.float32) * math.sqrt(2.0 / fan_in)).astype(np.float32)


@contextmanager
def _measuring_batch_norm(network: keras.Model) -> Iterator[None]:
    """While open, a call in training mode stores its own batch's statistics whole, and dropout lets all through."""
    from keras import layers

    with ExitStack() as restore:
        for layer in network.layers:
            name = {layers.BatchNormalization: "momentum", layers.Dropout: "rate"}.get(type(layer))
            if name is not None:
                restore.callback(setattr, layer, name, getattr(layer, name))
                setattr(layer, name, 0.0)
        yield


def draw_images(number: int, height: int, width: int, channels: int, *, seed: int) -> NDArray[np.uint8]:
    """[N, height, width, channels] uint8 pictures drawn from `seed`: soft waves with shaded boxes on them.

    Smooth as photographs are, unlike noise, which all filters of a network answer alike.
    """
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)  # [H, W] each
    images = np.zeros((number, height, width, channels), np.float32)
    for image in images:
        for _ in range(6):
            along_x, along_y, phase = generator.uniform([-12, -12, 0], [12, 12, 6.28])
            image += np.sin(along_x * x + along_y * y + phase)[..., None] * generator.uniform(-1, 1, channels)
        for _ in range(4):
            left, top, size = generator.uniform([0, 0, 0.1], [0.9, 0.9, 0.5])
            inside = (abs(x - left) < size / 2) & (abs(y - top) < size / 2)
            image[inside] = generator.uniform(-2, 2, channels) + x[inside, None]
    return np.clip(128.0 + 42.0 * images, 0.0, 255.0).astype(np.uint8)
