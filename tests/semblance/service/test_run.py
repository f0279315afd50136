"""`semblance serve` from its settings to its end, as a program: it says where it is, answers, and drains."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from semblance.errors import InputError, ServiceError
from semblance.service import logs, run, sockets
from semblance.service.state import Service
from tests.semblance.service.drawn import PATIENCE_S, picture, settings_of

TOKEN = "a-token-of-many-characters"


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """How logging would have been set up."""
    told = list[tuple[str, str]]()
    monkeypatch.setattr(logs, "configure", lambda format, level: told.append((format, level)))
    return told


def test_a_program_from_its_start_to_its_end(own_gallery: Path) -> None:
    model = own_gallery.parent / "tiny.onnx"
    command = [sys.executable, "-c", "from semblance.cli import main; main()",
    "serve", own_gallery, "-m", model, "--port", "0", "--max-batch", "4",
               "--log-format", "json"]  # fmt: skip
    environ = {**os.environ, "SEMBLANCE_SERVE_TOKEN": TOKEN}
    with subprocess.Popen(list(map(str, command)), env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines, address = list[str](), None
            for line in process.stderr:
                lines.append(line)
                if found := re.search(r"serving .* at (http://127\.0\.0\.1:\d+)", json.loads(line)["message"]):
                    address = found[1]
                    break
            assert address is not None, lines
            headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": "mine"}
            with httpx.Client(base_url=address, headers=headers, timeout=PATIENCE_S) as client:
                assert client.get("/readyz").status_code == 200
                assert client.post("/v1/embed", content=picture(1)).status_code == 200
                assert client.put("/v1/images/50", content=picture(1)).status_code == 201
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
    log = "".join(lines) + rest
    assert TOKEN not in log
    told = [json.loads(line) for line in log.splitlines()]
    assert [each["status"] for each in told if each.get("request_id") == "mine"] == [200, 200, 201]
    assert told[-1]["message"] == "drained"


def test_how_the_log_looks(configured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for format, is_seen, expected in (
        ("auto", True, "text"),
        ("auto", False, "json"),
        ("json", True, "json"),
        ("text", False, "text"),
    ):
        monkeypatch.setattr(sys.stderr, "isatty", lambda is_seen=is_seen: is_seen, raising=False)
        run._configure_logs(settings_of(None, model="m", log_format=format, log_level="debug"))
        assert configured[-1] == (expected, "debug")


def test_what_a_server_is_told(drawn_gallery: Path) -> None:
    settings = settings_of(
        drawn_gallery, max_connections=7, header_timeout_s=1.5, body_timeout_s=2.5, keep_alive_s=3.5, drain_s=4.5,
        drain_delay_s=5.5, trusted_proxy=("10.0.0.1", "10.0.0.2"),
    )  # fmt: skip
    service = Service(settings)
    options = run._options(service, lambda: None)
    limits = options.limits
    assert (limits.max_connections, limits.header_timeout_s, limits.body_timeout_s, limits.keep_alive_s) == (
        7,
        1.5,
        2.5,
        3.5,
    )
    assert (options.drain_s, options.drain_delay_s, options.trusted_proxies) == (4.5, 5.5, "10.0.0.1,10.0.0.2")
    options.on_drain()
    assert service.is_draining
    assert run._options(Service(settings_of(drawn_gallery)), lambda: None).trusted_proxies is None


def test_a_port_in_use_is_told_before_the_model_is_loaded(configured: list[Any], drawn_gallery: Path) -> None:
    listening = sockets.listen("127.0.0.1", 0)
    try:
        port = int(sockets.address(listening).rpartition(":")[2])
        with pytest.raises(ServiceError, match=str(port)):
            run.run(settings_of(drawn_gallery, port=port, model="no-such-model"))
    finally:
        sockets.close(listening)


def test_a_token_that_cannot_be_read_is_told_before_the_port_is_taken(
    configured: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sockets, "listen", lambda *_: pytest.fail("the port was taken"))
    with pytest.raises(InputError, match="cannot be read"):
        run.run(settings_of(None, model="m", token_file=tmp_path / "none"))


def test_one_process_or_several(
    configured: list[Any], monkeypatch: pytest.MonkeyPatch, drawn_gallery: Path, tmp_path: Path
) -> None:
    asked = list[Any]()
    monkeypatch.setattr(run, "serve", lambda app, options, listening: asked.append(("one", listening)))
    monkeypatch.setattr(
        run, "supervise", lambda target, given, listening, options, on_ready: asked.append((target, given, options))
    )
    assert run.run(settings_of(drawn_gallery, uds=tmp_path / "socket")) == 0
    assert run.run(settings_of(drawn_gallery, workers=3, drain_s=7)) == 0
    assert asked[0][0] == "one"
    target, given, options = asked[1]
    assert target == "semblance.service.run:run_worker"
    assert given["workers"] == 3
    assert (options.num_workers, options.drain_s) == (3, 7)


def test_one_of_several(configured: list[Any], drawn_gallery: Path, tmp_path: Path) -> None:
    from types import SimpleNamespace

    from semblance.service.sources import as_flags

    served = list[Any]()
    worker: Any = SimpleNamespace(
        writes_path=tmp_path / "writes", is_writer=False, serve=lambda app, options: served.append((app, options))
    )
    run.run_worker(as_flags(settings_of(drawn_gallery, workers=2, keep_alive_s=9)), worker)
    assert served[0][1].limits.keep_alive_s == 9
    assert logging.getLogger().handlers is not None
