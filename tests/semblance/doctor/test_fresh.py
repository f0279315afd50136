"""Programs that end well, badly or not at all, each told as what it is."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from semblance.doctor.fresh import Ended, Outcome, note, run_bounded, run_noting

_NOTES = "import json, os, signal, sys, time; from pathlib import Path; file = Path(sys.argv[-1])\n"


def _noting(program: str, *, seconds: float = 60.0) -> Outcome:
    return run_noting(["-c", _NOTES + program], seconds=seconds)


def test_a_command_is_its_status_and_what_it_printed_anywhere() -> None:
    program = "import sys; print('to stdout', flush=True); print('to stderr', file=sys.stderr); sys.exit(3)"
    assert run_bounded([sys.executable, "-c", program], seconds=60) == Ended(3, "to stdout\nto stderr\n")


def test_a_command_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        run_bounded([str(tmp_path / "nowhere")], seconds=60)


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)"
    )
    assert run_bounded([sys.executable, "-c", program], seconds=3) == Ended(None, "")
    for pid in (tmp_path / "pids").read_text().split():
        assert _is_gone(int(pid))


def test_a_command_does_not_outlive_the_wait_for_it(tmp_path: Path) -> None:
    """Ctrl-C and a polite kill are exceptions in the main thread."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 2)
    program = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    try:
        with pytest.raises(KeyboardInterrupt):
            run_bounded([sys.executable, "-c", program], seconds=60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert _is_gone(int((tmp_path / "pid").read_text()))


def test_what_is_noted_comes_back() -> None:
    assert _noting("file.write_text('{\"result\": [1, 2]}')") == Outcome([1, 2], None)
    assert _noting('file.write_text(\'{"problem": "no GPU"}\')') == Outcome(None, "no GPU")


def test_a_crash_is_told_with_its_signal_and_its_stage() -> None:
    program = 'file.write_text(\'{"stage": "loading the model"}\'); os.kill(os.getpid(), signal.SIGSEGV)'
    assert _noting(program) == Outcome(None, "the process died of SIGSEGV while loading the model")
    killed = _noting("os.kill(os.getpid(), signal.SIGKILL)").problem
    assert killed == "the process died of SIGKILL while starting (as the system ends one where memory runs out)"


def test_a_crash_on_the_way_out_is_no_success() -> None:
    program = "file.write_text('{\"result\": 1}'); os.kill(os.getpid(), signal.SIGABRT)"
    assert _noting(program) == Outcome(None, "the process died of SIGABRT while ending, its work done")


def test_a_hang_is_told_with_its_stage() -> None:
    program = 'file.write_text(\'{"stage": "asking the driver"}\'); time.sleep(600)'
    expected = "it did not end in 3 s and was stopped, while asking the driver"
    assert _noting(program, seconds=3) == Outcome(None, expected)


def test_an_exception_is_told_by_its_last_line() -> None:
    problem = _noting("raise ValueError('of no use')").problem
    assert problem == "the process ended with status 1 while starting; its last words: ValueError: of no use"


def test_ending_well_without_a_note_is_no_success() -> None:
    assert _noting("pass") == Outcome(None, "the process ended with status 0 while starting")
    assert _noting("file.write_text('{\"resu')").problem == "the process ended with status 0 while starting"


def test_a_note_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    note(tmp_path / "n", stage="loading")
    note(tmp_path / "n", result={"of": 1})
    assert (tmp_path / "n").read_text() == '{"result": {"of": 1}}'


def _is_gone(pid: int) -> bool:
    """A child's child is only reaped by whoever adopts it, so that it may be a zombie for a while."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
