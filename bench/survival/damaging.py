"""A gallery damaged in one place at a time, and asked everything there is to ask.

In: how many flips, and a seed. Out: what `verify` found, what was refused and when, and every problem: damage that
`verify` does not find in the very file, and any answer that is neither refused nor the undamaged gallery's own.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.survival.gallery import ASKED, Queries, make_gallery, tree
from bench.survival.pictures import find_pictures
from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.verify import verify


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to one file."""

    file: str  # relative to the gallery
    kind: Literal["bit", "byte", "cut", "emptied", "lengthened", "removed"]
    position: int = 0
    change: int = 0  # by which the byte there is XORed


@dataclass(slots=True)
class Examined:
    """What a damaged gallery said of itself."""

    done: Damage
    verify: str  # named, found (under another file's name) or missed
    asked: dict[str, str]  # by what was asked: refused, same, or what went wrong

    @property
    def problems(self) -> list[str]:
        """What is not as it must be."""
        wrong = {name: said for name, said in self.asked.items() if said not in ("refused", "same")}
        said = [f"verify: {self.verify}"] if self.verify != "named" else []
        place = f"{self.done.kind} of {self.done.file} at {self.done.position} ^ {self.done.change}"
        return [f"{place}: {each}" for each in [*said, *(f"{name}: {what}" for name, what in wrong.items())]]


def flips(sizes: dict[str, int], num: int, rng: np.random.Generator) -> list[Damage]:
    """`num` bits and bytes to turn over, in files by size, but up to five in each, and anywhere in them."""
    least = min(5, num // max(1, 2 * len(sizes)))
    files = [name for name in sizes for _ in range(least)]
    shares = np.array(list(sizes.values()), np.float64) / sum(sizes.values())
    files += [list(sizes)[index] for index in rng.choice(len(sizes), num - len(files), p=shares)]
    found = []
    for file in files:
        is_bit, position = bool(rng.integers(2)), int(rng.integers(sizes[file]))
        change = 1 << int(rng.integers(8)) if is_bit else int(rng.integers(1, 256))
        found.append(Damage(file, "bit" if is_bit else "byte", position, change))
    return found


def losses(sizes: dict[str, int], rng: np.random.Generator) -> list[Damage]:
    """Each file cut somewhere, emptied, one byte longer, and gone."""
    return [
        each
        for file, size in sizes.items()
        for each in (
            Damage(file, "cut", int(rng.integers(1, size))),
            Damage(file, "emptied"),
            Damage(file, "lengthened", size),
            Damage(file, "removed"),
        )
    ]


def damaged(content: bytes, done: Damage) -> bytes | None:
    """What a file holds after it; None: there is no file."""
    if done.kind in ("bit", "byte"):
        changed = bytearray(content)
        changed[done.position] ^= done.change
        return bytes(changed)
    return {"cut": content[: done.position], "emptied": b"", "lengthened": content + b"\0"}.get(done.kind)


def examine(whole: Path, copy: Path, done: Damage, answers: dict[str, Any], queries: Queries) -> Examined:
    """Copy the gallery `whole` to `copy`, damage that, and ask it everything."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    content = damaged((copy / done.file).read_bytes(), done)
    (copy / done.file).unlink()
    if content is not None:
        (copy / done.file).write_bytes(content)
    verified = _verified(copy, done.file)
    asked = {name: _said(ask, copy, queries, answers[name]) for name, ask in ASKED.items()}
    return Examined(done, verified, asked)


def _verified(gallery: Path, file: str) -> str:
    try:
        findings = verify(gallery)
    except GalleryError as error:  # without a manifest it is no gallery
        return "named" if file in str(error) else "found"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "missed" if not findings else "named" if file in {each.file for each in findings} else "found"


def _said(ask: Callable[[Path, Queries], Any], gallery: Path, queries: Queries, answer: Any) -> str:
    """Whether an answer is the same as before the damage, was refused, or what else came."""
    try:
        return "same" if ask(gallery, queries) == answer else "a wrong answer in silence"
    except GalleryError:
        return "refused"
    except Exception as error:  # no user can mend it, whatever it is
        return f"{type(error).__name__}: {error}"


def damage(*, num_flips: int, seed: int, num_pictures: int = 90, has_sift: bool = False) -> dict[str, Any]:
    """Damage a gallery in `num_flips` places, and lose each of its files in every way; what it said to that."""
    rng, start = np.random.default_rng(seed), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        whole = make_gallery(scratch, find_pictures(num_pictures), has_sift=has_sift)
        sizes = {name: len(content) for name, content in tree(whole).items() if content is not None}
        queries = VectorGallery.open(whole).vectors[:5]
        copy = scratch / "copy"
        shutil.copytree(whole, copy)
        answers = {name: ask(copy, queries) for name, ask in ASKED.items()}
        wanted = [*flips(sizes, num_flips, rng), *losses(sizes, rng)]
        examined = [examine(whole, copy, each, answers, queries) for each in wanted]
    return {
        "num_flips": num_flips,
        "num_losses": len(wanted) - num_flips,
        "files": {name: _counts([each for each in examined if each.done.file == name]) for name in sizes},
        "all": _counts(examined),
        "asked": {name: dict(Counter(_short(each.asked[name]) for each in examined)) for name in ASKED},
        "problems": [problem for each in examined for problem in each.problems],
        "seconds": round(time.monotonic() - start, 1),
    }


def _counts(examined: Sequence[Examined]) -> dict[str, int]:
    """How many were damaged, found, and refused at what step; harmless: of no matter to anything that was asked."""
    refused = [each for each in examined if "refused" in each.asked.values()]
    return {
        "damaged": len(examined),
        "found": sum(each.verify in ("found", "named") for each in examined),
        "named": sum(each.verify == "named" for each in examined),
        "refused_at_open": sum(each.asked["open"] == "refused" for each in refused),
        "refused_later": sum(each.asked["open"] != "refused" for each in refused),
        "harmless": sum(set(each.asked.values()) == {"same"} for each in examined),
        "wrong": sum(bool({*each.asked.values()} - {"refused", "same"}) for each in examined),
    }


def _short(said: str) -> str:
    return said if said in ("refused", "same") else "wrong"
