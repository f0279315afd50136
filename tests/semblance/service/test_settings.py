"""Settings: what may be, what may not, and that a secret is seen nowhere."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import InputError
from semblance.service.settings import Kind, Settings, kind_of

TOKEN = "a-token-of-many-characters"


def made(**given: Any) -> Settings:
    return Settings(**{"model": "siamese", **given})


def test_something_is_to_be_served() -> None:
    with pytest.raises(InputError, match="nothing to serve"):
        Settings()
    assert Settings(gallery=Path("g")).model is None
    assert made().gallery is None


@pytest.mark.parametrize(
    "given",
    [
        {"port": -1}, {"port": 65_536}, {"port": 80.5}, {"port": True}, {"workers": 0}, {"threads": 0}, {"streams": 0},
        {"devices": (0, -1)}, {"gpu_memory_bytes": 0}, {"max_batch": 0}, {"max_images": 0}, {"max_body_bytes": 0},
        {"max_pixels": 0}, {"max_k": 0}, {"max_delay_ms": -1}, {"max_delay_ms": float("nan")}, {"deadline_ms": 0},
        {"deadline_ms": float("inf")}, {"deadline_ms": "30"}, {"header_timeout_s": 0}, {"keep_alive_s": 0},
        {"drain_s": -1}, {"drain_delay_s": True}, {"max_images": 5, "max_pending_images": 4},
        {"max_body_bytes": 5, "max_pending_bytes": 4}, {"log_format": "xml"}, {"log_level": "loud"},
        {"allow_origin": ("*",)}, {"allow_origin": ("https://example.org/",)}, {"allow_origin": ("https://",)},
        {"allow_origin": ("example.org",)},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="|".join(given)):
        made(**given)


def test_the_edges_of_what_may_be() -> None:
    made(port=0, max_delay_ms=0, drain_s=0, drain_delay_s=0.0, threads=None, devices=())
    made(port=65_535, max_images=4, max_pending_images=4, max_body_bytes=4, max_pending_bytes=4)
    made(allow_origin=("https://example.org", "http://localhost:3000"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_alone_needs_no_token(host: str) -> None:
    assert made(host=host).is_local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""])
def test_others_need_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can be reached from other machines, and there is no token"):
        made(host=host)
    made(host=host, token=TOKEN)
    made(host=host, token_file=tmp_path / "token")
    made(host=host, insecure=True)
    made(host=host, uds=tmp_path / "socket")


@pytest.mark.parametrize(
    "token", ["", "too short", "fifteen-letters", "with a space in it", "ümlauts-are-none-here", "x" * 20 + "\x7f"]
)
def test_a_token_that_is_none(token: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="16 visible ASCII characters") as told:
        made(token=token)
    assert not token or token not in str(told.value)
    (tmp_path / "token").write_text(token)
    with pytest.raises(InputError, match="16 visible ASCII characters"):
        made(token_file=tmp_path / "token").read_token()


def test_a_token_file_may_end_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert made(token_file=file).read_token() == TOKEN
    assert made(token=TOKEN).read_token() == TOKEN
    assert made().read_token() is None


def test_a_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        made(token_file=tmp_path / "none").read_token()
    (tmp_path / "token").write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="cannot be read"):
        made(token_file=tmp_path / "token").read_token()


def test_two_tokens_leave_open_which_one_counts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="token and token_file"):
        made(token=TOKEN, token_file=tmp_path / "token")


def test_a_secret_is_not_in_the_representation() -> None:
    assert TOKEN not in repr(made(token=TOKEN))
    assert TOKEN not in f"{made(token=TOKEN)}"


def test_the_kind_of_a_setting() -> None:
    kinds = {each.name: kind_of(each) for each in fields(Settings)}
    expected = {
        "gallery": Kind(Path, False), "model": Kind(str, False), "threads": Kind(int, False), "page": Kind(bool, False),
        "max_delay_ms": Kind(float, False), "devices": Kind(int, True), "root": Kind(Path, True),
        "allow_host": Kind(str, True),
    }  # fmt: skip
    assert {name: kinds[name] for name in expected} == expected
    assert {kind.scalar for kind in kinds.values()} == {bool, int, float, str, Path}


def test_every_setting_tells_what_it_is() -> None:
    for each in fields(Settings):
        assert each.metadata["help"].endswith("."), each.name
        assert each.metadata["group"]
