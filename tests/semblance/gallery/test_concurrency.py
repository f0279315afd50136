"""One writer and readers in other processes: every answer is that of one state which was committed, whatever goes on.

Each picture's vector and label say its key and how often it was written, so that a vector of one state beside a key or
a label of another is noticed. The writer lists each state before it commits it; what readers saw must be on that list,
and no reader may see an older state after a newer one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semblance.errors import GalleryError
from semblance.gallery.build import build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.shards import Row
from semblance.gallery.verify import verify
from semblance.gallery.writer import GalleryWriter
from semblance.inputs.sources import ArraySource

SECONDS = 4.0  # of writing
NUM_KEYS = 120
SHARES = {"upsert": 0.4, "remove": 0.25, "update": 0.2, "rebuild": 0.05, "compact": 0.1}  # of all changes

READER = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from semblance.gallery.gallery import VectorGallery

path, stop, rng = Path(sys.argv[1]), Path(sys.argv[2]), np.random.default_rng(int(sys.argv[3]))

def state_of(gallery):
    pairs = sorted(tuple(map(int, label.split(":"))) for label in gallery.labels)
    return hashlib.sha256(json.dumps(pairs).encode()).hexdigest()

def asked(gallery):
    # every answer of the gallery, each compared with what its own vectors say
    keys, vectors = gallery.keys, gallery.vectors
    assert len(gallery) == len(keys) == len(vectors) == len(set(keys.tolist()))
    assert [label.split(":") for label in gallery.labels] == [[str(int(a)), str(int(b))] for a, b, _ in vectors]
    assert (vectors[:, 0] == keys).all()
    assert (vectors[:, 2] == (37 * vectors[:, 0] + 11 * vectors[:, 1]) % 101).all()
    queries = rng.integers(0, 120, (4, 3)).astype(np.float32)
    distances = ((queries[:, None].astype(np.float64) - vectors[None]) ** 2).sum(axis=2)  # [Q, N]
    k = int(rng.integers(1, len(gallery) + 1))
    answers = []
    for where, passes in ((None, keys >= 0), ("key % 3 = 0", keys % 3 == 0)):
        expected = np.sort(distances[:, passes], axis=1)[:, :k]
        for exact in (True, False):
            found = gallery.search(queries, k=k, exact=exact, where=where)
            count = min(k, int(passes.sum()))
            assert found.counts.tolist() == [count] * 4
            assert (found.keys[:, count:] == -1).all()
            for row in range(4):
                mine = found.keys[row, :count]
                assert len(set(mine.tolist())) == count
                rows = gallery.rows_of(mine)
                assert passes[rows].all()
                assert (found.distances[row, :count] == distances[row, rows]).all()
            # the index may miss a neighbour, but finds no other distances than there are
            assert (found.distances[:, :count] >= expected).all()
            if exact:
                assert (found.distances[:, :count] == expected).all()
                answers.append(found.keys.tolist())
    return queries, k, answers

def asked_again(gallery, queries, k, answers):
    for where, answer in zip((None, "key % 3 = 0"), answers):
        assert gallery.search(queries, k=k, exact=True, where=where).keys.tolist() == answer
        assert len(gallery.search(queries, k=k, where=where).keys) == 4

first = VectorGallery.open(path)
state, kept = state_of(first), asked(first)
print("ready", flush=True)
states, num_opened, older = [], 0, []
while not stop.exists() or not num_opened:
    gallery = VectorGallery.open(path)
    num_opened += 1
    states.append(state_of(gallery))
    older.append((gallery, states[-1], asked(gallery)))
    asked_again(first, *kept)
    if len(older) > 5:  # one that was opened a few generations ago, and was not used since
        gallery, before, answered = older.pop(0)
        asked_again(gallery, *answered)
        assert state_of(gallery) == before
assert state_of(first) == state
print(json.dumps({"states": states, "num_opened": num_opened}), flush=True)
"""


def vector(key: int, times: int) -> list[float]:
    return [key, times, (37 * key + 11 * times) % 101]


def state_of(written: dict[int, int]) -> str:
    return hashlib.sha256(json.dumps(sorted(map(list, written.items()))).encode()).hexdigest()


@pytest.fixture
def begun(tmp_path: Path, euclidean) -> Path:
    """A gallery of `NUM_KEYS` pictures, each written once."""
    euclidean.card = replace(euclidean.card, height=1, width=3, dimension=3)
    euclidean.run = lambda images: images.reshape(-1, 3).astype(np.float32)
    images = np.array([[vector(key, 0)] for key in range(NUM_KEYS)], np.uint8)  # [N, 1, 3]
    labels = [f"{key}:0" for key in range(NUM_KEYS)]
    build(
        ArraySource(images, labels=labels, name="points"), euclidean, tmp_path / "g", shard_rows=50,
        index=IndexOptions("f32"),
    )  # fmt: skip
    return tmp_path / "g"


@contextmanager
def reading(path: Path, stop: Path, num: int) -> Iterator[list[subprocess.Popen[str]]]:
    """`num` processes that have opened the gallery and asked it; killed at the end where they did not end by then."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(path), str(stop), str(number)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(num)
    ]  # fmt: skip
    try:
        for reader in readers:
            assert reader.stdout is not None
            if reader.stdout.readline() != "ready\n":
                pytest.fail(reader.communicate()[1])
        yield readers
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()


def upserted(writer: GalleryWriter, written: dict[int, int], keys: list[int]) -> None:
    rows = [Row(key, f"{key}", "0" * 64, 3, 1, f"{key}:{written[key]}") for key in keys]
    vectors: NDArray[np.float32] = np.array([vector(key, written[key]) for key in keys], np.float32)
    writer.upsert(rows, vectors)


def test_readers_see_states_that_were_committed_one_after_the_other(begun: Path, tmp_path: Path) -> None:
    rng, written, stop = np.random.default_rng(0), dict.fromkeys(range(NUM_KEYS), 0), tmp_path / "stop"
    states, num_written, done = [state_of(written)], 0, dict.fromkeys(SHARES, 0)
    with reading(begun, stop, 2) as readers:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or not all(done.values()):
            if any(reader.poll() is not None for reader in readers):
                break  # it says below what went wrong
            with GalleryWriter.open(begun) as writer:
                for _ in range(rng.integers(1, 6)):
                    change = str(rng.choice(list(SHARES), p=list(SHARES.values())))
                    done[change] += 1
                    if change == "upsert":
                        keys = rng.choice(NUM_KEYS, rng.integers(1, 9), replace=False).tolist()
                        num_written += 1
                        written.update(dict.fromkeys(keys, num_written))
                        states.append(state_of(written))
                        upserted(writer, written, keys)
                    elif change == "remove" and len(written) > NUM_KEYS // 2:
                        keys = rng.choice(sorted(written), rng.integers(1, 6), replace=False).tolist()
                        for key in keys:
                            del written[key]
                        states.append(state_of(written))
                        assert writer.remove(np.array(keys)) == len(keys)
                    elif change == "compact":
                        writer.compact(threads=1)
                    else:
                        writer.update_index(threads=1, fresh=change == "rebuild")
        stop.touch()
        answers = []
        for reader in readers:
            out, err = reader.communicate(timeout=60)
            assert (reader.returncode, err) == (0, "")
            answers.append(json.loads(out))
    place = {state: at for at, state in enumerate(states)}
    for answer in answers:
        seen = [place[state] for state in answer["states"]]  # KeyError: a state that never was
        assert seen == sorted(seen)
        assert len(set(seen)) > 1
    assert verify(begun) == []


WRITER = """
import sys
from pathlib import Path
from semblance.errors import GalleryError
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.upkeep import remove
try:
    remove(Path(sys.argv[1]), [1])
except GalleryError as error:
    print(error)
print(len(VectorGallery.open(Path(sys.argv[1]))))
"""


def test_a_second_writer_is_refused_with_the_first_ones_process_and_may_read(begun: Path) -> None:
    def other() -> list[str]:
        command = [sys.executable, "-c", WRITER, str(begun)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

    with GalleryWriter.open(begun) as writer:
        writer.remove(np.array([5]))
        refused, num = other()
        assert re.fullmatch(
            rf"{re.escape(str(begun))} is being written by process {os.getpid()} on {re.escape(socket.gethostname())}, "
            r"since \S+; wait until it is done, or stop it",
            refused,
        )
        assert num == str(NUM_KEYS - 1)
        with pytest.raises(GalleryError, match=f"process {os.getpid()} "), GalleryWriter.open(begun):
            pass
    assert other() == [str(NUM_KEYS - 2)]


def test_a_reader_that_lost_its_names_answers_on(begun: Path, tmp_path: Path) -> None:
    """All files of its state are gone from the folder: it reads what it has mapped, also what it never looked at."""
    reader, expected = VectorGallery.open(begun), VectorGallery.open(begun)
    queries = np.array([vector(5, 0), vector(100, 0)], np.float32)
    before = expected.search(queries, k=7), expected.search(queries, k=7, exact=True), expected.uris
    chosen = expected.search(queries, k=7, where="label LIKE '%5:0'").keys.tolist()
    with GalleryWriter.open(begun) as writer:
        writer.remove(np.arange(0, NUM_KEYS, 2))
        writer.compact(threads=1)
    names = {file.file for file in reader.manifest.files if file.file != "errors.parquet"}
    assert not any((begun / name).exists() for name in names)
    assert not reader.is_current
    for exact, answer in zip((False, True), before[:2], strict=True):
        found = reader.search(queries, k=7, exact=exact)
        assert (found.keys.tolist(), found.distances.tolist()) == (answer.keys.tolist(), answer.distances.tolist())
    assert reader.search(queries, k=7, where="label LIKE '%5:0'").keys.tolist() == chosen
    assert (reader.uris, len(reader)) == (before[2], NUM_KEYS)
    assert len(VectorGallery.open(begun)) == NUM_KEYS // 2
