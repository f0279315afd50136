"""How a training went, as a picture: one line per named value over the epochs.

In: curves by name, losses and accuracies. Out: a PNG; accuracies, where there are any, in a panel of their own.
"""

from __future__ import annotations

from pathlib import Path

Curves = dict[str, list[float]]  # name -> one value per epoch


def save_curve(curves: Curves, path: Path, *, title: str) -> None:
    """Draw one line per named value over the epochs into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = {"loss": {}, "accuracy": {}}
    for name, values in curves.items():
        panels["accuracy" if "accuracy" in name else "loss"][name] = values
    drawn = {label: lines for label, lines in panels.items() if lines}
    figure = Figure(figsize=(6 * len(drawn), 4), layout="constrained")
    for axes, (label, lines) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        for name, values in lines.items():
            axes.plot(range(1, len(values) + 1), values, marker=".", label=name)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    FigureCanvasAgg(figure).print_png(path)
