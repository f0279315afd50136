"""The parts of uvicorn that are overridden or used and that it promises nobody: an upgrade that moves one fails here.

What fails says which name is gone; then `protocol.py` or `server.py` has to follow before the bound in pyproject.toml
is raised.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from unittest.mock import MagicMock

import pytest
import uvicorn
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

_PROTOCOL = (
    "loop", "transport", "flow", "parser", "connections", "tasks", "server_state", "cycle", "pipeline", "url",
    "headers", "expect_100_continue",
)  # fmt: skip
_PROTOCOL_METHODS = {
    "connection_made": ["transport"], "connection_lost": ["exc"], "data_received": ["data"], "on_message_begin": [],
    "on_url": ["url"], "on_header": ["name", "value"], "on_headers_complete": [], "on_body": ["body"],
    "on_message_complete": [], "on_response_complete": [], "_start_asgi_task": ["cycle", "app"], "shutdown": [],
}  # fmt: skip
_CYCLE = (
    "transport", "keep_alive", "waiting_for_100_continue", "response_started", "response_complete", "disconnected",
    "message_event",
)  # fmt: skip
_FLOW = ("read_paused", "write_paused", "resume_reading")
_STATE = ("total_requests", "connections", "tasks", "default_headers")
_SERVER = ("config", "server_state", "started", "should_exit")
_SERVER_METHODS = {
    "run": ["sockets"], "startup": ["sockets"], "shutdown": ["sockets"], "on_tick": ["counter"],
    "handle_exit": ["sig", "frame"], "capture_signals": [],
}  # fmt: skip


async def _app(scope: Any, receive: Any, send: Any) -> None:
    pass


def _config() -> uvicorn.Config:
    config = uvicorn.Config(_app, http="httptools", ws="none", lifespan="on", log_config=None)
    config.load()
    return config


async def _check_connection() -> None:
    connection = HttpToolsProtocol(_config(), ServerState(), {})
    transport = MagicMock()
    transport.get_extra_info.return_value = None
    connection.connection_made(transport)
    connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
    _check("HttpToolsProtocol", connection, _PROTOCOL)
    _check("RequestResponseCycle", connection.cycle, _CYCLE)
    _check("FlowControl", connection.flow, _FLOW)
    assert isinstance(connection.cycle.message_event, asyncio.Event)
    assert connection.cycle.waiting_for_100_continue is True
    assert connection in connection.server_state.connections
    assert len(connection.tasks) == 1, "a request is a task of `tasks`, by which the server waits for it"
    assert hasattr(connection.pipeline, "popleft"), "HttpToolsProtocol.pipeline is no deque any more"
    await asyncio.gather(*connection.tasks)


def test_a_connection_has_what_is_used_of_it() -> None:
    asyncio.run(_check_connection())


def test_a_server_has_what_is_used_of_it() -> None:
    server = uvicorn.Server(_config())
    _check("Server", server, _SERVER)
    _check("ServerState", server.server_state, _STATE)
    _check("LifespanOn", LifespanOn(_config()), ("logger",))


def test_the_flow_control_is_made_of_a_transport() -> None:
    FlowControl(MagicMock()).resume_reading()


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        *((HttpToolsProtocol, *each) for each in _PROTOCOL_METHODS.items()),
        *((uvicorn.Server, *each) for each in _SERVER_METHODS.items()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_method_that_is_overridden_is_called_as_before(owner: type, name: str, parameters: list[str]) -> None:
    method: Callable[..., Any] | None = getattr(owner, name, None)
    assert method is not None, f"{owner.__name__}.{name} is gone in uvicorn {version('uvicorn')}"
    found = list(inspect.signature(method).parameters)[1:]
    assert found == parameters, f"{owner.__name__}.{name} takes {found} in uvicorn {version('uvicorn')}"


def _check(owner: str, found: object, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not hasattr(found, name)]
    assert not missing, f"{owner} of uvicorn {version('uvicorn')} has no {', '.join(missing)}, which we rely on"
