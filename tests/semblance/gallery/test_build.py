"""A source becomes a gallery: what is stored, what goes wrong, and what is left behind."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from semblance.errors import GalleryError, InputError
from semblance.gallery.build import add, begun, build
from semblance.gallery.gallery import VectorGallery
from semblance.gallery.index_options import IndexOptions
from semblance.gallery.keypoints import Extractor
from semblance.gallery.manifest import Manifest
from semblance.gallery.shards import read_columns
from semblance.gallery.stored_keypoints import PictureKeypoints
from semblance.gallery.verify import verify
from semblance.inputs.limits import Limits
from semblance.inputs.resize import fit
from semblance.inputs.sources import ArraySource, Item, open_source
from tests.semblance.gallery.conftest import described, joined, pictures, with_keypoints


def read_all(path: Path, names: list[str]) -> list[dict]:
    manifest = Manifest.read(path)
    return [row for shard in manifest.shards for row in read_columns(path / shard.file, names).to_pylist()]


def error_rows(path: Path) -> list[dict]:
    return read_columns(path / "errors.parquet", ["key", "uri", "stage", "error", "message"]).to_pylist()


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


@pytest.mark.parametrize("workers", [0, 3])
def test_every_picture_lands_with_its_vector(tmp_path: Path, encoder, make_pictures, workers: int) -> None:
    images = make_pictures(250)
    source = ArraySource(images, labels=[i % 7 for i in range(250)], name="squares")
    heard: list[tuple[int, int]] = []
    report = build(
        source, encoder, tmp_path / "g", shard_rows=100, workers=workers, progress=lambda *at: heard.append(at)
    )
    assert (report.num_images, report.num_errors) == (250, 0)
    assert set(report.seconds) == {"decode", "inference", "write", "index", "total"}
    assert encoder.sizes == [32, 32, 32, 4, 32, 32, 32, 4, 32, 18]  # a batch never crosses a shard
    assert heard[-1] == (250, 250)
    assert heard == sorted(heard)
    gallery = VectorGallery.open(tmp_path / "g")
    np.testing.assert_array_equal(gallery.vectors, type(encoder)().run(images[..., None]))
    np.testing.assert_array_equal(gallery.keys, np.arange(250))
    rows = read_all(tmp_path / "g", ["uri", "sha256", "width", "height", "label"])
    assert rows[123] == {
        "uri": "squares#000123",
        "sha256": hashlib.sha256(images[123].tobytes()).hexdigest(),
        "width": 8,
        "height": 8,
        "label": str(123 % 7),
    }
    assert verify(tmp_path / "g") == []


def test_files_are_hashed_as_they_lie_and_measured_before_the_resize(tmp_path: Path, encoder, make_items) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    encoded = (tmp_path / "a.png").read_bytes()
    source = make_items([Item("a", tmp_path / "a.png"), Item("b", encoded)])
    build(source, encoder, tmp_path / "g")
    first, second = read_all(tmp_path / "g", ["width", "height", "sha256", "embedding"])
    assert first == second
    assert (first["width"], first["height"]) == (50, 30)
    assert first["sha256"] == hashlib.sha256(encoded).hexdigest()


def test_large_jpegs_are_decoded_smaller_where_that_was_asked_for_and_keep_their_size(
    tmp_path: Path, encoder, make_items
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: 300 wide, 500 high
    image.save(tmp_path / "a.jpg", exif=exif)
    found = []
    for number, is_scaled in enumerate((False, True)):
        build(
            make_items([Item("a", tmp_path / "a.jpg")]),
            encoder,
            tmp_path / f"g{number}",
            limits=Limits(is_scaled=is_scaled),
        )
        found += read_all(tmp_path / f"g{number}", ["width", "height", "sha256", "embedding"])
    whole, scaled = found
    assert [(each["width"], each["height"]) for each in found] == [(300, 500)] * 2
    assert whole["sha256"] == scaled["sha256"]
    assert whole["embedding"] != scaled["embedding"]
    np.testing.assert_allclose(scaled["embedding"], whole["embedding"], atol=1)  # of 255: means of whole levels


def test_bad_pictures_are_listed_and_leave_the_others_unharmed(
    tmp_path: Path, encoder, make_items, make_pictures
) -> None:
    images = make_pictures(12)
    items = [Item(f"{i:02d}", image) for i, image in enumerate(images)]
    items[3] = Item("03", b"not a picture")
    items[5] = Item("05", np.zeros((8, 8), np.uint8))  # black: a zero vector
    items[6] = Item("06", tmp_path / "gone.png")
    items[11] = Item("11", np.zeros((8, 8), np.float32))  # type: ignore[arg-type]
    report = build(make_items(items), encoder, tmp_path / "g", shard_rows=6, batch=4)
    assert (report.num_images, report.num_errors) == (8, 4)
    errors = error_rows(tmp_path / "g")
    assert [(row["key"], row["uri"], row["stage"], row["error"]) for row in errors] == [
        (3, "03", "decode", "ImageError"),
        (5, "05", "embed", "InputError"),
        (6, "06", "read", "FileNotFoundError"),
        (11, "11", "decode", "ImageError"),
    ]
    expected = "expected an image file (JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF)"
    assert errors[0]["message"].startswith("03: 13 bytes: not an image")
    assert [row["message"] for row in errors[1:]] == [
        "05: its embedding is zero, which has no direction to compare by cosine",
        f"06: {tmp_path / 'gone.png'}: no such file; {expected}",
        "11: an array of float32 [8, 8] is not a picture; expected uint8 [H, W], [H, W, 1] or [H, W, 3] (RGB); "
        "scale it to 0-255 and use .astype(np.uint8)",
    ]
    gallery = VectorGallery.open(tmp_path / "g")
    good = [0, 1, 2, 4, 7, 8, 9, 10]
    assert gallery.keys.tolist() == good
    np.testing.assert_array_equal(gallery.vectors, type(encoder)().run(images[good][..., None]))
    assert Manifest.read(tmp_path / "g").errors.num_rows == 4


def test_items_without_a_usable_picture_make_no_shard(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    items = [Item(f"{i}", image) for i, image in enumerate(make_pictures(6))]
    items[2:4] = [Item("2", b""), Item("3", b"")]
    build(make_items(items), encoder, tmp_path / "g", shard_rows=2)
    assert [shard.num_rows for shard in Manifest.read(tmp_path / "g").shards] == [2, 2]
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.keys.tolist() == [0, 1, 4, 5]
    assert gallery.vectors.shape == (4, 16)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, encoder, make_pictures) -> None:
    """Whatever the number of threads; with `deterministic` the index too."""
    source = ArraySource(make_pictures(300))
    for name, workers in (("a", 0), ("b", 4)):
        build(source, encoder, tmp_path / name, shard_rows=128, workers=workers, deterministic=True)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(tree(tmp_path / "a")) == 6


def test_own_columns_are_carried_and_misfits_listed(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    images = make_pictures(4)
    own = [{"year": 2001, "by": None}, {"year": 2002, "by": "Ann"}, {"year": "old"}, {"year": 2004, "by": "Eve"}]
    items = [Item(f"{i}", image, columns=columns) for i, (image, columns) in enumerate(zip(images, own, strict=True))]
    build(make_items(items), encoder, tmp_path / "g", shard_rows=2)
    assert Manifest.read(tmp_path / "g").columns == {"by": "string", "year": "int64"}
    assert read_all(tmp_path / "g", ["year", "by"]) == [
        {"year": 2001, "by": None},
        {"year": 2002, "by": "Ann"},
        {"year": 2004, "by": "Eve"},
    ]
    (error,) = error_rows(tmp_path / "g")
    assert (error["key"], error["stage"]) == (2, "columns")
    assert "'old'" in error["message"]


def test_half_floats_are_stored_and_indexed_alike(tmp_path: Path, encoder, make_pictures) -> None:
    images = make_pictures(50)
    build(ArraySource(images), encoder, tmp_path / "g", vector_type="float16", index=IndexOptions(dtype="f32"))
    gallery = VectorGallery.open(tmp_path / "g")
    np.testing.assert_array_equal(gallery.vectors, type(encoder)().run(images[..., None]).astype(np.float16))
    assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == list(range(50))


def test_one_picture_is_a_gallery(tmp_path: Path, encoder, make_pictures) -> None:
    build(ArraySource(make_pictures(1)), encoder, tmp_path / "g")
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.search(gallery.vectors, k=1).keys.tolist() == [[0]]


def test_sources_without_a_usable_picture(tmp_path: Path, encoder, make_items) -> None:
    with pytest.raises(GalleryError, match=r"a list holds no pictures"):
        build(make_items([]), encoder, tmp_path / "g")
    black = np.zeros((8, 8), np.uint8)
    with pytest.raises(GalleryError) as caught:
        build(make_items([Item("a", black), Item("b", b"y")]), encoder, tmp_path / "g")
    assert str(caught.value) == (
        "none of the 2 pictures of a list could be used; the first: a: its embedding is zero, which has no direction "
        "to compare by cosine (stage embed); mend the source and build again"
    )
    assert list(tmp_path.iterdir()) == []


def test_something_in_the_way_is_left_alone(tmp_path: Path, encoder, make_pictures) -> None:
    source = ArraySource(make_pictures(3))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for name in ("file", "full"):
        with pytest.raises(GalleryError, match=rf"{name} is in the way.*another path or remove it"):
            build(source, encoder, tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
    assert tree(tmp_path / "full") == {"mine.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    build(source, encoder, tmp_path / "empty")
    build(source, encoder, tmp_path / "new" / "deep" / "g")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, encoder, make_pictures) -> None:
    source = ArraySource(make_pictures(3))
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(GalleryError, match=r"link is in the way"):
        build(source, encoder, tmp_path / "link")
    for path in (tmp_path / "file" / "g", tmp_path / "link" / "g", tmp_path / ("x" * 300)):
        with pytest.raises(GalleryError) as caught:
            build(source, encoder, path)
        assert str(caught.value).startswith(f"{path}: cannot be written (")
        assert "); give another path, or make room" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link"]


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from semblance.card import ModelCard
from semblance.gallery.build import build
from semblance.inputs.sources import ArraySource

class Flat:
    card = ModelCard(
        name="flat", height=8, width=8, channels=1, dimension=64, metric="cos", unit_length=False,
        architecture="flat", layer="pixels", pooling="flatten", preprocess="none", weights_sha256="0" * 64,
    )
    max_batch = 32
    backend = "cpu"
    streams = 1
    def run(self, images):
        return images.reshape(-1, 64).astype(np.float32)
    def release_memory(self): ...

pictures = np.random.default_rng(0).integers(1, 256, (200, 8, 8), dtype=np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    build(ArraySource(pictures), Flat(), Path(sys.argv[1]), shard_rows=int(sys.argv[3]))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
@pytest.mark.parametrize(
    ("largest", "shard_rows", "says"),
    [(20_000, 200, "File too large"), (20_000, 20, "USearch")],  # the shard, the index
)
def test_a_write_that_fails_halfway_is_named(tmp_path: Path, largest: int, shard_rows: int, says: str) -> None:
    path = tmp_path / "new" / "g"
    command = [sys.executable, "-c", FULL_DISK, str(path), str(largest), str(shard_rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith(f"GalleryError {path}: cannot be written ("), (done.stdout, done.stderr)
    assert says in done.stdout
    assert done.stdout.endswith("make room and run the same again: it carries on from what was committed\n")
    if shard_rows == 200:  # nothing was committed
        assert list(tmp_path.iterdir()) == []
        return
    with pytest.raises(GalleryError, match=r"g is unfinished: 200 images of array so far"):
        VectorGallery.open(path)
    done = subprocess.run([*command[:-2], "1000000", str(shard_rows)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("", "")
    assert len(VectorGallery.open(path)) == 200
    assert verify(path) == []


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("where", ["source", "encoder", "progress"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_failure_before_the_first_commit_leaves_nothing_behind(
    tmp_path: Path, encoder, make_items, make_pictures, where, workers
) -> None:
    images = make_pictures(100)
    (tmp_path / "empty").mkdir()

    class Failing(make_items):  # type: ignore[misc, valid-type]
        def __iter__(self):
            yield from self.items[:60]
            raise Interrupted

    def fail(*_: object) -> None:
        if len(encoder.sizes) >= 3:
            raise Interrupted

    items = [Item(f"{i}", image) for i, image in enumerate(images)]
    if where == "encoder":
        run = encoder.run
        encoder.run = lambda batch: fail() or run(batch)
    source = Failing(items) if where == "source" else make_items(items)
    for path in (tmp_path / "new" / "g", tmp_path / "empty"):
        encoder.sizes.clear()
        with pytest.raises(Interrupted):
            build(
                source, encoder, path, shard_rows=70, batch=10, workers=workers,
                progress=fail if where == "progress" else None,
            )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert list((tmp_path / "empty").iterdir()) == []


BLACK = np.zeros((8, 8), np.uint8)  # a zero vector: unusable, which only its embedding shows


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Item("cat/7", b"no picture"), "cat/7: 10 bytes: not an image"),
        (Item("cat/7", BLACK), "cat/7: its embedding is zero, which has no direction to compare by cosine (embed)"),
        (Item("cat/7", np.full((8, 8), 9, np.uint8), columns={"n": 1}), "cat/7: column 'n' is not among the gallery's"),
    ],
)
def test_too_many_unusable_pictures_end_the_run_whatever_stage_finds_them(
    tmp_path: Path, encoder, make_items, make_pictures, bad: Item, message: str, workers: int
) -> None:
    items = [Item(f"{i}", image) for i, image in enumerate(make_pictures(40))]
    items[27] = bad
    options = {"shard_rows": 10, "batch": 4, "workers": workers}
    with pytest.raises(GalleryError, match="more than 0 pictures are unusable") as caught:
        build(make_items(items), encoder, tmp_path / "g", max_errors=0, **options)
    assert f"; the last was: {message}" in str(caught.value)
    committed = Manifest.read(tmp_path / "g")
    assert committed.num_images <= 20  # not what has the bad picture
    if message.endswith("(embed)"):
        assert committed.num_images == 20
    if committed.num_images:
        assert f"{committed.num_images} images are committed in {tmp_path / 'g'}, and the same" in str(caught.value)
    assert committed.errors.num_rows == 0
    report = build(make_items(items), encoder, tmp_path / "g", max_errors=1, **options)
    assert (report.num_images, report.num_errors) == (39, 1)
    assert verify(tmp_path / "g") == []


def test_unusable_pictures_are_counted_over_shards_and_runs(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    items = [Item(f"{i}", image) for i, image in enumerate(make_pictures(40))]
    items[3] = Item("3", BLACK)
    items[15] = Item("15", b"")
    items[35] = Item("35", BLACK)
    with pytest.raises(GalleryError, match=r"more than 2 pictures.*; the last was: 35: its embedding is zero"):
        build(make_items(items), encoder, tmp_path / "g", shard_rows=10, max_errors=2)
    assert Manifest.read(tmp_path / "g").num_images == 28
    with pytest.raises(GalleryError, match=r"more than 2 pictures.*; the last was: 35: its embedding is zero"):
        build(make_items(items), encoder, tmp_path / "g", shard_rows=10, max_errors=2)
    with pytest.raises(GalleryError, match=r"more than 1 pictures.*; the last was: 15: .*decode"):  # of an earlier run
        build(make_items(items), encoder, tmp_path / "g", shard_rows=10, max_errors=1)
    build(make_items(items), encoder, tmp_path / "g", shard_rows=10, max_errors=3)
    add(make_items([Item("x", BLACK), Item("y", make_pictures(1)[0])], "more"), encoder, tmp_path / "g", max_errors=1)
    with pytest.raises(GalleryError, match=r"more than 0 pictures.*; the last was: z: "):
        add(make_items([Item("z", BLACK)], "third"), encoder, tmp_path / "g", max_errors=0)
    assert verify(tmp_path / "g") == []


@pytest.mark.parametrize("bad", [b"", BLACK])
def test_too_many_unusable_pictures_before_the_first_commit_leave_nothing_and_say_so(
    tmp_path: Path, encoder, make_items, make_pictures, bad
) -> None:
    items = [Item(f"{i}", image) for i, image in enumerate(make_pictures(20))]
    items[7] = Item("7", bad)
    with pytest.raises(
        GalleryError, match=r"; the last was: 7: .* \((decode|embed)\); .*nothing is left behind"
    ) as caught:
        build(make_items(items), encoder, tmp_path / "new" / "g", shard_rows=10, max_errors=0)
    assert "carries on" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_breaks_a_library_does_not_end_the_run(
    tmp_path: Path, encoder, make_items, make_pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = make_pictures(5)

    def break_on_third(pixels, card):
        if (pixels[..., 0] == images[2]).all():
            raise MemoryError
        return fit(pixels, card)

    monkeypatch.setattr("semblance.gallery.prepare.fit", break_on_third)
    report = build(make_items([Item(f"{i}", image) for i, image in enumerate(images)]), encoder, tmp_path / "g")
    assert (report.num_images, report.num_errors) == (4, 1)
    assert error_rows(tmp_path / "g") == [
        {"key": 2, "uri": "2", "stage": "decode", "error": "MemoryError", "message": "2: MemoryError"}
    ]


def test_decoding_goes_on_while_the_encoder_works(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    """Pictures are taken from the source before the batch ahead of them is embedded, but not without bound."""
    taken: list[int] = []
    at_batch: list[int] = []

    class Watched(make_items):  # type: ignore[misc, valid-type]
        def __iter__(self):
            for i, item in enumerate(self.items):
                taken.append(i)
                yield item

    run = encoder.run

    def watched_run(batch):
        time.sleep(0.001)
        at_batch.append(len(taken))
        return run(batch)

    encoder.run = watched_run
    source = Watched([Item(f"{i}", image) for i, image in enumerate(make_pictures(2000))])
    build(source, encoder, tmp_path / "g", batch=32, workers=2)
    assert at_batch[0] > 32
    assert max(taken - 32 * done for done, taken in enumerate(at_batch)) <= 4 * 32 + 5 * 16


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shard_rows": 0}, "shard_rows must be an integer of at least 1, is 0"),
        ({"batch": 0}, "batch must be"),
        ({"workers": -1}, "workers must be an integer of at least 0"),
        ({"vector_type": "int8"}, "vector_type must be one of"),
    ],
)
def test_options_are_checked_before_anything_is_made(tmp_path: Path, encoder, make_pictures, options, says) -> None:
    with pytest.raises(InputError, match=says):
        build(ArraySource(make_pictures(3)), encoder, tmp_path / "g", **options)
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_source_stays_what_it_is(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    class Failing(make_items):  # type: ignore[misc, valid-type]
        def __iter__(self):
            yield from self.items
            raise OSError("the share went away")

    with pytest.raises(OSError, match=r"^the share went away$"):
        build(Failing([Item("a", make_pictures(1)[0])]), encoder, tmp_path / "g")
    assert list(tmp_path.iterdir()) == []


def test_what_no_column_can_hold_is_listed(tmp_path: Path, encoder, make_items, make_pictures) -> None:
    image = make_pictures(1)[0]
    items = [
        Item("0", image, columns={"n": 1, "f": 1.5}),
        Item("1", image, label=3),  # type: ignore[arg-type]
        Item("2\udcff", image),
        Item("3", image, label="\udcff"),
        Item("4", image, columns={"n": 2**63}),
        Item("5", image, columns={"f": 2**53 + 1}),
        Item("6", image, columns={"t": "\udcff"}),
        Item("7", image, columns={"\udcff": 1}),
        Item(8, image),  # type: ignore[arg-type]
        Item("9", image, columns=None),  # type: ignore[arg-type]
        Item("10", image, columns={1: "x"}),  # type: ignore[dict-item]
        Item("11", str(tmp_path / "a.png")),  # type: ignore[arg-type]
        Item("12", Path("a\0b")),
        Item("13", image, columns={"n": -(2**63), "f": 2**53}),
    ]
    report = build(make_items(items), encoder, tmp_path / "g")
    assert (report.num_images, report.num_errors) == (2, 12)
    unicode = "with lone surrogates, which UTF-8 cannot hold; give it as valid Unicode"
    errors = error_rows(tmp_path / "g")
    assert [row["key"] for row in errors] == list(range(1, 13))
    assert [row["stage"] for row in errors] == ["columns"] * 10 + ["decode", "read"]
    assert [row["message"] for row in errors] == [
        "1: its label is 3; expected a string or None",
        f"2\\udcff: its uri is '2\\udcff', {unicode}",
        f"3: its label is '\\udcff', {unicode}",
        "4: column 'n' is an integer beyond 64 bits; give it as a string",
        "5: column 'f' is 9007199254740993; the gallery's is double, which ends being exact at 2**53",
        f"6: its value of column 't' is '\\udcff', {unicode}",
        f"7: its column '\\udcff' is '\\udcff', {unicode}",
        "8: its uri is 8; expected a string",
        "9: its columns are None; expected a mapping of names to values",
        "10: its columns are named [1]; expected strings",
        "11: its content is a str; expected a pathlib.Path, encoded bytes or a uint8 array",
        "12: a\0b: cannot be read (embedded null byte); "
        "expected an image file (JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF)",
    ]


def write_pairs(folder: Path, make_pictures, *, num: int = 3) -> Path:
    """A CSV file with two columns of pictures, and two of what could be labels."""
    folder.mkdir(exist_ok=True)
    lines = ["path,back,label,kind"]
    for row, image in enumerate(make_pictures(2 * num)):
        cv2.imwrite(str(folder / f"{row}.png"), image)
        if row % 2:
            lines.append(f"{row - 1}.png,{row}.png,x{row},y{row}")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder / "pairs.csv"


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_gallery_is_carried_on_with_the_columns_it_was_begun_with(
    tmp_path: Path, encoder, make_pictures, is_finished: bool
) -> None:
    csv = write_pairs(tmp_path, make_pictures)
    (tmp_path / "labels.csv").write_text("0.png,x\n")
    plain = open_source(csv)

    def stop(done: int, total: int | None) -> None:
        if not is_finished and done == 3:
            raise KeyboardInterrupt

    try:
        build(plain, encoder, tmp_path / "g", shard_rows=2, workers=0, progress=stop)
    except KeyboardInterrupt:
        assert not is_finished
    before = tree(tmp_path / "g")
    for options, says in (
        ({"image_column": "back"}, "image_column = None, not 'back'"),
        ({"label_column": "kind"}, "label_column = None, not 'kind'"),
        ({"labels": tmp_path / "labels.csv"}, r"labels \(by the sha256 of their file\) = None, not '[0-9a-f]{64}'"),
    ):
        other = open_source(csv, **options)
        for call in (
            lambda other=other: build(other, encoder, tmp_path / "g", shard_rows=2),
            lambda other=other: begun(tmp_path / "g", encoder.card, other, shard_rows=2),
        ):
            with pytest.raises(GalleryError, match=f"was begun with {says}; use the same, or another folder"):
                call()
    assert tree(tmp_path / "g") == before
    assert build(plain, encoder, tmp_path / "g", shard_rows=2).num_images == 3


def test_a_gallery_is_carried_on_in_its_own_batches_by_an_encoder_with_others(
    tmp_path: Path, encoder, make_pictures
) -> None:
    source = ArraySource(make_pictures(9), name="squares")

    def stop(done: int, total: int | None) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    build(source, encoder, tmp_path / "whole", shard_rows=4, workers=0)
    with pytest.raises(KeyboardInterrupt):
        build(source, encoder, tmp_path / "g", shard_rows=4, workers=0, progress=stop)
    build(source, replace(encoder, max_batch=2), tmp_path / "g", shard_rows=4, workers=0)
    for name, content in tree(tmp_path / "whole").items():
        if name.startswith("shards/"):
            assert tree(tmp_path / "g")[name] == content


def test_a_gallery_is_carried_on_by_the_backend_that_it_was_begun_with(tmp_path: Path, encoder, make_pictures) -> None:
    source = ArraySource(make_pictures(9), name="squares")
    other = replace(encoder, backend="openvino")

    def stop(done: int, total: int | None) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, encoder, tmp_path / "g", shard_rows=4, workers=0, progress=stop)
    with pytest.raises(GalleryError, match="was begun with backend = 'cpu', not 'openvino'; use the same, or another"):
        build(source, other, tmp_path / "g", shard_rows=4, workers=0)
    assert begun(tmp_path / "g", encoder.card, source, shard_rows=4).options["backend"] == "cpu"
    build(source, encoder, tmp_path / "g", shard_rows=4, workers=0)
    assert build(source, other, tmp_path / "g", shard_rows=4, workers=0).num_images == 9  # left as it is
    assert add(ArraySource(make_pictures(3, 1), name="more"), other, tmp_path / "g").num_images == 12


def test_a_gallery_that_does_not_say_its_backend_is_carried_on_by_any(tmp_path: Path, encoder, make_pictures) -> None:
    source = ArraySource(make_pictures(9), name="squares")

    def stop(done: int, total: int | None) -> None:
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(source, encoder, tmp_path / "g", shard_rows=4, workers=0, progress=stop)
    manifest = Manifest.read(tmp_path / "g")
    options = {name: value for name, value in manifest.options.items() if name != "backend"}
    replace(manifest, options=options).write(tmp_path / "g")
    assert build(source, replace(encoder, backend="openvino"), tmp_path / "g", shard_rows=4).num_images == 9


def test_a_source_is_looked_through_again_only_with_the_columns_it_was_taken_with(
    tmp_path: Path, encoder, make_pictures
) -> None:
    csv = write_pairs(tmp_path, make_pictures)
    first = write_pairs(tmp_path / "first", make_pictures)
    build(open_source(first, image_column="back"), encoder, tmp_path / "g")
    back = open_source(csv, image_column="back")
    assert add(back, encoder, tmp_path / "g").num_added == 3
    parts = Manifest.read(tmp_path / "g").parts
    assert [part.image_column for part in parts] == ["back", "back"]
    with pytest.raises(
        GalleryError, match=r"pairs\.csv already, taken with image_column = 'back', not None; add it with"
    ):
        add(open_source(csv), encoder, tmp_path / "g")
    assert add(back, encoder, tmp_path / "g").num_added == 0
    assert Manifest.read(tmp_path / "g").parts == parts


def test_a_source_that_add_was_stopped_in_is_finished_with_the_columns_it_was_begun_with(
    tmp_path: Path, encoder, make_pictures
) -> None:
    csv = write_pairs(tmp_path, make_pictures)
    first = write_pairs(tmp_path / "first", make_pictures)
    build(open_source(first, image_column="back"), encoder, tmp_path / "g", shard_rows=2)
    back = open_source(csv, image_column="back")

    def stop(done: int, total: int | None) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(back, encoder, tmp_path / "g", workers=0, progress=stop)
    with pytest.raises(GalleryError, match="was begun with image_column = 'back', not None; use the same to finish it"):
        add(open_source(csv), encoder, tmp_path / "g")
    add(back, encoder, tmp_path / "g")
    assert VectorGallery.open(tmp_path / "g").uris[3:] == ["1.png", "3.png", "5.png"]


@pytest.mark.parametrize(("scale", "dtype"), [(1e-6, "f32"), (1, "f16"), (1e6, "f32")])
def test_the_index_takes_a_type_that_holds_the_vectors(
    tmp_path: Path, euclidean, make_pictures, scale: float, dtype: str
) -> None:
    run = euclidean.run
    euclidean.run = lambda images: (run(images) - 128) * np.float32(scale)
    build(ArraySource(make_pictures(100)), euclidean, tmp_path / "g")
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.describe()["index"] == f"{dtype}, generation 1"
    assert gallery.search(gallery.vectors, k=1).keys[:, 0].tolist() == list(range(100))
    if dtype == "f32":
        with pytest.raises(InputError, match="half floats do not hold well; index them as f32 or bf16"):
            build(ArraySource(make_pictures(100)), euclidean, tmp_path / "h", index=IndexOptions(dtype="f16"))


# Keypoints ---------------------------------------------------------------------------------------------------------


def test_a_gallery_differs_by_its_keypoints_and_by_nothing_else(tmp_path: Path, encoder, extractor, make_items) -> None:
    images = pictures(60)
    images[7, 0, 0] = 255
    items = [Item(f"{i}", image, f"{i % 3}", {"n": i}) for i, image in enumerate(images)]
    items[11], items[12] = Item("11", b""), Item("12", BLACK)  # in the middle of a shard: the others keep theirs
    for name, each in (("without", None), ("with", extractor)):
        report = build(make_items(items), encoder, tmp_path / name, shard_rows=25, extractor=each, deterministic=True)
        assert (report.num_images, report.num_errors) == (58, 2)
    one, other = tree(tmp_path / "without"), tree(tmp_path / "with")
    assert other.keys() - one.keys() == {f"sift/00000{number}.parquet" for number in range(3)}
    same = [name for name in one if one[name] == other[name]]
    assert same == ["errors.parquet", "index/000001.usearch"]
    names = ["key", "uri", "label", "n", "width", "embedding"]
    assert read_all(tmp_path / "without", names) == read_all(tmp_path / "with", names)
    found = VectorGallery.open(tmp_path / "with").keypoints
    assert found is not None
    usable = [image for i, image in enumerate(images) if i not in (11, 12)]
    np.testing.assert_array_equal(found.take(np.arange(58))[0], joined([described(image) for image in usable])[-1])
    assert read_all(tmp_path / "with", ["num_keypoints"])[7] == {"num_keypoints": 300}
    assert verify(tmp_path / "with") == []


def test_the_same_input_gives_the_same_keypoints_to_the_byte_also_after_a_stop(
    tmp_path: Path, encoder, extractor
) -> None:
    images = pictures(100)
    images[60, 0, 0] = 255
    source = ArraySource(images, name="squares")
    options = {"shard_rows": 30, "batch": 8, "deterministic": True, "extractor": extractor}
    build(source, encoder, tmp_path / "a", workers=0, **options)
    build(source, encoder, tmp_path / "b", workers=4, **options)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done > 70:
            raise Stopped

    with pytest.raises(Stopped):
        build(source, encoder, tmp_path / "c", workers=0, progress=stop, **options)
    assert len(Manifest.read(tmp_path / "c").sift) == 2
    with pytest.raises(GalleryError, match="was begun with SIFT, not without it; use the same, or another folder"):
        build(source, encoder, tmp_path / "c", **{**options, "extractor": None})
    # as after a kill between the file of keypoints and the manifest that names it
    (tmp_path / "c" / "sift" / "000002.parquet").write_bytes(b"half of it")
    (tmp_path / "c" / "sift" / ".000002.parquet.1.ab.part").write_bytes(b"and before that")
    build(source, encoder, tmp_path / "c", workers=2, **options)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") == tree(tmp_path / "c")


def test_a_source_that_is_looked_through_again_gives_new_keypoints_for_what_changed(
    tmp_path: Path, encoder, extractor, make_items
) -> None:
    images, changed = pictures(20), pictures(20, seed=3)
    changed[4, 0, 0] = 255
    build(
        make_items([Item(f"{i}", image) for i, image in enumerate(images)]), encoder, tmp_path / "g",
        shard_rows=8, extractor=extractor,
    )  # fmt: skip
    again = [Item(f"{i}", changed[i] if i % 4 == 0 else image) for i, image in enumerate(images)]
    report = add(make_items([*again, Item("new", changed[19])]), encoder, tmp_path / "g", extractor=extractor)
    assert report.num_images == 21
    gallery = VectorGallery.open(tmp_path / "g")
    assert gallery.keypoints is not None
    rows = np.flatnonzero(gallery.alive)
    now = {i: changed[i] if i % 4 == 0 else image for i, image in enumerate(images)}
    for key, row in zip(gallery.keys.tolist(), rows, strict=True):
        expected = described(now.get(key, changed[19])).descriptors
        np.testing.assert_array_equal(gallery.keypoints.take(np.array([row]))[0], expected)
    assert verify(tmp_path / "g") == []


@pytest.mark.parametrize(
    ("before", "given", "says"),
    [
        (None, with_keypoints(), "was begun without SIFT, not with it; use the same, or another folder"),
        (with_keypoints(), None, "was begun with SIFT, not without it"),
        (with_keypoints(), with_keypoints(200), r"was begun with sift\.max_keypoints = 300, not 200; use the same, or"),
    ],
)
def test_all_pictures_of_a_gallery_have_keypoints_found_in_the_same_way(
    tmp_path: Path, encoder, before: Extractor | None, given: Extractor | None, says: str
) -> None:
    source, path = ArraySource(pictures(5), name="squares"), tmp_path / "g"
    build(source, encoder, path, shard_rows=10, extractor=before)
    for call in (
        lambda: build(source, encoder, path, shard_rows=10, extractor=given),
        lambda: begun(path, encoder.card, source, shard_rows=10, extractor=given),
        lambda: add(ArraySource(pictures(5), name="more"), encoder, path, extractor=given),
    ):
        with pytest.raises(GalleryError, match=says):
            call()
    assert build(source, encoder, path, shard_rows=10, extractor=before).num_taken == 0


@pytest.mark.parametrize(
    ("most", "default", "largest"),
    [(512, 885, 3540), (100, 4096, 18136), (4096, 110, 440), (1 << 20, 1, 4)],
)
def test_a_shard_has_about_64_mib_of_keypoints_and_may_have_four_times_as_many(
    tmp_path: Path, encoder, most: int, default: int, largest: int
) -> None:
    source = ArraySource(pictures(2))
    build(source, encoder, tmp_path / "g", extractor=with_keypoints(most))
    assert Manifest.read(tmp_path / "g").options["shard_rows"] == default
    assert default * most * 148 <= 64 << 20 or default == 1
    build(source, encoder, tmp_path / "h", shard_rows=largest, extractor=with_keypoints(most))
    with pytest.raises(InputError, match=f"shard_rows must be at most {largest} at {most} keypoints to a picture, is"):
        build(source, encoder, tmp_path / "i", shard_rows=largest + 1, extractor=with_keypoints(most))


@pytest.mark.parametrize("most", [None, 0, (1 << 20) + 1, True])
def test_keypoints_without_bound_are_refused(tmp_path: Path, encoder, most: int | None) -> None:
    with pytest.raises(InputError, match="max_keypoints must be"):
        build(ArraySource(pictures(2)), encoder, tmp_path / "g", extractor=with_keypoints(most))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_keypoints_of_pictures_that_are_decoded_smaller_are_refused(tmp_path: Path, encoder, extractor) -> None:
    with pytest.raises(InputError, match=r"\(--sift\) of JPEGs that are decoded smaller .* leave out one of the two"):
        build(
            ArraySource(pictures(2)), encoder, tmp_path / "g", extractor=extractor, limits=Limits(is_scaled=True)
        )  # fmt: skip


def test_a_column_that_a_gallery_with_keypoints_has_itself(tmp_path: Path, encoder, extractor, make_items) -> None:
    source = make_items([Item("a", pictures(1)[0], columns={"num_keypoints": 7})])
    build(source, encoder, tmp_path / "without")
    assert read_all(tmp_path / "without", ["num_keypoints"]) == [{"num_keypoints": 7}]
    with pytest.raises(GalleryError, match="'num_keypoints' has a name that a gallery with SIFT uses itself; rename"):
        build(source, encoder, tmp_path / "with", extractor=extractor)
    assert [path.name for path in tmp_path.iterdir()] == ["without"]


def test_a_picture_whose_keypoints_cannot_be_found_is_listed(tmp_path: Path, encoder) -> None:
    images = pictures(5)

    def describe(image: np.ndarray) -> PictureKeypoints:
        if (image[..., 0] == images[2]).all():
            raise MemoryError
        return described(image)

    extractor = Extractor(describe, {"max_keypoints": 300})
    report = build(ArraySource(images, name="squares"), encoder, tmp_path / "g", extractor=extractor)
    assert (report.num_images, report.num_errors) == (4, 1)
    assert [(row["key"], row["stage"], row["error"]) for row in error_rows(tmp_path / "g")] == [
        (2, "describe", "MemoryError")
    ]
