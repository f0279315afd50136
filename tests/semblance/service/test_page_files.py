"""The page and its files: with their types, kept by the browser, and under a policy that lets nothing else in."""

from __future__ import annotations

import re

import httpx
import pytest

from semblance.service.page_files import _FOLDER, _TYPES

FILES = sorted(path.name for path in _FOLDER.iterdir() if path.suffix in _TYPES)


def test_the_page(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (_FOLDER / "index.html").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_each_file(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.content == (_FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == _TYPES[f".{name.rpartition('.')[2]}"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-frame-options"] == "DENY"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_what_the_page_names_is_there(client: httpx.Client) -> None:
    for name in re.findall(r'(?:src|href)="/?page/([^"]+)"', client.get("/").text):
        assert name in FILES


def test_kept_by_the_browser(client: httpx.Client) -> None:
    tag = client.get("/").headers["etag"]
    for told in (tag, f'W/{tag}, "x"', "*"):
        again = client.get("/", headers={"If-None-Match": told})
        assert (again.status_code, again.content) == (304, b"")
        assert "content-security-policy" in again.headers
    assert client.get("/", headers={"If-None-Match": '"x"'}).status_code == 200
    assert client.get("/page/style.css", headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    "name", ["none.js", "", "../page_files.py", "%2e%2e/page_files.py", "style.css%00", "STYLE.CSS", "index.html/"]
)
def test_no_other_file(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/page/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_head_has_no_content(client: httpx.Client) -> None:
    answer = client.head("/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == (_FOLDER / "index.html").stat().st_size
