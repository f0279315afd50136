"""What the service tells of itself at /metrics, and whether it adds up with what its clients saw.

In: the Prometheus text, and `Seen`. Out: counts by route, method and status, images by outcome; and every figure that
lies outside of what the clients saw. They saw all that they were answered; of clients that hung up, and of requests
whose connection broke, the service may have counted something or not, so that each may be one more.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.service.load import Seen

_LINE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ROUTES = {  # of each kind of request
    "good": ("/v1/embed", "POST"),
    "bad": ("/v1/embed", "POST"),
    "search": ("/v1/search", "POST"),
    "put": ("/v1/images/{key}", "PUT"),
    "delete": ("/v1/images/{key}", "DELETE"),
    "facts": ("/v1/images/{key}", "GET"),
}
_UNSETTLED_S = 0.25  # an answer is read before it is counted
Key = tuple[str, str, int]  # route, method, status


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at /metrics."""

    before: float  # when it was asked for, and when it was answered
    after: float
    requests: dict[Key, int]
    images: dict[str, int]
    gauges: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str, before: float, after: float) -> Figures:
        """From the text."""
        found = cls(before, after, {}, {})
        for line in text.splitlines():
            if line.startswith("#") or not (parts := _LINE.match(line)):
                continue
            name, labels, value = parts[1], dict(_LABEL.findall(parts[2] or "")), float(parts[3])
            if name == "semblance_requests_total":
                found.requests[labels["route"], labels["method"], int(labels["status"])] = int(value)
            elif name == "semblance_images_total":
                found.images[labels["outcome"]] = int(value)
            elif not labels:
                found.gauges[name] = value
        return found


@dataclass(frozen=True, slots=True)
class Life:
    """What clients saw of one life of a server, which began when `since` requests were all answered or lost."""

    seen: list[Seen]
    since: float
    hung_up: list[float]  # when each client that left was there


def misfits(figures: Figures, life: Life) -> list[str]:
    """Every figure that is not between what was surely counted and what may have been."""
    least, most, num_lost = _bounds(figures, life)
    found = []
    for key in sorted({*least, *most, *(each for each in figures.requests if each[:2] in ROUTES.values())}):
        route, method, status = key
        slack = num_lost if key[:2] == ROUTES["good"] or status == 499 else 0
        counted = figures.requests.get(key, 0)
        is_well = least[key] <= counted <= most[key] + slack  # no client is ever answered 499
        if not is_well:
            found.append(
                f"{method} {route} {status}: {counted:,} counted, {least[key]:,} to {most[key] + slack:,} seen"
            )
    return found + _misfit_images(figures, life, num_lost)


def _bounds(figures: Figures, life: Life) -> tuple[Counter[Key], Counter[Key], int]:
    """By route, method and status what was surely counted, and what may have been; and how many may be anything."""
    least, most = Counter[Key](), Counter[Key]()
    num_lost = sum(life.since <= at <= figures.after for at in life.hung_up)
    for seen in life.seen:
        is_here = (seen.sent > 0) & (seen.sent >= life.since) & (seen.sent <= figures.after)
        is_done = is_here & (seen.finished < figures.before - _UNSETTLED_S)
        num_lost += int((is_here & (seen.failure != 0)).sum())
        for kind, place in ROUTES.items():
            for which, counts in ((is_done, least), (is_here, most)):
                mine = which & seen.of(kind) & (seen.failure == 0)
                for status, count in zip(*np.unique(seen.status[mine], return_counts=True), strict=True):
                    counts[(*place, int(status))] += int(count)
    return least, most, num_lost


def _misfit_images(figures: Figures, life: Life, num_lost: int) -> list[str]:
    least, most = Counter[str](), Counter[str]()
    for seen in life.seen:
        is_here = (seen.sent >= life.since) & (seen.sent <= figures.after) & (seen.failure == 0)
        is_done = is_here & (seen.finished < figures.before - _UNSETTLED_S)
        for which, counts in ((is_done, least), (is_here, most)):
            counts["embedded"] += _num_images(seen, which, ("good", "search", "put"), (200, 201))
            counts["bad_image"] += _num_images(seen, which, ("bad",), (422, 413))
        # embedded, and then refused by what comes after it
        most["embedded"] += _num_images(seen, is_here, ("search", "put"), (429, 503, 504))
    found = []
    for outcome, slack in (("embedded", num_lost), ("bad_image", 0)):
        counted = figures.images.get(outcome, 0)
        if not least[outcome] <= counted <= most[outcome] + slack:
            found.append(f"images {outcome}: {counted:,} counted, {least[outcome]:,} to {most[outcome] + slack:,} seen")
    for outcome, slack in (("cancelled", num_lost), ("failed", 0), ("expired", 0), ("closed", 0)):
        if (counted := figures.images.get(outcome, 0)) > slack:
            found.append(f"images {outcome}: {counted:,} counted, at most {slack:,} can be")
    return found


def _num_images(seen: Seen, which: NDArray[np.bool_], kinds: tuple[str, ...], statuses: tuple[int, ...]) -> int:
    of_kind = np.logical_or.reduce([seen.of(kind) for kind in kinds])
    return int(seen.num_images[which & of_kind & np.isin(seen.status, statuses)].sum())
