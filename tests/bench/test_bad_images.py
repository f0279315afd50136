"""A small folder of damage through the real command; and that the judge sees what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.bad_images import MOST_MEMORY_BYTES, Outcome, problems
from bench.damage import Made, encoders, make_folder
from bench.oddities import deflated_zeros, flat_png
from semblance.inputs.decode import decode

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
GOOD = Made("a.png", "none", "good", size=(4, 5))
BAD = Made("b.jpg", "cut", "bad", stage="decode")
ROW = {"stage": "decode", "error": "ImageError", "message": "b.jpg: cut short"}


def test_the_command_takes_a_folder_of_damage_in_its_stride() -> None:
    command = [sys.executable, "-m", "bench.bad_images", "--files", "250", "--seed", "5", "--bomb-side", "1500"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["problems"] == []
    assert ended.returncode == 0
    assert result["num_files"] >= 250
    assert result["verdicts"]["good"] >= 100
    assert result["verdicts"]["bad"] >= 50
    assert result["num_taken"] + result["num_refused"] + result["verdicts"]["no file"] == result["num_files"]
    assert result["stderr_lines"]["others'"] == 0
    if sys.platform != "win32":
        assert 50_000_000 < result["peak_rss_bytes"] < MOST_MEMORY_BYTES


def test_all_is_well_where_all_is_well() -> None:
    outcome = Outcome(0, ["siamese: onnxruntime 1, CPUExecutionProvider"], 10**8, {"a.png": (4, 5)}, {"b.jpg": ROW})
    assert problems([GOOD, BAD, Made("c.png", "a folder", "no file")], outcome) == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(1, ["error: why"], None, {}), "ended with 1: .*why"),
        (Outcome(0, [], None, {"a.png": (4, 5)}), "b.jpg: in neither"),
        (Outcome(0, [], None, {"a.png": (4, 5), "b.jpg": (1, 1)}), "b.jpg: bad, and taken"),
        (Outcome(0, [], None, {"a.png": (4, 5), "b.jpg": (1, 1)}, {"b.jpg": ROW}), "b.jpg: in the gallery and in"),
        (Outcome(0, [], None, {"a.png": (5, 4)}, {"b.jpg": ROW}), r"a.png: is \(4, 5\), came out as \(5, 4\)"),
        (Outcome(0, [], None, {}, {"a.png": ROW, "b.jpg": ROW}), "a.png: good, and refused"),
        (Outcome(0, [], None, {"a.png": (4, 5), "x": (1, 1)}, {"b.jpg": ROW}), "x: no such file"),
        (Outcome(0, [], None, {"a.png": (4, 5)}, {"b.jpg": {**ROW, "stage": "read"}}), "b.jpg: refused at 'read'"),
        (Outcome(0, [], None, {"a.png": (4, 5)}, {"b.jpg": {**ROW, "message": "b.jpg: "}}), "b.jpg: refused at"),
        (Outcome(0, [], 2 * 10**9, {"a.png": (4, 5)}, {"b.jpg": ROW}), "2,000 MB of memory, at most 1,500"),
        (Outcome(0, ["Traceback"], None, {"a.png": (4, 5)}, {"b.jpg": ROW}), "on stderr: Traceback"),
    ],
)
def test_what_is_wrong_is_seen(outcome: Outcome, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert problems([GOOD, BAD], outcome) == []


def test_lines_of_libjpeg_and_libpng_are_no_problem() -> None:
    lines = ["libpng error: IDAT: incorrect data check", "Corrupt JPEG data: premature end of data segment"]
    assert problems([GOOD, BAD], Outcome(0, lines, None, {"a.png": (4, 5)}, {"b.jpg": ROW})) == []


def test_the_same_seed_makes_the_same_folder(tmp_path: Path) -> None:
    options = {"num_files": 300, "seed": 3, "max_bytes": 4096, "bomb_side": 200}
    made = [make_folder(tmp_path / name, [PHOTO], **options) for name in "ab"]
    assert made[0] == made[1]
    names = {each.uri for each in made[0].files}
    assert len(names) == len(made[0].files) >= 300
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            uri = path.relative_to(tmp_path / "a").as_posix()
            assert uri in names
            if "avif" not in uri:  # libavif writes the time of day into animations
                assert path.read_bytes() == (tmp_path / "b" / uri).read_bytes(), uri


def test_every_kind_is_a_picture_of_the_size_of_the_photograph() -> None:
    for name, encode in encoders()[0].items():
        assert decode(encode(PHOTO), channels=3).shape == PHOTO.shape, name


def test_zeros_are_packed_without_having_them(tmp_path: Path) -> None:
    import zlib

    for num_bytes in (0, 1, 1 << 20, (1 << 20) + 7, 5 << 20):
        assert zlib.decompress(deflated_zeros(num_bytes)) == bytes(num_bytes)
    assert (decode(flat_png(1001, 999, 16, 2), channels=3) == 0).all()
