"""Figures as people read them: three digits, thousands parted, no zero before the point, units that fit.

In: numbers and records. Out: short texts, alike on the page, in the README and on the terminal. Nothing here escapes:
whoever writes HTML or Markdown does.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.report.figures import Estimate, Record

NONE = "\u2013"
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_RUNTIMES = {"tensorflow": "TensorFlow", "onnx": "ONNX", "pixels": "raw pixels", "opencv": "OpenCV"}
SUITE_TITLES = {
    "throughput": "Throughput",
    "latency": "Latency of one image",
    "end_to_end": "End to end, decoding inside",
    "start_up": "Start-up",
    "index": "The index",
    "matching": "Keypoints matched",
    "known": "Contenders whose result is known",
}


def share(value: float | None, digits: int = 4) -> str:
    """A figure between 0 and 1: .8970."""
    if value is None:
        return NONE
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def percent(value: float | None) -> str:
    """96 %; with a decimal below ten."""
    if value is None:
        return NONE
    return f"{value:.0%}".replace("%", " %") if value >= 0.0995 else f"{value:.1%}".replace("%", " %")


def times(value: float | None) -> str:
    """A ratio: 18.0, 2.8, 1.40, .90."""
    if value is None:
        return NONE
    if value >= 99.95:
        return f"{value:,.0f}"
    if value >= 1.995:
        return f"{value:.1f}"
    text = f"{value:.2f}" if value >= 0.0095 else f"{value:.2g}"
    return text[1:] if text.startswith("0.") else text


def number(value: float | None) -> str:
    """Three digits that count: 11,700, 9.21, 814 G."""
    if value is None:
        return NONE
    if value == 0:
        return "0"
    if abs(value) >= 1e9:
        return f"{value / 1e9:,.3g} G" if value < 1e12 else f"{value / 1e9:,.0f} G"
    if abs(value) >= 100:
        rounded = float(f"{value:.3g}")
        return f"{rounded:,.0f}"
    text = f"{value:#.3g}".rstrip(".")
    return text[1:] if text.startswith("0.") else text


def short(value: float) -> str:
    """An axis's number: 1k, 20k, 5M; one that is not round, as 1,024, is written out."""
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            text = f"{value / factor:g}"
            return f"{text}{letter}" if len(text) < 4 else f"{value:,.0f}"
    return f"{value:g}"


def duration(seconds: float | None) -> str:
    """.12 ms, 41 µs, 5.2 s."""
    if seconds is None:
        return NONE
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= (1.0 if unit == "s" else 0.1):
            return f"{_two(seconds * factor)} {unit}"
    return f"{_two(seconds * 1e6)} µs"


def size(num_bytes: float | None) -> str:
    """In binary units."""
    if num_bytes is None:
        return NONE
    return f"{num_bytes / 2**30:.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:,.0f} MiB"


def interval(found: Estimate | None, form: str = "times") -> str:
    """The interval alone: 2.6 to 3.1; empty for one round."""
    if found is None or found.interval is None:
        return ""
    write = times if form == "times" else number
    low, high = write(found.interval.low), write(found.interval.high)
    return low if low == high else f"{low} to {high}"


def threads(count: int) -> str:
    """Two threads, one thread."""
    return f"{_NUMBERS[count] if count < len(_NUMBERS) else count} thread{'s' if count != 1 else ''}"


def listed(parts: Sequence[str], last: str = "and") -> str:
    """a, b and c."""
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


def runtime(record: Record) -> str:
    """By what a retrieval record's vectors were made."""
    name = str(record["runtime"])
    return " ".join(filter(None, (_RUNTIMES.get(name, name), record.get("backend"))))


def found(value: object) -> str:
    """What a check found: words as they are; of a table its numbers, and each classifier's mean accuracy."""
    if isinstance(value, dict):
        told = [(name, each) for name, each in value.items() if isinstance(each, str | int | float | bool)]
        said = [f"{name.replace('_', ' ')} {each}" for name, each in told]
        said += [
            f"{each['classifier']} {share(sum(each['accuracies']) / len(each['accuracies']), 3)}"
            for each in value.get("probes", ())
            if each["accuracies"]
        ]
        return ", ".join(said) or "a table"
    return str(value)


def decoding(record: Record) -> str:
    """Whether decoding is part of what was timed."""
    return "inside" if record.get("is_decode_inside") else "outside"


def machine(run: Record) -> str:
    """Processor, how many, and the instructions that matter most."""
    described = run["machine"]
    features = described.get("cpu_features") or []
    told = [name for key, name in _TOLD_FEATURES if any(each.startswith(key) for each in features)][:2]
    processors = described.get("num_processors")
    of = f", {_NUMBERS[processors] if processors < len(_NUMBERS) else processors} processors" if processors else ""
    return f"{described['processor']}{of}{''.join(f', {each}' for each in told)}"


def provenance(run: Record, versions: dict[str, str] | None = None) -> str:
    """The line beneath a table: threads, machine, versions, day and commit."""
    named = ", ".join(f"{name} {version}" for name, version in sorted((versions or {}).items()))
    parts = [
        f"{threads(run['threads']).capitalize()}, {machine(run)}",
        named,
        f"{run['started'][:10]}, commit {run.get('commit') or 'unknown'}, {run['profile']} run",
    ]
    return "; ".join(filter(None, parts)) + "."


def _two(value: float) -> str:
    text = f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"
    return text[1:] if text.startswith("0.") else text


_TOLD_FEATURES = (("amx", "AMX"), ("avx512", "AVX-512"), ("avx2", "AVX2"), ("sve", "SVE"), ("asimd", "NEON"))
