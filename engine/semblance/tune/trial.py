"""One loaded model under measurement.

In: a file and how it is to be run. Out: windows. Settings that differ in nothing but their batch can share one.
"""

from __future__ import annotations

from semblance.inference import backends
from semblance.inference.session import Session
from semblance.tune.candidates import Setting, Variant
from semblance.tune.measuring import Images, Window, measure_window, random_batches, warm

_COPIES = 3  # of the weights while a runtime loads a model: as read, as packed for the processor, and in between
_ACTIVATIONS = 16  # floats in flight for each value of the input, in the networks that embed


class Trial:
    """A session, with pictures to feed it."""

    def __init__(self, variant: Variant, backend: str, threads: int, streams: int, max_batch: int) -> None:
        """Load it. Raises BackendError, RuntimeMissing, ModelError."""
        self._session = Session(variant.path, backend=backend, threads=threads, streams=streams, max_batch=max_batch)
        card = self._session.card
        self._streams = streams
        self._batches = random_batches(self._session.streams, (max_batch, card.height, card.width, card.channels))

    def warm(self, batch: int) -> None:
        """Meet that batch size. Raises BackendError."""
        warm(self._session.run, self._of(batch))

    def window(self, batch: int, seconds: float) -> Window:
        """One window of it. Raises BackendError."""
        return measure_window(self._session.run, self._of(batch), seconds)

    def _of(self, batch: int) -> list[Images]:
        # a session on a device takes several batches at a time; one image has to be alone for its own latency
        batches = self._batches[:1] if batch == self._streams == 1 else self._batches
        return [images[:batch] for images in batches]


def weight_bytes(variant: Variant, setting: Setting) -> int:
    """A guess from above at what a session holds whatever its batches; on a device each stream is a session."""
    sessions = setting.streams if backends.is_device(setting.backend) else 1
    return sessions * _COPIES * variant.path.stat().st_size


def activation_bytes(variant: Variant, setting: Setting) -> int:
    """A guess from above at what the batches of all streams take while they are computed."""
    assert variant.card is not None
    values = setting.batch * variant.card.height * variant.card.width * variant.card.channels
    return setting.streams * 4 * _ACTIVATIONS * values
