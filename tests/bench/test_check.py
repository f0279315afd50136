"""Claims about the harness where a contender is absent do not hold, and say why; `python -m bench check` measures."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench import check
from bench.racing import Entry, Workload, absent
from bench.records import Record


def test_without_tensorflow_claims_do_not_hold_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def raced(entries: Sequence[Entry], workloads: Sequence[Workload], seconds: float) -> list[Record]:
        gone, failed = "tensorflow is not installed (pip install tensorflow)", "ValueError: it was to fail, and did"
        return [
            *(absent("known", "known", "known", each, gone) for each in entries if each.contender == "tensorflow"),
            *(absent("known", "known", "known", each, failed) for each in entries if each.contender == "fails"),
            *({"kind": "race", "contender": each.contender, "answers": None}
              for each in entries if each.contender not in ("tensorflow", "fails")),
        ]  # fmt: skip

    monkeypatch.setattr(check, "_raced", raced)
    claims = [*check.lies(1.0), *check.repeats(1.0)]
    assert [each["holds"] for each in claims] == [False] * 4
    assert all("tensorflow is not installed" in each["found"] for each in claims)
