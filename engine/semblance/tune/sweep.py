"""The sweep: a coarse pass over everything that runs here, then the best few again, taking turns.

In: a model's file and a budget of seconds. Out: rows for every candidate that was tried or could not be, and the best;
`keep` writes what was found into the cache, where the backend `auto` finds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from semblance.card import read_card
from semblance.inference import tuned
from semblance.tune.candidates import variants_of
from semblance.tune.choice import Row, best_in_bulk, finalists, soonest
from semblance.tune.coarse import CoarsePass
from semblance.tune.final import measure_in_turns
from semblance.tune.options import SweepOptions

_COARSE_SHARE = 0.5  # of the budget


@dataclass(frozen=True, slots=True)
class Sweep:
    """What was found."""

    rows: tuple[Row, ...]  # those measured to the end first, then by one window, then those that could not run
    best: Row | None  # most images per second, within the bound on latency
    soonest: Row | None  # answers a single image first
    by_file: dict[Path, Row]  # the best of each file that has one
    pruned: tuple[str, ...]  # what was not tried, and why
    seconds: float


def sweep(model: Path, options: SweepOptions, *, say: Callable[[str], None] = lambda text: None) -> Sweep:
    """Measure the file `model` and those of other precisions beside it on every backend that runs here.

    `say` is told what happens meanwhile. What cannot run is a row with its cause. Raises ModelError where `model` is
    no model of ours.
    """
    start, bound = time.perf_counter(), options.max_latency_ms
    variants = variants_of(model, is_ungated=options.is_ungated)
    coarse = CoarsePass(options, start + _COARSE_SHARE * options.budget_s, say)
    coarse.run([variant for variant in variants if not variant.left_out])
    again = finalists(coarse.rows, max_latency_ms=bound)
    if again:
        say(f"the best of {len(coarse.rows)} again, in turns")
    final, told = measure_in_turns(again, window_s=options.window_s, end=start + options.budget_s)
    done = {(row.variant.path, row.setting) for row in final}
    others = [row for row in coarse.rows if row.setting is None or (row.variant.path, row.setting) not in done]
    for rows in (final, others):
        rows.sort(key=lambda row: -row.speed.images_per_sec if row.speed else 0)
    by_file = {
        path: best
        for path in dict.fromkeys(row.variant.path for row in final)
        if (best := best_in_bulk([row for row in final if row.variant.path == path], max_latency_ms=bound))
    }
    left_out = [Row(variant=variant, note=variant.left_out) for variant in variants if variant.left_out]
    return Sweep(
        rows=(*final, *others, *left_out),
        best=best_in_bulk(final, max_latency_ms=bound),
        soonest=soonest(final),
        by_file=by_file,
        pruned=(*coarse.pruned, *told),
        seconds=time.perf_counter() - start,
    )


def keep(found: Sweep) -> list[Path]:
    """Write the best of each file where `auto` looks for it; returns the records. Raises InputError."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    kept = []
    for path, row in found.by_file.items():
        setting, speed = row.measured
        assert row.variant.card is not None
        record = tuned.Tuned(
            backend=setting.backend,
            threads=setting.threads,
            streams=setting.streams,
            max_batch=setting.batch,
            images_per_sec=speed.images_per_sec,
            latency_ms=speed.p50_ms,
            when=when,
        )
        kept.append(tuned.keep(path, row.variant.card, record))
    return kept


def forget(model: Path) -> list[Path]:
    """Remove what was kept of `model` and its files of other precisions; returns the records that were there.

    Raises ModelError where `model` is no model of ours.
    """
    own = read_card(model)
    cards = [(variant.path, variant.card) for variant in variants_of(model)]
    same = [(path, card) for path, card in cards if card and card.fingerprint == own.fingerprint]
    return [record for path, card in same if (record := tuned.forget(path, card))]
