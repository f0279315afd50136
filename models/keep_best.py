"""Training that ends where it stops getting better, with the weights of its best epoch.

In: any Keras `fit` with a validation figure. Out: the network with its best weights. Unlike Keras's own early stopping
it can go on from an earlier phase: what that reached is the mark to beat, and what does not beat it is undone.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from models.curves import Curves


class KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best `figure`; of equal ones the one of lower `loss`."""

    def __init__(
        self, figure: str, *, higher_is_better: bool = True, patience: int, mark: tuple[float, float] | None = None
    ) -> None:
        super().__init__()
        self._figure, self._sign, self._patience = figure, 1 if higher_is_better else -1, patience
        self.best = mark  # (signed figure, minus the loss), the larger the better
        self.best_epoch = -1  # none of this phase yet
        self._weights: list[NDArray[np.float32]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """What is there already stays where nothing is better."""
        self._weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare this epoch with the best so far."""
        logs = logs or {}
        reached = (self._sign * float(logs[self._figure]), -float(logs["val_loss"]))
        if self.best is None or reached > self.best:
            self.best, self.best_epoch, self._weights = reached, epoch, self.model.get_weights()
        elif epoch - self.best_epoch >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Go back to the best."""
        self.model.set_weights(self._weights)


def joined(phases: list[dict[str, list[float]]]) -> Curves:
    """The curves of phases that follow each other, with names for people."""
    return {
        name.replace("val_", "validation "): [float(value) for phase in phases for value in phase[name]]
        for name in phases[0]
        if name != "learning_rate"
    }
