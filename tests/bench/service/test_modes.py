"""The command line as it is typed, as briefly as it can be: tables, one JSON document as the last line, a status."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.service.__main__ import main, parsed
from bench.service.cost import WAYS
from bench.service.pictures import bad_pictures, distinct, model_file, pictures_for
from bench.service.saturation import pieces
from semblance.errors import ImageError
from semblance.inputs.decode import decode

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
    pytest.mark.usefixtures("fashion_mnist_dir"),
]


def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, Any]:
    """Status and document of a run."""
    monkeypatch.setattr(sys, "argv", ["bench.service", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_cost(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    status, found = told(capsys, monkeypatch, "cost", "--rounds", "3", "--calls", "10", "--out", str(out))
    assert json.loads(out.read_text()) == found
    assert status == (0 if found["holds"] else 1)
    assert set(found["ways"]) == set(WAYS)
    assert all(len(found["medians_ms"][way]) == 3 for way in WAYS)
    assert found["service_less_batcher_ms"]["interval"] is not None
    assert found["machine"]["num_processors"] > 0
    assert found["server_exit_status"] == 0


def test_saturation(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    status, found = told(
        capsys, monkeypatch, "saturation", "--models", "siamese", "--images", "8", "--rounds", "2", "--seconds", "0.3"
    )
    ((line,),) = (one["lines"] for one in found["models"])
    assert status == (0 if line["holds"] else 1)
    assert line["ratio"]["value"] > 0
    assert line["outstanding_images"] == 8 * line["concurrency"]
    assert len(line["service_rounds"]) == len(line["in_process_rounds"]) == 2
    assert line["client_cpu_share"] > 0


@pytest.mark.skipif(importlib.util.find_spec("mlperf_loadgen") is None, reason="mlcommons-loadgen is not installed")
def test_loadgen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = told(capsys, monkeypatch, "loadgen", "--seconds", "0.2")
    assert set(found["contenders"]) == {"service", "batcher"}
    for each in found["contenders"].values():
        assert each["accuracy"]["holds"]
        assert each["accuracy_alone"]["holds"]
        assert each["search"]["probes"]
    assert found["bound_ms"] == pytest.approx(5 * found["contenders"]["service"]["alone_ms"])


@pytest.mark.parametrize("arguments", [["soak", "--minutes", "0"], ["cost", "--rounds", "-1"], ["nothing"], []])
def test_nonsense_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(arguments)
    assert ended.value.code == 2


def test_pictures_of_a_run_can_be_told_apart() -> None:
    pictures = pictures_for(model_file("siamese"), 100)
    assert len(pictures) > 50
    assert distinct(pictures.vectors, 100 * pictures.tolerance) == list(range(len(pictures)))
    assert all(each.num_images == 8 for each in pieces(pictures, 8))
    assert pieces(pictures, 8)[1].expected == pictures.expected([2, 3, 4, 5, 6, 7, 8, 9])


def test_bad_pictures_are_bad() -> None:
    pictures = pictures_for(model_file("siamese"), 10)
    bad = bad_pictures(pictures.encoded[0])
    assert len(bad["bomb"]) < 1000
    for content in bad.values():
        with pytest.raises(ImageError):
            decode(content, channels=3)
