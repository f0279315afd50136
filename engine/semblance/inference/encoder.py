"""Images to embeddings: joins decoding, resizing, batches and one session.

In: pictures of any kind and size, as paths, encoded bytes or uint8 arrays. Out: [N, D] float32, row i for picture i.
Pictures are decoded and resized in threads while the session works on earlier ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semblance.card import ModelCard
from semblance.container import available_threads
from semblance.errors import ImageError, InputError
from semblance.inference.backends.options import GpuOptions
from semblance.inference.batches import in_batches, work_ahead
from semblance.inference.models import find_model
from semblance.inference.session import Session, WarmUp
from semblance.inputs.decode import decode
from semblance.inputs.resize import fit
from semblance.options import checked_count

Image = str | os.PathLike[str] | bytes | NDArray[np.uint8]  # a file, an encoded picture, or pixels [H, W(, C)]
Batch = NDArray[np.uint8] | list[NDArray[np.uint8]]  # [N, H, W, C] of the model's size, joined already or not


class Encoder:
    """One model, ready to embed.

    >>> encoder = Encoder.load("siamese")
    >>> encoder.embed(np.zeros((2, 28, 28), np.uint8)).shape
    (2, 64)
    """

    def __init__(self, session: Session, *, workers: int | None = None, warmed: tuple[WarmUp, ...] = ()) -> None:
        """Wrap a loaded session; `workers` threads decode (default: as many as the process may use).

        `warmed` is what its `warm_up` gave, where that was called.
        """
        self._session = session
        self.warmed = warmed
        self._workers = available_threads() if workers is None else checked_count("workers", workers, least=0)

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str] = "siamese",
        *,
        backend: str = "auto",
        threads: int | None = None,
        streams: int | None = 1,
        max_batch: int | None = None,
        workers: int | None = None,
        warm_up: bool = True,
        spinning: bool = True,
        gpu: GpuOptions | None = None,
    ) -> Encoder:
        """Load a model by its name or file.

        `threads` work inside the model and `workers` decode (default for both: all this process may use). `streams`
        of them share the threads, each with a batch of its own: one answers a single batch soonest, one for each
        thread embeds the most in the long run, since no thread then waits for another; None takes as many as pay. With
        `warm_up` every batch size that can occur is met now and not under load; `warmed` then says what that took.
        Without `spinning`, threads that wait leave the processor to others. `gpu` says how a GPU is used; with a
        backend that does not heed it, also one that `auto` comes to, that is a BackendError.
        Raises ModelNotFound, CardError, ModelError, BackendError, RuntimeMissing, InputError.
        """
        session = Session(
            find_model(model),
            backend=backend,
            threads=threads,
            streams=streams,
            max_batch=max_batch,
            spinning=spinning,
            gpu=gpu,
        )
        return cls(session, workers=workers, warmed=session.warm_up() if warm_up else ())

    @property
    def card(self) -> ModelCard:
        """What the model eats and gives."""
        return self._session.card

    @property
    def backend(self) -> str:
        """The one that runs, also where `auto` was asked for."""
        return self._session.backend

    @property
    def why(self) -> str:
        """Why that one, where `auto` was asked for; else ""."""
        return self._session.why

    @property
    def description(self) -> str:
        """What runs where, for people."""
        return self._session.description

    @property
    def max_batch(self) -> int:
        """The largest batch that `run` hands to the backend at once."""
        return self._session.max_batch

    @property
    def streams(self) -> int:
        """How many batches it works on at the same time, when `run` is called from as many threads."""
        return self._session.streams

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepared pictures, uint8 [N, card.height, card.width, card.channels] -> [N, D] float32."""
        return self._session.run(images)

    def release_memory(self) -> None:
        """Give back the host memory that earlier batches left reserved; the next one takes its own anew."""
        self._session.release_memory()

    def prepare(self, image: Image) -> NDArray[np.uint8]:
        """One picture, decoded and resized to uint8 [card.height, card.width, card.channels]. Raises ImageError."""
        content = Path(image) if isinstance(image, (str, os.PathLike)) else image
        return fit(decode(content, channels=self.card.channels), self.card)

    def embed(self, images: Image | Sequence[Image]) -> NDArray[np.float32]:
        """Embed pictures: [N, D] float32, row i for picture i.

        `images` is a sequence of paths, encoded bytes or uint8 arrays (mixed as you like), one path or bytes
        (N = 1), or one uint8 array [N, H, W] or [N, H, W, C] with C = 1 grey or 3 RGB. No picture gives [0, D].
        Raises ImageError at the first picture that cannot be used, InputError for anything that is no picture.
        """
        pictures = as_pictures(images)
        out = np.empty((len(pictures), self.card.dimension), np.float32)  # [N, D]
        done = 0
        workers = self.streams if self.streams > 1 and len(pictures) > self.max_batch else 0
        for embedded in work_ahead(self._batches(pictures), self._run_batch, workers=workers, chunk=1):
            out[done : done + len(embedded)] = embedded
            done += len(embedded)
        return out

    def _batches(self, pictures: Sequence[Image] | NDArray[np.uint8]) -> Iterator[Batch]:
        """Prepared pictures, `max_batch` at a time; an array that is of the model's size is only cut."""
        if isinstance(pictures, np.ndarray) and pictures.shape[1:] == self._input_shape:
            yield from (pictures[start : start + self.max_batch] for start in range(0, len(pictures), self.max_batch))
            return
        chunk = min(16, self.max_batch)
        # what one thread would take at once, the caller's own does sooner: no thread has to be started
        workers = self._workers if len(pictures) > chunk else 0
        prepared = work_ahead(enumerate(pictures), self._prepare_numbered, workers=workers, chunk=chunk)
        yield from in_batches(prepared, self.max_batch)

    def _run_batch(self, batch: Batch) -> NDArray[np.float32]:
        return self.run(batch if isinstance(batch, np.ndarray) else np.stack(batch))

    def _prepare_numbered(self, numbered: tuple[int, Image]) -> NDArray[np.uint8]:
        number, image = numbered
        try:
            return self.prepare(image)
        except ImageError as error:
            raise ImageError(f"picture {number}: {error}") from error

    @property
    def _input_shape(self) -> tuple[int, int, int]:
        return self.card.height, self.card.width, self.card.channels


def as_pictures(images: Image | Sequence[Image]) -> Sequence[Image] | NDArray[np.uint8]:
    """A sequence of pictures, whatever of the accepted forms was given; arrays become [N, H, W, C]."""
    if isinstance(images, np.ndarray):
        return _as_batch(images)
    if isinstance(images, (str, bytes, os.PathLike)):
        return [images]
    if not hasattr(images, "__getitem__"):  # a generator, a set, None
        raise InputError(f"images must be a sequence of pictures or one array, is {type(images).__name__}")
    return images


def _as_batch(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        raise ImageError(f"images must be uint8 (0..255), is {images.dtype}; scaling is inside the model")
    if images.ndim == 3 and images.shape[2] in (1, 3, 4):
        raise ImageError(f"an array of shape {list(images.shape)} looks like one picture; pass a list: embed([image])")
    if images.ndim == 3:
        return images[..., np.newaxis]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ImageError(f"images must be [N, H, W] grey or [N, H, W, C] with C = 1 or 3, is {list(images.shape)}")
    return images
