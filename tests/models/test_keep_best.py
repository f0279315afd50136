"""The best epoch stays, a phase that betters nothing leaves no trace, and training ends in time."""

from __future__ import annotations

from typing import Any

import pytest

from models.keep_best import KeepBest, joined


class _Model:
    """A network whose weights are the number of the epoch."""

    def __init__(self) -> None:
        self.weights: Any = ["before"]
        self.stop_training = False

    def get_weights(self) -> Any:
        return list(self.weights)

    def set_weights(self, weights: Any) -> None:
        self.weights = weights


def _run(keep: KeepBest, figures: list[tuple[float, float]]) -> tuple[_Model, int]:
    model = _Model()
    keep.set_model(model)
    keep.on_train_begin()
    for epoch, (figure, loss) in enumerate(figures):
        model.weights = [epoch]
        keep.on_epoch_end(epoch, {"figure": figure, "val_loss": loss})
        if model.stop_training:
            break
    keep.on_train_end()
    return model, epoch + 1


@pytest.mark.parametrize(
    ("figures", "best", "num_epochs"),
    [
        ([(0.1, 1), (0.5, 1), (0.3, 1), (0.4, 1)], 1, 4),
        ([(0.5, 2.0), (0.5, 1.0), (0.5, 1.5)], 1, 3),  # equal: the lower loss
        ([(0.5, 1)] + [(0.4, 1)] * 9, 0, 4),  # three without a better one
        ([(0.1, 1), (0.1, 2), (0.1, 2), (0.2, 1), (0.1, 1)], 3, 5),  # in time
    ],
)
def test_the_best_epoch_is_kept(figures: list[tuple[float, float]], best: int, num_epochs: int) -> None:
    keep = KeepBest("figure", patience=3)
    model, ran = _run(keep, figures)
    assert (keep.best_epoch, model.weights, ran) == (best, [best], num_epochs)


def test_lower_can_be_better() -> None:
    keep = KeepBest("val_loss", higher_is_better=False, patience=5)
    model, _ = _run(keep, [(0, 3.0), (0, 1.0), (0, 2.0)])
    assert model.weights == [1]


def test_a_phase_that_does_not_beat_the_last_is_undone() -> None:
    first = KeepBest("figure", patience=5)
    _run(first, [(0.7, 1.0)])
    second = KeepBest("figure", patience=5, mark=first.best)
    model, _ = _run(second, [(0.6, 0.9), (0.7, 1.1)])
    assert (second.best_epoch, model.weights) == (-1, ["before"])
    third = KeepBest("figure", patience=5, mark=first.best)
    assert _run(third, [(0.6, 0.9), (0.71, 1.1)])[0].weights == [1]


def test_curves_of_phases_follow_each_other() -> None:
    phases = [{"loss": [3, 2], "val_accuracy": [0.1, 0.2]}, {"loss": [1], "val_accuracy": [0.3], "learning_rate": [9]}]
    assert joined(phases) == {"loss": [3.0, 2.0, 1.0], "validation accuracy": [0.1, 0.2, 0.3]}
