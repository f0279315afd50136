"""What must hold after a soak: each thing with what was asked and what was found.

In: `Run`, all that was seen. Out: checks, each of what is right (it holds on any machine), of time, or of memory. One
that could not be measured says so, and then not all hold; of what an option switched off there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.service.figures import Figures, Life, misfits
from bench.service.load import FAILURES, WRONG, Seen, quantiles_ms
from bench.service.soak_load import Soaked
from bench.service.watch import Watched, growth
from bench.service.writes import Verified

MOST_REFUSED_MS = 50.0
LEAST_GOODPUT = 0.9
MOST_GROWTH = 1.05
_SLOW_S = 3.0  # over the server's own limit, until a connection that drips must be closed
_RECOVERED_S = 1.0  # after a restart, in which connections are made again: a part of the outage
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold."""

    sort: Literal["right", "time", "memory"]
    asked: str
    found: str
    holds: bool | None  # None: could not be measured

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that was seen."""

    capacity: Seen
    soaked: Soaked
    outage: tuple[float, float] | None  # from the kill to being ready again
    verified: Verified  # at the end
    asked_at_end: Seen  # by that
    lives: list[Watched]
    at_rest: list[Figures | None]  # after measuring the capacity, and at the end
    exit_status: int | None  # after SIGTERM; None: it was gone before
    rate_per_s: float
    settled_s: float
    limits_s: dict[str, float]  # of what drips

    @property
    def seen(self) -> Seen:
        return self.soaked.seen

    def outside(self) -> NDArray[np.bool_]:
        """[R] requests that have nothing to do with the outage: all that were due before or after, and are over."""
        if self.outage is None:
            return np.ones(len(self.seen), np.bool_)
        killed, ready = self.outage
        is_before = (self.seen.due < killed) & (self.seen.finished < killed)
        return is_before | (self.seen.due > ready + _RECOVERED_S)

    def seconds(self) -> float:
        """Of the soak, without the outage."""
        lost = self.outage[1] + _RECOVERED_S - self.outage[0] if self.outage else 0.0
        return self.seen.seconds - lost

    def goodput_per_s(self) -> tuple[float, float]:
        """Good pictures whose right embedding came, a second; and all pictures that were embedded for somebody."""
        is_good = self.outside() & (self.seen.status == 200) & (self.seen.verdict != WRONG)
        is_written = self.outside() & (self.seen.of("put") & np.isin(self.seen.status, (200, 201)))
        embeds = int((is_good & self.seen.of("good")).sum())
        others = int((is_good & self.seen.of("search")).sum()) + int(is_written.sum())
        return embeds / self.seconds(), (embeds + others) / self.seconds()

    def refused_s(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How long each 429 took, from when it was sent and from when it was due."""
        which = self.outside() & (self.seen.status == 429) & (self.seen.failure == 0)
        finished = self.seen.finished[which]
        return finished - self.seen.sent[which], finished - self.seen.due[which]

    def seconds_with_late_refusals(self) -> int:
        """Of how many seconds of the run there was one: whether they come together or are strewn over it."""
        seen = self.seen
        which = self.outside() & (seen.status == 429) & (1e3 * (seen.finished - seen.sent) > MOST_REFUSED_MS)
        return len(np.unique((seen.sent[which] - seen.start).astype(int)))

    def figures(self) -> dict[str, Any]:
        """For whoever reads on."""
        seen, outside = self.seen, self.outside()
        sent, due = self.refused_s()
        good = outside & seen.of("good") & (seen.status == 200)
        embeds, everything = self.goodput_per_s()
        return {
            "capacity_images_per_s": self.capacity.images_per_s(),
            "offered_per_s": self.rate_per_s,
            "goodput_images_per_s": embeds,
            "embedded_images_per_s": everything,
            "outage_s": self.outage[1] - self.outage[0] if self.outage else None,
            "statuses": {kind: dict(Counter(map(str, seen.status[seen.of(kind)].tolist()))) for kind in seen.kinds},
            "failures_in_outage": _failures(seen, ~outside),
            "failures_outside": _failures(seen, outside),
            "num_hung_up": len(self.soaked.hung_up),
            "num_dripped": len(self.soaked.dripped),
            "num_acknowledged_writes": self.soaked.num_acknowledged,
            "refused_from_sent": quantiles_ms(sent),
            "refused_from_due": quantiles_ms(due),
            "seconds_with_late_refusals": self.seconds_with_late_refusals(),
            "good_from_due": quantiles_ms(seen.finished[good] - seen.due[good]),
            "sent_after_due": quantiles_ms(seen.sent[outside] - seen.due[outside]),
            "client_cpu_share": seen.cpu_s / seen.seconds,
            "memory": [growth(life, self.settled_s) for life in self.lives],
            "rss_bytes": [life.rss_bytes for life in self.lives],
            "examples": [*self.capacity.examples, *seen.examples],
        }


def checks(run: Run) -> list[Check]:
    """All of them."""
    return [*_right(run), *_written(run), *_counted(run), *_timed(run), *_kept(run)]


def all_hold(found: Iterable[Check]) -> bool:
    """Whether all do; what could not be measured does not."""
    return all(each.holds is True for each in found)


def _right(run: Run) -> Iterator[Check]:
    seen, outside = run.seen, run.outside()
    checked = (seen.verdict != 0) & (seen.of("good") | seen.of("bad"))
    num_wrong = int((seen.verdict[checked] == WRONG).sum() + (run.capacity.verdict == WRONG).sum())
    num_checked = int(checked.sum()) + int((run.capacity.verdict != 0).sum())
    yield Check("right", "no wrong embedding", f"{num_wrong} wrong of {num_checked:,}", num_wrong == 0 < num_checked)
    searched = seen.of("search") & (seen.verdict != 0)
    num_wrong = int((seen.verdict[searched] == WRONG).sum())
    found = f"{num_wrong} of {int(searched.sum()):,} did not"
    yield Check("right", "each search with a picture of the gallery finds it", found, num_wrong == 0)
    bad = (seen.of("bad") | seen.of("empty")) & (seen.failure == 0)
    statuses = Counter(seen.status[bad].tolist())
    is_well = set(statuses) <= {400, 413, 422, 429} and any(status != 429 for status in statuses)
    yield Check("right", "bad pictures are answered 400, 413 or 422, or 429", f"statuses {dict(statuses)}", is_well)
    statuses = Counter(seen.status[seen.of("good") & outside & (seen.failure == 0)].tolist())
    is_well = set(statuses) <= {200, 429}
    yield Check("right", "good pictures are answered 200, or 429 over capacity", f"statuses {dict(statuses)}", is_well)
    errors = Counter(seen.status[outside & (seen.status >= 500)].tolist())
    yield Check("right", "no 5xx", f"statuses {dict(errors)}" if errors else "none", not errors)
    failures = _failures(seen, outside)
    late = _failures(seen, ~outside).get("late", 0)
    said = f"outside of the outage {failures or 'none'}, left hanging in it {late}"
    yield Check("right", "no request without an answer but in the outage", said, not failures and not late)


def _written(run: Run) -> Iterator[Check]:
    seen = run.seen
    if run.outage is not None:
        verified = run.soaked.verified
        asked = "after the kill every acknowledged write is there"
        problems = [problem for each in verified for problem in each.problems]
        found = f"{len(verified)} looks at {sum(each.num_keys for each in verified)} keys: {_some(problems)}"
        yield Check("right", asked, found, bool(verified) and not problems)
    verified_at_end = run.verified
    found = (
        f"{run.soaked.num_acknowledged:,} acknowledged; {verified_at_end.num_keys:,} keys, "
        f"{verified_at_end.num_searched:,} searched for ({verified_at_end.missed_by_index} by exact search only): "
        f"{_some(verified_at_end.problems)}"
    )
    is_well = run.soaked.num_acknowledged > 0 and not verified_at_end.problems
    yield Check("right", "at the end every acknowledged write is there, what was removed is not", found, is_well)
    changed = (seen.of("put") | seen.of("delete")) & (seen.verdict == WRONG)
    said = [each for each in seen.examples if each.startswith("key ")]
    yield Check("right", "acknowledgements say what happened (201, 200, 204, 404; sha256)", _some(said),
                not changed.any())  # fmt: skip


def _counted(run: Run) -> Iterator[Check]:
    hung_up = [each.at for each in run.soaked.hung_up]
    seen = [run.capacity, run.seen, run.asked_at_end]
    looks: list[tuple[str, Figures | None, Life]] = []
    first = Life(seen, 0.0, hung_up)
    looks.append(("after the capacity", run.at_rest[0], first))
    if run.outage is not None:
        last = run.lives[0].figures[-1] if run.lives[0].figures else None
        looks.append(("before the kill", last, first))
    looks.append(("at the end", run.at_rest[-1], Life(seen, run.outage[0] if run.outage else 0.0, hung_up)))
    for when, figures, life in looks:
        asked = f"/metrics adds up with what clients saw, {when}"
        if figures is None:
            yield Check("right", asked, "it was not answered", False)
            continue
        wrong = misfits(figures, life)
        found = f"{sum(figures.requests.values()):,} requests, {sum(figures.images.values()):,} images: {_some(wrong)}"
        yield Check("right", asked, found, not wrong)
    if (figures := run.at_rest[-1]) is not None:
        pending = {name: figures.gauges.get(f"semblance_{name}") for name in ("pending_images", "pending_bytes")}
        yield Check("right", "nothing is pending at rest", f"{pending}", not any(pending.values()))
    yield Check("right", "SIGTERM ends it with status 0", f"{run.exit_status}", run.exit_status == 0)


def _timed(run: Run) -> Iterator[Check]:
    sent, due = run.refused_s()
    capacity = run.capacity.images_per_s()
    asked = f"everything over capacity is answered 429 within {MOST_REFUSED_MS:g} ms of being sent"
    if len(sent):
        late, late_due = (float((1e3 * each > MOST_REFUSED_MS).mean()) for each in (sent, due))
        found = (
            f"{len(sent):,}, from sent {_told(sent)}, over {late:.3%}; from when due {_told(due)}, over {late_due:.3%}"
        )
        yield Check("time", asked, found, late == 0)
    elif run.rate_per_s > capacity:
        yield Check("time", asked, "none was refused", None)
    embeds, everything = run.goodput_per_s()
    found = f"{embeds:,.0f} of {capacity:,.0f} images/s, {embeds / capacity:.3f} (for whomever: {everything:,.0f})"
    yield Check("time", f"goodput at least {LEAST_GOODPUT:g} of capacity", found, embeds >= LEAST_GOODPUT * capacity)
    for part, limit_s in run.limits_s.items():
        killed = run.outage[0] if run.outage else np.inf
        ended = [each for each in run.soaked.dripped if each.part == part and not each.start < killed < each.end]
        asked = f"connections that drip {part} are closed after {limit_s:g} s"
        if not ended:
            yield Check("time", asked, "none came to its end", None)
            continue
        longest = max(each.seconds for each in ended)
        statuses = dict(Counter(each.status for each in ended))
        found = f"{len(ended)} were, the longest after {longest:.1f} s; answered {statuses}"
        yield Check("time", asked, found, longest <= limit_s + _SLOW_S)


def _kept(run: Run) -> Iterator[Check]:
    for number, life in enumerate(run.lives, 1):
        which = f"life {number} of {len(run.lives)}"
        asked = f"memory within {MOST_GROWTH - 1:.0%} after the first {run.settled_s:g} s, {which}"
        found = growth(life, run.settled_s)
        if found["most_over_settled"] is None:
            yield Check("memory", asked, f"it lived for {found['seconds']:.0f} s", None)
            continue
        said = (
            f"{found['settled_bytes'] / 1e6:,.0f} MB, at most {found['most_over_settled']:.3f} and at the end "
            f"{found['end_over_settled']:.3f} times that, {found['slope_bytes_per_min'] / 1e6:+.2f} MB a minute"
        )
        yield Check("memory", asked, said, found["most_over_settled"] <= MOST_GROWTH)


def _failures(seen: Seen, which: NDArray[np.bool_]) -> dict[str, int]:
    numbers = seen.failure[which & (seen.failure != 0)].tolist()
    return {FAILURES[number]: count for number, count in Counter(numbers).items()}


def _told(seconds: NDArray[np.float64]) -> str:
    found = quantiles_ms(seconds)
    return f"p50 {found['p50_ms']:.1f} p99 {found['p99_ms']:.1f} max {found['max_ms']:.1f} ms"


def _some(problems: list[str]) -> str:
    if not problems:
        return "all well"
    more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
