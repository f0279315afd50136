"""Every setting of the service: its name, its default, what it means and what it may be, in one table.

In: nothing. Out: `Settings`, checked. The command line's options, the names in the environment and in a file, and the
list that `--show-config` prints are all made from these fields, so that none of them can say something else.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import Field, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from semblance.errors import InputError
from semblance.options import checked_count

LogFormat = Literal["auto", "json", "text"]
LogLevel = Literal["debug", "info", "warning", "error"]

SHORTEST_TOKEN = 16  # characters; one that a machine cannot guess in the time that a service lives


def _setting(default: Any, help: str, group: str, *, least: float | None = None, secret: bool = False) -> Any:
    """A field with what is told of it; `least` is the smallest number that it may be."""
    told = {"help": help, "group": group, "least": least, "secret": secret}
    return field(default=default, repr=not secret, metadata=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a service is told. Raises InputError for a value that cannot be, naming the setting."""

    gallery: Path | None = _setting(None, "A gallery made by `semblance embed`, to search and to change.", "What")
    model: str | None = _setting(
        None, "A name that `semblance models` lists, or an ONNX file. Default: the gallery's own model.", "What"
    )
    backend: str = _setting("auto", "auto, or a name that `semblance doctor` lists.", "What")
    threads: int | None = _setting(
        None,
        "Threads inside the model. Default: all this process may use, shared out among the workers.",
        "What",
        least=1,
    )
    streams: int = _setting(1, "Batches embedded at a time, which share the threads.", "What", least=1)
    niceness: int = _setting(
        10, "How far model and decoders give way to answering, 0 to 19 as in nice(1); on Linux.", "What", least=0
    )
    devices: tuple[int, ...] = _setting((), "A GPU that takes its share of the batches. Default: 0.", "What", least=0)
    gpu_memory_bytes: int | None = _setting(None, "Most memory of a session on a GPU.", "What", least=1)
    read_only: bool = _setting(False, "Refuse to change the gallery.", "What")

    host: str = _setting(
        "127.0.0.1", "Address to listen on. Any but a loopback one needs a token, or --insecure.", "Where"
    )
    port: int = _setting(8000, "Port to listen on; 0 for any that is free.", "Where", least=0)
    uds: Path | None = _setting(None, "Listen on this Unix domain socket instead.", "Where")
    workers: int = _setting(1, "Processes, which share the gallery; one of them writes.", "Where", least=1)

    token: str | None = _setting(
        None,
        f"Whoever asks has to know it: `Authorization: Bearer TOKEN`. {SHORTEST_TOKEN} characters at least. Not a "
        "flag, since others may read those.",
        "Who",
        secret=True,
    )
    token_file: Path | None = _setting(None, "A file that holds the token, as Kubernetes mounts secrets.", "Who")
    insecure: bool = _setting(False, "Listen beyond this machine without a token.", "Who")
    allow_host: tuple[str, ...] = _setting(
        (), "Names by which the service may be asked, beside the one it listens on. Without a token only these.", "Who"
    )
    allow_origin: tuple[str, ...] = _setting((), "Web pages of this origin may ask too (CORS).", "Who")

    trusted_proxy: tuple[str, ...] = _setting(
        (), "Address of a proxy whose X-Forwarded-For says who asks, for the log.", "Who"
    )

    max_batch: int = _setting(32, "Most images in a batch.", "How much", least=1)
    max_delay_ms: float = _setting(2.0, "What an image may wait for others to share its batch.", "How much", least=0)
    max_pending_images: int = _setting(
        1024, "Most images that a process has accepted and is not done with; over it 429.", "How much", least=1
    )
    max_images: int = _setting(256, "Most images in a request.", "How much", least=1)
    max_body_bytes: int = _setting(32 << 20, "Most bytes in a request's body.", "How much", least=1)
    max_pending_bytes: int = _setting(
        512 << 20, "Most bytes of all bodies that a process reads or works on; over it 429.", "How much", least=1
    )
    max_pixels: int = _setting(
        50_000_000, "Most pixels in a picture, as its header declares them.", "How much", least=1
    )
    max_k: int = _setting(1000, "Most neighbours in an answer.", "How much", least=1)
    max_connections: int = _setting(1024, "Most open connections to a process.", "How much", least=1)
    where_limit_s: float = _setting(10.0, "Longest a condition may take; over it 422.", "How much", least=0.01)
    deadline_ms: float = _setting(30_000.0, "Longest a request may take; over it 504.", "How much", least=1)
    header_timeout_s: float = _setting(
        10.0, "Longest a client may take to send a request's headers.", "How much", least=0.01
    )
    body_timeout_s: float = _setting(
        30.0, "Longest a client may take to send a request's body.", "How much", least=0.01
    )
    keep_alive_s: float = _setting(15.0, "How long a connection may be idle between requests.", "How much", least=0.01)
    drain_s: float = _setting(30.0, "Longest to wait at the end for what is under way.", "How much", least=0)
    drain_delay_s: float = _setting(
        0.0,
        "How long to go on accepting after SIGTERM while not ready, as behind a load balancer.",
        "How much",
        least=0,
    )

    root: tuple[Path, ...] = _setting(
        (),
        "Pictures are shown from inside these folders only. Default: the folders that the gallery was made from.",
        "What is shown",
    )
    thumbnails: bool = _setting(True, "Show the gallery's pictures.", "What is shown")
    page: bool = _setting(True, "Serve the page at /.", "What is shown")
    docs: bool = _setting(True, "Serve the API's description at /openapi.json.", "What is shown")
    metrics: bool = _setting(True, "Serve Prometheus metrics at /metrics.", "What is shown")
    log_format: str = _setting("auto", "json, text, or auto: text where a person looks on.", "What is shown")
    log_level: str = _setting("info", f"{', '.join(get_args(LogLevel))}.", "What is shown")
    access_log: bool = _setting(True, "A line in the log for each request.", "What is shown")

    def __post_init__(self) -> None:
        for each in fields(self):
            _check_number(each, getattr(self, each.name))
        if self.gallery is None and self.model is None:
            raise InputError("nothing to serve: give a gallery, or a model by --model")
        if self.port > 65_535:
            raise InputError(f"port must be in 0..65535, is {self.port}")
        if self.max_images > self.max_pending_images:
            raise InputError(
                f"max_images is {self.max_images}, more than the {self.max_pending_images} of max_pending_images: such "
                "a request would always be refused; raise one or lower the other"
            )
        if self.max_body_bytes > self.max_pending_bytes:
            raise InputError(
                f"max_body_bytes is {self.max_body_bytes}, more than the {self.max_pending_bytes} of "
                "max_pending_bytes: such a body would always be refused; raise one or lower the other"
            )
        for name, choices in (("log_format", get_args(LogFormat)), ("log_level", get_args(LogLevel))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, is {getattr(self, name)!r}")
        if self.token is not None and self.token_file is not None:
            raise InputError("token and token_file are both set; leave one out, since only one can be the token")
        if self.token is not None:
            _check_token(self.token, "token")
        for origin in self.allow_origin:
            if not re.fullmatch(r"https?://[^/]+", origin):
                raise InputError(f"allow_origin must be as https://example.org, without a path, is {origin!r}")
        self._check_exposure()

    def _check_exposure(self) -> None:
        has_token = self.token is not None or self.token_file is not None
        if self.uds is None and not self.is_local and not has_token and not self.insecure:
            raise InputError(
                f"host {self.host} can be reached from other machines, and there is no token: set "
                "SEMBLANCE_SERVE_TOKEN or --token-file, or say --insecure if something in front of it checks who asks"
            )

    @property
    def is_local(self) -> bool:
        """Whether nobody outside of this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, which may mean anything
            return False

    def read_token(self) -> str | None:
        """The token, from its file where one is named; None: there is none. Raises InputError."""
        if self.token is not None or self.token_file is None:
            return self.token
        try:
            token = self.token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"token_file {self.token_file} cannot be read ({error})") from error
        _check_token(token, f"the token in {self.token_file}")
        return token


class Kind(NamedTuple):
    """What a setting's values are: `scalar` is bool, int, float, str or Path; several of them where it `is_many`."""

    scalar: type
    is_many: bool


def kind_of(each: Field[Any]) -> Kind:
    """The kind of a field of `Settings`, whether it may be None or not."""
    return _kinds()[each.name]


@cache
def _kinds() -> dict[str, Kind]:
    found = {}
    for name, hint in get_type_hints(Settings).items():
        scalar = next(one for one in get_args(hint) or (hint,) if one is not NoneType)  # of X | None, tuple[X, ...]
        found[name] = Kind(scalar, get_origin(hint) is tuple)
    return found


def _check_number(each: Field[Any], value: object) -> None:
    least = each.metadata["least"]
    if least is None or value is None:
        return
    if isinstance(value, tuple):
        for one in value:
            checked_count(each.name, one, least=int(least))
    elif kind_of(each).scalar is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
            raise InputError(f"{each.name} must be a number of at least {least:g}, is {value!r}")
    else:
        checked_count(each.name, value, least=int(least))


def _check_token(token: str, name: str) -> None:
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InputError(
            f"{name} must be at least {SHORTEST_TOKEN} visible ASCII characters, has {len(token)}; make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
