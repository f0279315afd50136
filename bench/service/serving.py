"""The real command, `semblance serve`, in a process of its own: started, waited for, watched, killed, started again.

In: its arguments. Out: a server that answers on a port of 127.0.0.1, and its log. It leads a process group of its own,
which is ended as a whole.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bench.service.processes import cpu_s, end_with_parent, rss_bytes
from bench.service.wire import HOST
from semblance.errors import BackendError

COMMAND = (str(Path(sys.executable).with_name("semblance")), "serve")
_ROOT = Path(__file__).parents[2]
_READY_S = 120.0
_POLL_S = 0.05


class Serving:
    """`with Serving([...], log=path) as serving: serving.port`."""

    def __init__(
        self, arguments: Sequence[str], *, log: Path, command: Sequence[str] = COMMAND, drain_s: float = 30.0
    ) -> None:
        """`arguments` of the command, without host and port. Nothing runs yet."""
        self.port = free_port()
        self.log = log
        self._drain_s = drain_s
        self._command = [*command, *arguments, "--host", HOST, "--port", str(self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Serving:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start it, and wait until it is ready; how many seconds that took. Raises BackendError with its last words."""
        start = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )
        try:
            while not self.is_ready():
                if self._process.poll() is not None:
                    raise BackendError(f"the server ended with status {self._process.returncode}: {self._last_words()}")
                if time.monotonic() - start > _READY_S:
                    raise BackendError(f"the server is not ready after {_READY_S:g} s: {self._last_words()}")
                time.sleep(_POLL_S)
        except BaseException:
            self.kill()
            raise
        return time.monotonic() - start

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def get(self, target: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", target, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def rss_bytes(self) -> int:
        """Of all its processes."""
        return rss_bytes(self.pid)

    def cpu_s(self) -> float:
        """Of all its processes so far."""
        return cpu_s(self.pid)

    def kill(self) -> None:
        """SIGKILL to all of it; nothing where it has ended."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM, and wait; its exit status."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(2 * self._drain_s + 10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BackendError(f"the server did not end after SIGTERM: {self._last_words()}") from None

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-800:]


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
