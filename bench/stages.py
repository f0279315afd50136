"""Where the time of a gallery's build goes, stage by stage: photographs by MobileNet, Fashion-MNIST by the Siamese.

In: how thorough to be. Out: a `stages` record for each gallery, as the build itself reports it. Stages run while others
do, so that their seconds, of all threads together, are more than the clock's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from bench.overlap import unpack_photographs
from bench.records import Record
from bench.subjects import Subject, subject
from bench.suites.plan import Plan
from semblance.errors import SourceError
from semblance.gallery.build import build
from semblance.inference.encoder import Encoder
from semblance.inputs.datasets import fashion_mnist
from semblance.inputs.sources import ArraySource, FileSource, Source

_NUM_PHOTOGRAPHS = 500  # where there is little time
_ALL = 1 << 20
_NUM_GARMENTS = 10_000


def stages(plan: Plan, emit: Callable[[Record], None]) -> None:
    """Emit the records; a gallery whose model or pictures are not on this machine is left out, and stderr says why."""
    for name, make in (("mobilenet", _photographs), ("siamese", _garments)):
        model = subject(name)
        try:
            if (missing := model.ensure("fp32", is_full=plan.is_full, say=_say)) is not None:
                raise SourceError(missing)
            title, source = make(plan)
        except SourceError as error:
            _say(f"no stages of {name}: {error}")
            continue
        emit(_record(f"{name}, {title}", model, source, plan))


def _record(title: str, model: Subject, source: Source, plan: Plan) -> Record:
    """Built as `semblance embed` builds."""
    encoder = Encoder.load(model.path("fp32"), backend="cpu", threads=plan.threads, streams=None)
    report = build(source, encoder, plan.folder / f"{model.name}.gallery", workers=plan.threads)
    seconds = {stage: each for stage, each in report.seconds.items() if stage != "total"}
    return {
        "kind": "stages",
        "subject": title,
        "seconds": seconds,
        "wall_s": report.seconds["total"],
        "num_images": report.num_added,
    }


def _photographs(plan: Plan) -> tuple[str, Source]:
    paths: list[Path] = unpack_photographs(plan.folder / "photographs", _ALL if plan.is_full else _NUM_PHOTOGRAPHS)
    return "photographs", FileSource(paths)


def _garments(plan: Plan) -> tuple[str, Source]:
    return "Fashion-MNIST", ArraySource(fashion_mnist("test")[0][:_NUM_GARMENTS], name="fashion-mnist:test")


def _say(message: str) -> None:
    print(message, file=sys.stderr)
