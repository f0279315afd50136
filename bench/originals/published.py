"""What the original experiments published: their figures, as written there, and nothing measured here.

`PUBLISHED` is a table of one line per figure. Scores and accuracies that were printed in percent are shares of 1 here,
but for SIFT's scores, which are percentages by their own definition. A figure of one class has the class in its name.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench import lowe


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure."""

    row: int  # of the originals' table: 1 autoencoder, 2 siamese, 3 resnet101, 4 SIFT, 5 resnet50, 6, 7
    original: str  # its name here, as in models/, where there is one
    figure: str
    value: float
    note: str = ""  # by which protocol, where the row has several, or what the figure does not say
    decimals: int = 4  # to which it was printed

    @property
    def name(self) -> str:
        """Unique within the table."""
        return f"{self.row} {self.original} {self.figure}"


def of_row(row: int) -> tuple[Published, ...]:
    """What was published of one row."""
    return tuple(each for each in PUBLISHED if each.row == row)


# ------------------------------------------------------------------------------------------------------------------
# 1 to 4: Fashion-MNIST

_THREE = "three seeded queries among the 10,000 test images, Euclidean"
_AUTOENCODER = tuple(
    Published(1, "autoencoder-published", figure, value, _THREE)
    for figure, value in (("P@5", 0.8), ("R@5", 0.004), ("P@10", 0.7333), ("R@10", 0.0073), ("accuracy", 1.0))
)

_HUNDRED = "100 random queries among the first 2,000 test images, k = 5, Euclidean"
_SIAMESE = tuple(
    Published(2, "siamese-published", figure, value, _HUNDRED)
    for figure, value in (("P@5", 0.818), ("R@5", 0.0206), ("hit@5", 0.93))
)

_FIVE_THOUSAND = "the first 5,000 train images, each a query, cosine"
_RESNET101_AT_K = {
    1: (0.789, 0.002, 0.003),
    2: (0.776, 0.003, 0.006),
    5: (0.754, 0.008, 0.015),
    15: (0.715, 0.021, 0.042),
    20: (0.702, 0.028, 0.054),
    30: (0.682, 0.041, 0.077),
}  # precision, recall, F1
_RESNET101_BY_CLASS = {
    "T-shirt/top": 0.607,
    "Trouser": 0.918,
    "Pullover": 0.462,
    "Dress": 0.702,
    "Coat": 0.603,
    "Sandal": 0.689,
    "Shirt": 0.386,
    "Sneaker": 0.841,
    "Bag": 0.696,
    "Ankle boot": 0.877,
}  # precision at 30
_RESNET101 = (
    *(
        Published(3, "resnet101-published", f"{name}@{k}", value, _FIVE_THOUSAND, 3)
        for k, values in _RESNET101_AT_K.items()
        for name, value in zip(("P", "R", "F1"), values, strict=True)
    ),
    *(
        Published(3, "resnet101-published", f"P@30 {name}", value, _FIVE_THOUSAND, 3)
        for name, value in _RESNET101_BY_CLASS.items()
    ),
)

_SIFT = tuple(
    Published(4, "sift", f"{name} ({i}, {j})", float(value), "two train images by number, ratio 0.7", 2)
    for (i, j), values in lowe.PUBLISHED.items()
    for name, value in zip(("score", "matches"), values, strict=True)
)

# ------------------------------------------------------------------------------------------------------------------
# 5 to 7: photographs. 6 shows neighbours and 7 asks for a linear probe; neither has a figure in what was published

_ACTIONS = "human-action photographs"
_PERCENT = f"{_ACTIONS}, printed in whole percent"
_RESNET50 = (
    Published(5, "cnn-baseline", "accuracy", 0.61, f"{_PERCENT}; a small CNN trained to classify", 2),
    Published(5, "cnn-baseline", "mAP@10", 0.47, f"{_PERCENT}; a small CNN trained to classify", 2),
    Published(5, "cnn-baseline", "mean rank", 341.0, f"{_ACTIONS}; a small CNN trained to classify", 0),
    Published(5, "resnet50-finetuned", "accuracy", 0.73, f"{_PERCENT}; features before the custom classifier", 2),
    Published(5, "resnet50-finetuned", "mAP@1", 1.0, f"{_ACTIONS}; features before the custom classifier", 1),
    Published(5, "resnet50-finetuned", "mAP@10", 0.65, f"{_ACTIONS}; features before the custom classifier", 3),
    Published(5, "resnet50-finetuned", "mAP@50", 0.482, f"{_ACTIONS}; features before the custom classifier", 3),
    Published(5, "resnet50-finetuned", "mean rank", 261.0, f"{_ACTIONS}; features before the custom classifier", 0),
    Published(5, "resnet50-finetuned", "cosine of a positive pair", 0.736, f"{_ACTIONS}; one pair", 3),
)

PUBLISHED = (*_AUTOENCODER, *_SIAMESE, *_RESNET101, *_SIFT, *_RESNET50)
