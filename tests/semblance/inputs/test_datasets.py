"""Fashion-MNIST where it lies, where it does not, and over a real HTTP server that behaves well or badly."""

from __future__ import annotations

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from semblance.errors import InputError, SourceError
from semblance.inputs.datasets import CLASSES, MD5, fashion_mnist, find_fashion_mnist

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any copy; the cache is at bare/cache."""
    monkeypatch.delenv("SEMBLANCE_DATA", raising=False)
    monkeypatch.setenv("SEMBLANCE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def copy(source: Path, target: Path) -> Path:
    target.mkdir(parents=True)
    for name in MD5:
        shutil.copy(source / name, target / name)
    return target


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)


def test_both_splits_are_the_published_ones(
    fashion_mnist_dir: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEMBLANCE_DATA", str(fashion_mnist_dir))
    for split, size in (("train", 60_000), ("test", 10_000)):
        images, labels = fashion_mnist(split, allow_download=False)  # type: ignore[arg-type]
        assert images.shape == (size, 28, 28)
        assert images.dtype == labels.dtype == np.uint8
        np.testing.assert_array_equal(np.bincount(labels), [size // 10] * 10)
    assert [CLASSES[label] for label in labels[:4]] == ["Ankle boot", "Pullover", "Trouser", "Trouser"]


def test_each_place_is_looked_into(fashion_mnist_dir: Path, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = copy(fashion_mnist_dir, bare / "cache" / "fashion-mnist")
    assert find_fashion_mnist(allow_download=False) == cached
    shared = copy(fashion_mnist_dir, bare / "shared" / "data" / "fashion-mnist")
    assert find_fashion_mnist(allow_download=False) == shared
    monkeypatch.setenv("SEMBLANCE_DATA", str(cached))
    assert find_fashion_mnist(allow_download=False) == cached
    monkeypatch.setenv("SEMBLANCE_DATA", str(cached.parent))
    assert find_fashion_mnist(allow_download=False) == cached


def test_a_damaged_copy_is_named_and_not_used(
    fashion_mnist_dir: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = copy(fashion_mnist_dir, bare / "given")
    spoil(given / TRAIN_IMAGES)
    monkeypatch.setenv("SEMBLANCE_DATA", str(given))
    with pytest.raises(SourceError, match=rf"{TRAIN_IMAGES}: md5 \w+, the published file has {MD5[TRAIN_IMAGES]}"):
        find_fashion_mnist()


def test_a_bare_machine_downloads_into_the_cache(fashion_mnist_dir: Path, bare: Path) -> None:
    with served(fashion_mnist_dir) as url:
        folder = find_fashion_mnist(mirrors=[url])
    assert folder == bare / "cache" / "fashion-mnist"
    assert sorted(path.name for path in folder.iterdir()) == sorted(MD5)
    assert find_fashion_mnist(allow_download=False) == folder


def test_a_mirror_that_lacks_or_spoils_a_file_is_passed_over(fashion_mnist_dir: Path, bare: Path) -> None:
    spoilt = copy(fashion_mnist_dir, bare / "spoilt")
    spoil(spoilt / TRAIN_IMAGES)
    (bare / "empty").mkdir()
    with served(spoilt) as bad, served(bare / "empty") as empty, served(fashion_mnist_dir) as good:
        assert find_fashion_mnist(mirrors=[empty, bad, good]).is_dir()
        shutil.rmtree(bare / "cache")
        with pytest.raises(SourceError, match=r"download failed .*404.*md5 \w+ instead of"):
            find_fashion_mnist(mirrors=[empty, bad])
    assert list((bare / "cache" / "fashion-mnist").iterdir()) == []


def test_offline_says_where_it_looked_and_what_to_do(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMBLANCE_DATA", str(bare / "given"))
    with served(bare) as url:
        closed = url
    with pytest.raises(SourceError, match="the download failed") as failure:
        find_fashion_mnist(mirrors=[closed])
    for place in ("given/fashion-mnist", "given", "shared/data/fashion-mnist", "cache/fashion-mnist"):
        assert str(bare / place) in str(failure.value)
    assert "set SEMBLANCE_DATA" in str(failure.value)
    with pytest.raises(SourceError, match="not downloaded, as asked"):
        fashion_mnist("test", allow_download=False)


def test_a_cache_that_cannot_be_written_is_named(bare: Path) -> None:
    (bare / "cache").write_text("a file in the way")
    with pytest.raises(SourceError, match=r"cannot be kept in .*cache"):
        find_fashion_mnist(mirrors=[])


def test_unknown_splits_are_refused() -> None:
    with pytest.raises(InputError, match="'train' or 'test', is 'valid'"):
        fashion_mnist("valid")  # type: ignore[arg-type]
