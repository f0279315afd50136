"""A gallery's survival on a small scale, the two moments that are easily got wrong, and that the test can fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench.survival import killing
from bench.survival.damaging import Damage, Examined, damaged, examine, flips, losses
from bench.survival.gallery import ASKED, differences, make_gallery, tree
from bench.survival.killing import Change, Run, Undisturbed, kill, kill_run, make_change, observe
from bench.survival.moments import Delay, aimed, moments, stages, timed, unflushed
from bench.survival.pictures import find_pictures
from bench.survival.watch import Moment, Step
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.mapped import MappedTable

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

NUM_PICTURES = 45


def steps_of(*done: str) -> list[Step]:
    return [Step(*each.split(" ", 1), at=0.0) for each in done]


# ----------------------------------------------------------------------------------------------------------------------
# Killed


@dataclass
class Observed:
    change: Change
    undisturbed: Undisturbed
    scratch: Path

    def kill(self, when: Moment | Delay, *, seed: int = 0) -> Run:
        return kill_run(self.change, self.undisturbed, when, self.scratch, np.random.default_rng(seed), max_kills=1)

    def last(self, operation: str, name: str) -> int:
        """The number of the last such step."""
        done = [(step.operation, step.name) for step in self.undisturbed.steps]
        return len(done) - 1 - done[::-1].index((operation, name))


def observed(command: str, scratch: Path, *, has_sift: bool = False) -> Observed:
    change = make_change(command, scratch, find_pictures(NUM_PICTURES), has_sift=has_sift)
    return Observed(change, observe(change, scratch, times=2), scratch)


@pytest.fixture(scope="module")
def embed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    return observed("embed", tmp_path_factory.mktemp("embed").resolve())


@pytest.fixture(scope="module")
def add(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    return observed("add", tmp_path_factory.mktemp("add").resolve())


@pytest.mark.parametrize("stage", ["shard", "errors", "manifest", "index"])
def test_a_build_that_is_killed_in_any_stage_ends_with_the_same_bytes(embed: Observed, stage: str) -> None:
    run = embed.kill(moments(embed.undisturbed.steps, np.random.default_rng(1))[stage][0])
    assert [each["stage"] for each in run.kills] == [stage]
    assert run.problems == [], run.kills
    assert run.identical == {"shard": True, "errors": True, "index": True, "manifest": True}


def test_a_build_that_is_killed_between_its_keypoints_and_its_manifest_ends_with_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    embed = observed("embed", tmp_path_factory.mktemp("sift").resolve(), has_sift=True)
    for moment in (
        Moment(embed.last("fsync", "sift/000001.parquet (aside)"), "cut", 0.5),
        Moment(embed.last("replace", "sift/000001.parquet"), "after"),
    ):
        run = embed.kill(moment)
        assert [each["stage"] for each in run.kills] == ["sift"]
        assert run.problems == [], run.kills
        assert run.identical == dict.fromkeys(("shard", "sift", "errors", "index", "manifest"), True)
    assert unflushed(embed.undisturbed.steps) == []


def test_a_build_that_is_killed_at_some_time_ends_with_the_same_bytes(embed: Observed) -> None:
    (delay,) = timed(1, embed.undisturbed.idle_sec, embed.undisturbed.busy_sec, np.random.default_rng(0))
    assert delay.since == "lock"
    run = embed.kill(delay)
    assert len(run.kills) == 1
    assert run.problems == []


def test_a_build_that_is_killed_after_its_last_commit_leaves_no_lock_to_the_next(embed: Observed) -> None:
    """It finds everything done; a lock file that stayed would keep writers on other machines away."""
    run = embed.kill(Moment(embed.last("unlink", "lock"), "before"))
    assert run.problems == []


def test_adding_that_is_killed_anywhere_before_its_last_commit_is_carried_on(add: Observed) -> None:
    """Also when all pictures are in and the index is built, which takes longest in a large gallery."""
    commits = [number for number, step in enumerate(add.undisturbed.steps) if step.commit]
    for moment in (Moment(commits[0], "after"), Moment(commits[-1], "before")):
        run = add.kill(moment)
        assert run.problems == [], run.kills


@pytest.mark.parametrize(
    ("command", "has_sift"),
    [("refresh", False), ("remove", False), ("compact", False), ("rebuild", False), ("compact", True)],
)
def test_a_change_that_is_killed_is_made_or_is_not(command: str, has_sift: bool) -> None:
    result = kill(command, num_runs=1, seed=4, num_pictures=NUM_PICTURES, max_kills=1, has_sift=has_sift)
    assert result["num_kills"] == 1
    assert (result["problems"], result["unflushed"]) == ([], [])
    assert set(result["identical"].values()) == {1}


IN_PLACE = """
import semblance.files as files
def write_aside(path, write):
    write(path)
    files._sync(path)
    return files.Written(path.stat().st_size, files.sha256_of(path))
files.write_aside = write_aside
"""


def test_a_gallery_that_writes_in_place_does_not_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(killing, "CHILD", IN_PLACE + killing.CHILD)
    remove = observed("remove", tmp_path.resolve())
    run = remove.kill(Moment(remove.last("fsync", "manifest.json"), "cut", 0.5))
    assert "its manifest is none that an undisturbed command puts in place" in run.problems[0]
    assert "manifest.json is damaged" in run.problems[-1]


def test_files_that_are_renamed_before_they_are_flushed_are_told() -> None:
    well = ("fsync a (aside)", "replace a", "fsync .", "fsync index/b (aside)", "replace index/b", "fsync index")
    assert unflushed(steps_of(*well)) == []
    assert unflushed(steps_of(*well[1:])) == ["a is put in place before it is flushed"]
    assert unflushed(steps_of(*well[:-1])) == ["index/b is put in place and its folder is not flushed"]


def test_steps_belong_to_stages() -> None:
    named = {
        "mkdir .": "folder",
        "open lock": "lock",
        "mkdir shards": "shard",
        "replace shards/000000.parquet": "shard",
        "fsync sift/000000.parquet (aside)": "sift",
        "fsync errors.parquet (aside)": "errors",
        "replace removed-000001.parquet": "removed",
        "replace manifest.json": "manifest",
        "fsync .": "manifest",
        "unlink shards/000001.parquet": "tidy",
        "unlink lock": "lock",
    }
    assert stages(steps_of(*named)) == list(named.values())
    chosen = aimed(steps_of(*named), 16, np.random.default_rng(0))
    assert len({(each.number, each.how) for each in chosen[:8]}) == 8
    assert [stages(steps_of(*named))[each.number] for each in chosen[:8]] == list(dict.fromkeys(named.values()))


def test_times_are_spread_over_the_whole_run() -> None:
    delays = timed(30, 2.0, 0.5, np.random.default_rng(0))
    early, late = ([each.seconds for each in delays if each.since == since] for since in ("start", "lock"))
    assert (len(early), len(late)) == (10, 20)
    for seconds, end in ((early, 2.0), (late, 0.5)):
        stretches = np.floor(np.array(seconds) / end * len(seconds))
        assert stretches.tolist() == list(range(len(seconds)))


def test_folders_are_compared_by_name_and_byte(tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b/c", b"2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    whole = tree(tmp_path)
    assert whole == {"a": b"1", "b": None, "b/c": b"2"}
    assert differences(whole, whole) == []
    assert differences({"a": b"0", "d": b""}, whole) == [
        "b is missing", "b/c is missing", "d is left over", "a has other bytes",
    ]  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# Damaged


@pytest.fixture(scope="module")
def printed() -> str:
    """stdout of a short test of damage."""
    command = [sys.executable, "-m", "bench.survival", "damage", "--flips", "40", "--pictures", str(NUM_PICTURES)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    return ended.stdout


def test_no_damage_goes_unnoticed(printed: str) -> None:
    result = json.loads(printed.splitlines()[-1])
    assert (result["test"], result["seed"], result["is_well"], result["num_flips"]) == ("damage", 0, True, 40)
    assert result["problems"] == []
    counts = result["all"]
    assert counts["damaged"] == counts["named"] == 40 + 4 * len(result["files"])
    assert counts["refused_at_open"] + counts["refused_later"] + counts["harmless"] == counts["damaged"]
    assert {"manifest.json", "errors.parquet", "removed-000001.parquet", "index/000002.usearch"} <= set(result["files"])
    assert all(each["damaged"] >= 5 for each in result["files"].values())
    assert result["asked"]["exact search"]["same"] == result["files"]["errors.parquet"]["damaged"]


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    return make_gallery(tmp_path, find_pictures(NUM_PICTURES))


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody compares a shard with its checksum."""
    with monkeypatch.context() as patch:
        patch.setattr(MappedTable, "check", lambda self: None)
        yield


def test_no_damage_to_keypoints_goes_unnoticed(tmp_path: Path) -> None:
    whole = make_gallery(tmp_path, find_pictures(NUM_PICTURES), has_sift=True)
    sizes = {name: len(content or b"") for name, content in tree(whole).items() if name.startswith("sift/0")}
    assert len(sizes) >= 4
    rng = np.random.default_rng(0)
    found = examined(whole, tmp_path / "copy", [*flips(sizes, 8, rng), *losses(sizes, rng)[:8]])
    assert [problem for each in found for problem in each.problems] == []
    assert {each.asked["keypoints"] for each in found} == {"refused"}
    assert {each.asked["exact search"] for each in found[:8]} == {"same"}  # which needs no keypoints


def examined(gallery: Path, copy: Path, wanted: list[Damage]) -> list[Examined]:
    queries = VectorGallery.open(gallery).vectors[:5]
    answers = {name: ask(gallery, queries) for name, ask in ASKED.items()}
    return [examine(gallery, copy, each, answers, queries) for each in wanted]


@pytest.mark.usefixtures("trusting")
def test_a_gallery_that_trusts_its_shards_is_told(gallery: Path, tmp_path: Path) -> None:
    sizes = {"shards/000000.parquet": (gallery / "shards/000000.parquet").stat().st_size}
    found = examined(gallery, tmp_path / "copy", flips(sizes, 12, np.random.default_rng(0)))
    assert any(each.verify == "missed" for each in found)
    assert any("exact search: a wrong answer in silence" in problem for each in found for problem in each.problems)


def test_a_column_name_that_is_no_text_any_more_is_damage(gallery: Path, tmp_path: Path) -> None:
    """errors.parquet is read before its checksum is known to be another, since it may have grown."""
    content = (gallery / "errors.parquet").read_bytes()
    names = [Damage("errors.parquet", "bit", each.start(), 128) for each in re.finditer(rb"key|stage|message", content)]
    assert len(names) >= 6
    assert [problem for each in examined(gallery, tmp_path / "copy", names) for problem in each.problems] == []


def test_every_file_has_its_share_of_flips() -> None:
    sizes = {"large": 100_000, "small": 10, "middling": 1000}
    found = flips(sizes, 300, np.random.default_rng(0))
    assert len(found) == 300
    counts = {name: sum(each.file == name for each in found) for name in sizes}
    assert counts["large"] > counts["middling"] >= counts["small"] >= 5
    assert all(each.position < sizes[each.file] and 0 < each.change < 256 for each in found)
    assert all(each.change.bit_count() == 1 for each in found if each.kind == "bit")
    assert {each.kind for each in found} == {"bit", "byte"}


def test_damage_is_done() -> None:
    rng = np.random.default_rng(0)
    assert damaged(b"abc", Damage("a", "bit", 1, 1)) == b"acc"
    assert [damaged(b"ab", each) for each in losses({"a": 2}, rng)] == [b"a", b"", b"ab\0", None]


def test_the_gallery_has_everything_and_the_questions_tell_pictures_apart(gallery: Path) -> None:
    names = {name for name, content in tree(gallery).items() if content is not None}
    assert len([name for name in names if name.startswith("shards/")]) >= 3
    queries = VectorGallery.open(gallery).vectors[:5]
    answers = {name: ask(gallery, queries) for name, ask in ASKED.items()}
    assert len(answers["duplicates"]["rows"]) >= 6
    assert 0 < sum(answers["matching"]) < len(answers["matching"])
    assert answers["search where"] != answers["exact search"]
    assert len(answers["writer"][2]) >= 4  # error rows
    assert json.loads(answers["writer"][0])["index"]["num_rows"] < len(answers["uris"]) + 6  # some are younger


def test_the_table_has_a_line_for_each_file(printed: str) -> None:
    *table, document = printed.splitlines()
    for name in json.loads(document)["files"]:
        assert sum(name in line for line in table) == 1
