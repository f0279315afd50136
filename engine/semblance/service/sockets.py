"""Sockets to listen on, bound before anything costly begins, so that a port in use is told at once.

In: a host and port, or the path of a Unix domain socket. Out: sockets that listen. Connections wait in them until the
service is ready, and several processes may share them.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from semblance.errors import ServiceError

BACKLOG = 2048
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # of an address family that this machine does without


def listen(host: str, port: int, *, backlog: int = BACKLOG) -> list[socket.socket]:
    """Listen on each address of `host`; port 0 is any that is free, the same for all. Raises ServiceError."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ServiceError(f"host {host!r} is no address of this machine ({error}); give one, as 127.0.0.1") from error
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        chosen = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(_listening(family, (address[0], chosen, *address[2:]), backlog))
        except OSError as error:
            failed = error
            if error.errno not in _NOT_HERE:
                break
    if sockets and (failed is None or failed.errno in _NOT_HERE):
        return sockets
    for each in sockets:
        each.close()
    assert failed is not None
    raise ServiceError(f"cannot listen on {host}:{port}: {_told(failed, port)}") from failed


def listen_on_path(path: Path, *, backlog: int = BACKLOG) -> list[socket.socket]:
    """Listen on a Unix domain socket; one that nobody listens on any more is replaced. Raises ServiceError.

    Who may connect is decided by the folder's permissions and the process's umask.
    """
    try:
        _remove_stale(path)
        return [_listening(socket.AF_UNIX, os.fspath(path), backlog)]
    except OSError as error:
        told = "another process listens on it; stop it, or choose another path" if _is_in_use(error) else error
        raise ServiceError(f"cannot listen on {path}: {told}") from error


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them, and remove the paths that they listen on."""
    remove_paths(sockets)
    for each in sockets:
        each.close()


def remove_paths(sockets: Sequence[socket.socket]) -> None:
    """Remove the paths of those that are open: later another process may have taken them."""
    for each in sockets:
        if each.fileno() != -1 and each.family == getattr(socket, "AF_UNIX", None):
            with suppress(OSError):
                os.unlink(each.getsockname())


def address(sockets: Sequence[socket.socket]) -> str:
    """Where the first of them is asked, as a URL: http://127.0.0.1:8000, or unix:/run/semblance.sock."""
    name = sockets[0].getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"http://[{name[0]}]:{name[1]}" if ":" in name[0] else f"http://{name[0]}:{name[1]}"


def _listening(family: int, name: object, backlog: int) -> socket.socket:
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix" and family != socket.AF_UNIX:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server that ended just now
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # else 0.0.0.0 beside :: would be in use
        found.bind(name)  # type: ignore[arg-type]  # as getaddrinfo gave it
        found.listen(backlog)
        found.setblocking(False)
    except BaseException:
        found.close()
        raise
    return found


def _remove_stale(path: Path) -> None:
    """Raises OSError where somebody listens, or where it is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(errno.EEXIST, "a file of that name exists, which is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _is_in_use(error: OSError) -> bool:
    return error.errno == errno.EADDRINUSE


def _told(error: OSError, port: int) -> str:
    if _is_in_use(error):
        return "the port is in use; stop whoever listens there, or choose another (--port; 0: any that is free)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission; ports below 1024 need it, choose a higher one than {port} (--port)"
    if error.errno in _NOT_HERE:
        return "no interface of this machine has that address; give one of its own, 127.0.0.1 or 0.0.0.0 (--host)"
    return str(error)
