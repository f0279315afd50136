"""Settings from where they are said: flags, then the environment, then a TOML file, then their defaults.

In: flags that were given, the environment, perhaps a file. Out: `Settings`, and of each where it came from. A name that
nothing is called is an error wherever it stands: a misspelt limit would else be no limit.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from semblance.errors import InputError
from semblance.service.settings import Settings, kind_of

PREFIX = "SEMBLANCE_SERVE_"
CONFIG = f"{PREFIX}CONFIG"  # names the file
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")

Origins = dict[str, str]  # by setting: "flag", "environment", the file's name, or "default"


def load(flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None) -> tuple[Settings, Origins]:
    """The settings, and where each came from.

    `flags` has those that were given, by their names in `Settings`; `config` is the TOML file, or None for the one that
    the environment names, if it does. Raises InputError for a name or a value that cannot be.
    """
    known = {each.name: each for each in fields(Settings)}
    if config is None and environ.get(CONFIG):
        config = Path(environ[CONFIG])
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")
    for name, value in (_read_file(config) if config is not None else {}).items():
        own = name.replace("-", "_")
        _check_name(own, known, f"{config}: {name}")
        if own in values:
            raise InputError(f"{config}: {own.replace('_', '-')} is set twice, also as {own}; leave one out")
        values[own], origins[own] = _from_toml(known[own], value, str(config)), str(config)
    for variable, text in environ.items():
        if variable.startswith(PREFIX) and variable != CONFIG:
            own = variable.removeprefix(PREFIX).lower()
            _check_name(own, known, variable)
            values[own], origins[own] = _from_text(known[own], text, variable), "environment"
    for name, value in flags.items():
        values[name], origins[name] = value, "flag"
    return Settings(**values), origins


def shown(settings: Settings, origins: Origins) -> str:
    """All settings as TOML that `load` takes, each with where it came from; a secret only whether it is there."""
    lines = []
    for each in fields(Settings):
        value, origin = getattr(settings, each.name), origins[each.name]
        name = each.name.replace("_", "-")
        if each.metadata["secret"]:
            lines.append(f"# {name} is {'not ' if value is None else ''}set  # {origin}")
        elif value is None:
            lines.append(f"# {name} is not set  # {origin}")
        else:
            lines.append(f"{name} = {_as_toml(value)}  # {origin}")
    return "\n".join(lines)


def as_flags(settings: Settings) -> dict[str, Any]:
    """The settings as plain JSON values by name, for a process that is started with them; `from_flags` reads it."""
    return {each.name: _plain(getattr(settings, each.name)) for each in fields(Settings)}


def from_flags(raw: Mapping[str, Any]) -> Settings:
    """What `as_flags` gave."""
    values = {}
    for each in fields(Settings):
        value = raw[each.name]
        if value is not None:
            kind = kind_of(each)
            make: Any = Path if kind.scalar is Path else (lambda same: same)
            value = tuple(map(make, value)) if kind.is_many else make(value)
        values[each.name] = value
    return Settings(**values)


# ----------------------------------------------------------------------------------------------------------------------


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config file {path} cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"config file {path} is no TOML: {error}") from error


def _check_name(name: str, known: Mapping[str, object], told: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0].replace('_', '-')}?" if near else "; `--show-config` lists all"
        raise InputError(f"{told} is no setting{hint}")


def _from_toml(each: Field[Any], value: object, told: str) -> Any:
    told = f"{told}: {each.name.replace('_', '-')}"
    if kind_of(each).is_many:
        if not isinstance(value, list):
            raise InputError(f"{told} must be a list, is {value!r}")
        return tuple(_scalar(each, one, told) for one in value)
    return _scalar(each, value, told)


def _scalar(each: Field[Any], value: object, told: str) -> Any:
    scalar = kind_of(each).scalar
    if scalar is bool:
        expected, is_right = "true or false", isinstance(value, bool)
    elif scalar is float:
        expected, is_right = "a number", isinstance(value, int | float) and not isinstance(value, bool)
    elif scalar is int:
        expected, is_right = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    else:
        expected, is_right = "a string", isinstance(value, str)
    if not is_right:
        given = type(value).__name__ if each.metadata["secret"] else repr(value)
        raise InputError(f"{told} must be {expected}, is {given}")
    return Path(str(value)) if scalar is Path else value


def _from_text(each: Field[Any], text: str, told: str) -> Any:
    if kind_of(each).is_many:  # as in PATH, but by commas, since addresses have colons
        return tuple(_one_from_text(each, part.strip(), told) for part in text.split(",") if part.strip())
    return _one_from_text(each, text, told)


def _one_from_text(each: Field[Any], text: str, told: str) -> Any:
    scalar = kind_of(each).scalar
    if scalar is bool:
        if text.strip().lower() not in (*_TRUE, *_FALSE):
            raise InputError(f"{told} must be true or false, is {text!r}")
        return text.strip().lower() in _TRUE
    for number, expected in ((float, "a number"), (int, "a whole number")):
        if scalar is number:
            try:
                return number(text)
            except ValueError:
                raise InputError(f"{told} must be {expected}, is {text!r}") from None
    return Path(text) if scalar is Path else text


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value


def _as_toml(value: object) -> str:
    """JSON's scalars and lists are TOML's."""
    return json.dumps(_plain(value), ensure_ascii=False)
