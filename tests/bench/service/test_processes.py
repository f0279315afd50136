"""Nothing is left behind: servers and helpers end with whoever started them, even by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.service.processes import cpu_s, family, rss_bytes
from bench.service.serving import Serving, free_port
from semblance.errors import BackendError

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")

STARTS = """
import sys, time
from pathlib import Path
from bench.service.client import run_plan
from bench.service.processes import Helper
from bench.service.serving import Serving

if __name__ == "__main__":
    with Serving(["--model", "siamese"], log=Path(sys.argv[1])) as serving, Helper(run_plan, name="client") as helper:
        print(serving.pid, helper._process.pid, flush=True)
        time.sleep(60)
"""


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_server_and_client_end_with_the_harness(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    command = [sys.executable, str(script), str(tmp_path / "log")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as harness:
        assert harness.stdout is not None
        pids = [int(each) for each in harness.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_alive, pids))
        harness.send_signal(number)
        harness.wait(20)
    end = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="the server ended with status"):
        Serving(["--model", "no such model"], log=tmp_path / "log").start()


def test_what_a_process_takes_is_told() -> None:
    assert os.getpid() in family(os.getpid())
    assert rss_bytes(os.getpid()) > 10_000_000
    assert cpu_s(os.getpid()) > 0
    assert 1024 < free_port() < 65_536
