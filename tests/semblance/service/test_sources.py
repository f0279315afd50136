"""Where settings come from: what comes before what, and what a misspelt name is told."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from semblance.errors import InputError
from semblance.service.settings import Settings
from semblance.service.sources import as_flags, from_flags, load, shown

TOKEN = "a-token-of-many-characters"
MODEL = {"SEMBLANCE_SERVE_MODEL": "siamese"}


@pytest.fixture
def config(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        (tmp_path / "serve.toml").write_text(text)
        return tmp_path / "serve.toml"

    return write


def test_a_flag_before_the_environment_before_the_file_before_the_default(config: Any) -> None:
    file = config('model = "siamese"\nmax-batch = 5\nmax_images = 6\nport = 7\n')
    environ = {"SEMBLANCE_SERVE_MAX_IMAGES": "16", "SEMBLANCE_SERVE_PORT": "17", "PORT": "1", "SEMBLANCE_DATA": "x"}
    settings, origins = load({"port": 27}, environ, file)
    assert (settings.max_batch, settings.max_images, settings.port, settings.streams) == (5, 16, 27, 1)
    assert [origins[name] for name in ("max_batch", "max_images", "port", "streams")] == [
        str(file), "environment", "flag", "default",
    ]  # fmt: skip


def test_the_environment_may_name_the_file(config: Any, tmp_path: Path) -> None:
    file = config('model = "siamese"\nport = 7\n')
    assert load({}, {"SEMBLANCE_SERVE_CONFIG": str(file)}, None)[0].port == 7
    (tmp_path / "other.toml").write_text('model = "siamese"\nport = 8\n')
    assert load({}, {"SEMBLANCE_SERVE_CONFIG": str(file)}, tmp_path / "other.toml")[0].port == 8


def test_every_kind_of_value_from_the_environment() -> None:
    environ = {
        **MODEL, "SEMBLANCE_SERVE_PAGE": "No", "SEMBLANCE_SERVE_READ_ONLY": "1", "SEMBLANCE_SERVE_MAX_DELAY_MS": "0.5",
        "SEMBLANCE_SERVE_DEVICES": "0, 2", "SEMBLANCE_SERVE_ROOT": "/a,/b c", "SEMBLANCE_SERVE_GALLERY": "/g",
        "SEMBLANCE_SERVE_ALLOW_HOST": "", "SEMBLANCE_SERVE_TOKEN": TOKEN,
    }  # fmt: skip
    settings, _ = load({}, environ, None)
    assert (settings.page, settings.read_only, settings.max_delay_ms, settings.devices) == (False, True, 0.5, (0, 2))
    assert settings.root == (Path("/a"), Path("/b c"))
    assert (settings.gallery, settings.allow_host, settings.token) == (Path("/g"), (), TOKEN)


def test_every_kind_of_value_from_a_file(config: Any) -> None:
    text = 'model = "m"\ngallery = "/g"\npage = false\nmax-delay-ms = 1\ndevices = [1]\nroot = ["/a"]\n'
    settings, _ = load({}, {}, config(text))
    assert (settings.gallery, settings.page, settings.max_delay_ms) == (Path("/g"), False, 1)
    assert (settings.devices, settings.root) == ((1,), (Path("/a"),))


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("SEMBLANCE_SERVE_MAX_BATCHES", "max-batch"),
        ("SEMBLANCE_SERVE_TOKENFILE", "token-file"),
        ("SEMBLANCE_SERVE_ZZZ", "--show-config"),
    ],
)
def test_a_misspelt_name_in_the_environment(variable: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"{variable} is no setting.*{hint}"):
        load({}, {**MODEL, variable: "1"}, None)


@pytest.mark.parametrize("text", ["max-bach = 1", "[serve]\nport = 1", "config = 'x'"])
def test_a_misspelt_name_in_a_file(config: Any, text: str) -> None:
    file = config(text)
    with pytest.raises(InputError, match=f"{file}: .* is no setting"):
        load({}, MODEL, file)


def test_a_setting_by_two_spellings_in_one_file(config: Any) -> None:
    file = config("max-batch = 1\nmax_batch = 2\n")
    with pytest.raises(InputError, match=f"{file}: max-batch is set twice, also as max_batch"):
        load({}, MODEL, file)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PORT", "eighty", "a whole number"), ("PORT", "80.5", "a whole number"), ("PORT", "", "a whole number"),
        ("MAX_DELAY_MS", "fast", "a number"), ("MAX_DELAY_MS", "nan", "a number"), ("PAGE", "maybe", "true or false"),
        ("PAGE", "", "true or false"), ("DEVICES", "0,x", "a whole number"), ("PORT", "9" * 5000, "a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_value_in_the_environment(variable: str, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=f"(?i){variable} must be {expected}"):
        load({}, {**MODEL, f"SEMBLANCE_SERVE_{variable}": text}, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('port = "80"', "port must be a whole number"), ("port = 80.0", "port must be a whole number"),
        ("port = true", "port must be a whole number"), ("page = 1", "page must be true or false"),
        ("max-delay-ms = true", "max-delay-ms must be a number"), ('devices = "0"', "devices must be a list"),
        ("devices = [0.5]", "devices must be a whole number"), ("model = 3", "model must be a string"),
        ("gallery = []", "gallery must be a string"), ("max-delay-ms = nan", "max_delay_ms must be a number"),
        ("port = ", "no TOML"),
    ],
)  # fmt: skip
def test_a_wrong_value_in_a_file(config: Any, text: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        load({}, {"SEMBLANCE_SERVE_BACKEND": "cpu"}, config(text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load({}, MODEL, tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"model = '\xff'")
    with pytest.raises(InputError, match="cannot be read"):
        load({}, MODEL, tmp_path / "latin.toml")


def test_an_empty_token_is_no_leave_to_serve_without_one() -> None:
    with pytest.raises(InputError, match="token must be"):
        load({}, {**MODEL, "SEMBLANCE_SERVE_TOKEN": ""}, None)


def test_a_secret_of_the_wrong_kind_is_not_told(config: Any) -> None:
    with pytest.raises(InputError, match="token must be a string") as told:
        load({}, MODEL, config("token = 1234567890123456789"))
    assert "1234567890123456789" not in str(told.value)


def test_what_is_shown_can_be_loaded_and_has_no_secret(config: Any) -> None:
    flags = {"model": 'a "quoted" näme', "gallery": Path("/g"), "devices": (0, 1), "root": (Path("/a b"),),
             "max_delay_ms": 0.25, "page": False, "host": "0.0.0.0", "max_batch": 3}  # fmt: skip
    settings, origins = load(flags, {"SEMBLANCE_SERVE_TOKEN": TOKEN}, None)
    text = shown(settings, origins)
    assert TOKEN not in text
    assert "# token is set  # environment" in text
    assert "max-batch = 3  # flag" in text
    assert "# threads is not set  # default" in text
    again, _ = load({}, {"SEMBLANCE_SERVE_TOKEN": TOKEN}, config(text))
    assert again == settings


def test_what_another_process_is_told_is_the_same() -> None:
    import json

    settings = Settings(
        gallery=Path("/g"), model="m", token=TOKEN, root=(Path("/a"),), devices=(1,), allow_host=("x",), threads=3,
        uds=Path("/s"), max_delay_ms=0.5,
    )  # fmt: skip
    told = json.loads(json.dumps(as_flags(settings)))
    assert set(told) == {each.name for each in fields(Settings)}
    assert from_flags(told) == settings
