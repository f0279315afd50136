"""Several files by one name, as webdataset writes it: shard-{000..012}.tar.

In: a name with braces. Out: the names it stands for, in order. Whether there are such files is for others to see.
"""

from __future__ import annotations

import itertools
import re

from semblance.errors import SourceError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_NAMES = 100_000


def expand_braces(spec: str) -> list[str]:
    """The names that `spec` stands for: {000..012} counts, with as many digits, and {a,b} lists.

    Of several braces the last goes round fastest. A name without braces stands for itself. Raises SourceError for
    braces that are neither, and for more than 100,000 names.
    """
    parts = _BRACES.split(spec)  # text and the inside of braces by turns
    choices = [[part] if number % 2 == 0 else _choices(spec, part) for number, part in enumerate(parts)]
    num_names = 1
    for choice in choices:
        num_names *= len(choice)
    if num_names > _MAX_NAMES:
        raise _too_many(spec, num_names)
    names = ["".join(chosen) for chosen in itertools.product(*choices)]
    if len(set(names)) < len(names):
        raise SourceError(f"{spec}: stands for a file twice; give each once")
    return names


def _choices(spec: str, inside: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = int(found[1]), int(found[2])
        if last - first >= _MAX_NAMES:
            raise _too_many(spec, last - first + 1)
        if last >= first:
            return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]
    elif "," in inside:
        return inside.split(",")
    raise SourceError(f"{spec}: {{{inside}}} is no range; expected {{000..012}}, the smaller number first, or {{a,b}}")


def _too_many(spec: str, num_names: int) -> SourceError:
    return SourceError(
        f"{spec}: stands for {num_names:,} files; expected at most {_MAX_NAMES:,}: name a folder instead"
    )
