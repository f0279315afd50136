"""One writer at a time, in this process and in others, and none after a killed one."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from semblance.errors import GalleryError
from semblance.gallery.lock import LOCK_NAME, writer_lock

HOLD = """
import sys
from pathlib import Path
from semblance.gallery.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_with_the_name_of_the_first(tmp_path: Path, holder) -> None:
    with pytest.raises(GalleryError) as caught, writer_lock(tmp_path):
        pass
    said = str(caught.value)
    assert said.startswith(f"{tmp_path} is being written by process {holder.pid} on {socket.gethostname()}, since 20")
    assert said.endswith("; wait until it is done, or stop it")
    holder.communicate("")
    with writer_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_NAME).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_second_writer_of_the_same_process_is_refused(tmp_path: Path) -> None:
    said = rf"is being written by process {os.getpid()} on {socket.gethostname()}"
    with writer_lock(tmp_path):
        with pytest.raises(GalleryError, match=said), writer_lock(tmp_path):
            pass
        refused: list[GalleryError] = []

        def try_it() -> None:
            try:
                with writer_lock(tmp_path):
                    pass
            except GalleryError as error:
                refused.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        assert len(refused) == 1


def test_the_lock_of_a_killed_writer_is_taken_over(tmp_path: Path, holder, caplog) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK_NAME).exists()
    with caplog.at_level(logging.WARNING, "semblance"), writer_lock(tmp_path):
        pass
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{tmp_path}: taking over the lock of process {holder.pid} on ")
    assert not (tmp_path / LOCK_NAME).exists()


def test_the_lock_of_another_host_is_believed(tmp_path: Path) -> None:
    """File systems that are shared between hosts may not share locks."""
    left = json.dumps({"pid": 7, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00"})
    (tmp_path / LOCK_NAME).write_text(left)
    with pytest.raises(GalleryError) as caught, writer_lock(tmp_path):
        pass
    assert str(caught.value) == (
        f"{tmp_path} is being written by process 7 on elsewhere, since 2026-01-01T00:00:00+00:00; if that process is "
        f"no more, remove {tmp_path / LOCK_NAME} and try again"
    )
    assert (tmp_path / LOCK_NAME).read_text() == left


@pytest.mark.parametrize("left", [b"", b"{", b'{"pid": 7', b"[]", b'{"pid": "x", "host": "h", "since": "s"}', b"\xff"])
def test_what_a_kill_cut_short_names_nobody(tmp_path: Path, left: bytes, caplog) -> None:
    (tmp_path / LOCK_NAME).write_bytes(left)
    with writer_lock(tmp_path):
        pass
    assert caplog.records == []


def test_it_is_given_back_whatever_the_body_does(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writer_lock(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_removed_and_begun_anew_keeps_its_new_lock(tmp_path: Path) -> None:
    """Whose folder is gone must not take the lock of the one who made it again."""
    folder = tmp_path / "g"
    folder.mkdir()
    with writer_lock(folder):
        shutil.rmtree(folder)
        folder.mkdir()
        second = writer_lock(folder)
        second.__enter__()
    assert (folder / LOCK_NAME).exists()
    with pytest.raises(GalleryError, match="is being written by"), writer_lock(folder):
        pass
    second.__exit__(None, None, None)
    assert list(folder.iterdir()) == []


def _contend(folder: Path, log: Path, tries: int) -> None:
    """Take a stale lock again and again; whoever has it must find the counter as it left it."""
    for _ in range(tries):
        try:
            with writer_lock(folder):
                before = log.read_text()
                log.write_text(before + "x")
                assert log.read_text() == before + "x"
                os.close(os.open(folder / LOCK_NAME, os.O_RDWR))  # still there
        except GalleryError:
            continue


def test_of_two_contenders_for_one_stale_lock_one_has_it(tmp_path: Path) -> None:
    """Each turn begins with a lock that a killed process left; two processes then race for it."""
    stale = json.dumps({"pid": 7, "host": socket.gethostname(), "since": "2026-01-01T00:00:00+00:00"})
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    for turn in range(25):
        folder = tmp_path / f"{turn}"
        folder.mkdir()
        (folder / LOCK_NAME).write_text(stale)
        (log := tmp_path / f"{turn}.log").write_text("")
        both = [context.Process(target=_contend, args=(folder, log, 20)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert [process.exitcode for process in both] == [0, 0]
        assert 1 <= len(log.read_text()) <= 40
        assert list(folder.iterdir()) == []
