"""Contact sheets of a gallery: which picture is where, which mark it has, and what is shown for one that is gone.

Every picture is of one colour that no other has, so that where it lies on a sheet can be read from the sheet.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from semblance import Encoder, Gallery
from semblance.draw import RIGHT, WRONG, save_png
from semblance.errors import ImageError, InputError
from semblance.inputs.decode import decode
from semblance.inputs.sources import ArraySource, open_source
from semblance.sheet import find_items, save_sheet

Color = tuple[int, int, int]

COLORS: dict[str, Color] = {
    "cats/0.png": (200, 40, 30),
    "cats/1.png": (180, 60, 40),
    "dogs/0.png": (30, 60, 190),
    "dogs/1.png": (50, 40, 170),
}
QUERY: Color = (190, 50, 90)
GONE: Color = (235, 235, 235)
CELL_PX = 140  # of a sheet's squares; pictures of 28 pixels fill them, enlarged five times


def plain(color: Color) -> NDArray[np.uint8]:
    return np.full((28, 28, 3), color, np.uint8)


def drawn(path: Path) -> NDArray[np.uint8]:
    """The sheet [H, W, 3] RGB."""
    pixels = cv2.imread(str(path))
    assert pixels is not None
    return pixels[:, :, ::-1].astype(np.uint8)


def box_of(sheet: NDArray[np.uint8], color: Color) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right of all pixels of that colour; None where it has none."""
    rows, columns = np.nonzero((sheet == np.array(color, np.uint8)).all(axis=2))
    return (int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())) if len(rows) else None


def frame_of(sheet: NDArray[np.uint8], color: Color) -> Color:
    """The colour just above the middle of that picture."""
    box = box_of(sheet, color)
    assert box is not None
    top, bottom, left, right = box
    assert (bottom - top + 1, right - left + 1) == (CELL_PX, CELL_PX)
    red, green, blue = sheet[top - 1, (left + right) // 2].tolist()
    return red, green, blue


@pytest.fixture
def encoder(tiny_model_maker: Any) -> Encoder:
    return Encoder.load(tiny_model_maker("rgb", channels=3).path, threads=1, max_batch=8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for uri, color in COLORS.items():
        save_png(tmp_path / "photos" / uri, plain(color))
    return tmp_path / "photos"


@pytest.fixture
def gallery(photos: Path, encoder: Encoder, tmp_path: Path) -> Gallery:
    return Gallery.build(photos, encoder, tmp_path / "g")


def sheet_of(gallery: Gallery, images: list[Any], folder: Path, **options: Any) -> NDArray[np.uint8]:
    save_sheet(folder / "sheet.png", gallery, images, gallery.hits(images, 4), **options)
    return drawn(folder / "sheet.png")


@pytest.mark.parametrize("label", ["cats", "dogs"])
def test_each_neighbour_is_marked_right_or_wrong_by_the_querys_label(
    gallery: Gallery, tmp_path: Path, label: str
) -> None:
    sheet = sheet_of(gallery, [plain(QUERY)], tmp_path, labels=[label])
    assert {uri: frame_of(sheet, color) for uri, color in COLORS.items()} == {
        uri: RIGHT if uri.startswith(label) else WRONG for uri in COLORS
    }


def test_nothing_is_marked_where_the_querys_label_is_not_known(gallery: Gallery, tmp_path: Path) -> None:
    sheet = sheet_of(gallery, [plain(QUERY)], tmp_path)
    assert box_of(sheet, RIGHT) is None
    assert box_of(sheet, WRONG) is None


def test_neighbours_stand_beside_their_query_nearest_first(gallery: Gallery, tmp_path: Path) -> None:
    sheet = sheet_of(gallery, [plain(QUERY)], tmp_path)
    boxes = [box_of(sheet, QUERY)] + [box_of(sheet, COLORS[hit.uri]) for hit in gallery.hits([plain(QUERY)], 4)[0]]
    lefts = [box[2] for box in boxes if box is not None]
    assert len(lefts) == 5
    assert lefts == sorted(lefts)
    assert len({box[0] for box in boxes if box is not None}) == 1  # one row


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_picture_that_is_gone_since_is_an_empty_cell(
    gallery: Gallery, photos: Path, tmp_path: Path, is_damaged: bool
) -> None:
    before = sheet_of(gallery, [plain(QUERY)], tmp_path, labels=["cats"])
    (photos / "cats/1.png").write_bytes(b"no picture") if is_damaged else (photos / "cats/1.png").unlink()
    after = sheet_of(gallery, [plain(QUERY)], tmp_path, labels=["cats"])
    assert after.shape == before.shape
    assert box_of(after, COLORS["cats/1.png"]) is None
    was, empty = box_of(before, COLORS["cats/1.png"]), box_of(after, GONE)
    assert was is not None
    assert empty is not None
    assert was[0] <= empty[0] < empty[1] <= was[1]
    assert was[2] <= empty[2] < empty[3] <= was[3]  # in the very same square
    assert tuple(after[was[0] - 1, (was[2] + was[3]) // 2]) == RIGHT  # the gallery still knows its label
    for uri in COLORS.keys() - {"cats/1.png"}:
        assert box_of(after, COLORS[uri]) == box_of(before, COLORS[uri])


def test_a_source_that_is_gone_leaves_all_cells_empty(gallery: Gallery, photos: Path, tmp_path: Path) -> None:
    before = sheet_of(gallery, [plain(QUERY)], tmp_path)
    shutil.rmtree(photos)
    after = sheet_of(gallery, [plain(QUERY)], tmp_path)
    assert after.shape == before.shape
    assert box_of(after, QUERY) == box_of(before, QUERY)
    assert all(box_of(after, color) is None for color in COLORS.values())
    is_gone = (after == np.array(GONE, np.uint8)).all(axis=2)
    assert is_gone.sum() == 4 * (CELL_PX // 64 * 64) ** 2  # a blank of 64 pixels, enlarged by whole pixels


def test_a_source_that_was_never_a_place_leaves_all_cells_empty(encoder: Encoder, tmp_path: Path) -> None:
    images = np.stack([plain(color) for color in COLORS.values()])
    gallery = Gallery.build(ArraySource(images, name="in memory"), encoder, tmp_path / "g")
    sheet = sheet_of(gallery, [plain(QUERY)], tmp_path)
    assert box_of(sheet, QUERY) is not None
    assert box_of(sheet, GONE) is not None
    assert all(box_of(sheet, color) is None for color in COLORS.values())


@pytest.mark.parametrize("content", [b"no picture", b"", None])
def test_a_query_that_is_no_picture_is_named_and_nothing_is_written(
    gallery: Gallery, tmp_path: Path, content: bytes | None
) -> None:
    hits = gallery.hits([plain(QUERY)], 4)
    if content is not None:
        (tmp_path / "query.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"query\.png"):
        save_sheet(tmp_path / "sheet.png", gallery, [tmp_path / "query.png"], hits)
    assert not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(("num_hits", "labels"), [(1, None), (2, ["a"]), (2, ["a", "b", "c"])])
def test_hits_and_labels_are_one_for_each_query(
    gallery: Gallery, tmp_path: Path, num_hits: int, labels: list[str] | None
) -> None:
    hits = gallery.hits([plain(QUERY)] * num_hits, 2)
    with pytest.raises(InputError, match="one for each of the 2 queries"):
        save_sheet(tmp_path / "sheet.png", gallery, [plain(QUERY)] * 2, hits, labels=labels)


def test_queries_may_be_files_encoded_bytes_or_arrays(gallery: Gallery, photos: Path, tmp_path: Path) -> None:
    save_png(tmp_path / "query.png", plain(QUERY))
    forms = [tmp_path / "query.png", str(tmp_path / "query.png"), (tmp_path / "query.png").read_bytes(), plain(QUERY)]
    boxes = [box_of(sheet_of(gallery, [form], tmp_path), QUERY) for form in forms]
    assert boxes[0] is not None
    assert boxes == [boxes[0]] * 4


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1)])
def test_grey_arrays_are_queries_as_well(gallery: Gallery, tmp_path: Path, shape: tuple[int, ...]) -> None:
    greys = [np.full(shape, 70, np.uint8), np.full(shape, 95, np.uint8)]
    sheet = sheet_of(gallery, greys, tmp_path, labels=["cats", "dogs"])
    first, second = box_of(sheet, (70, 70, 70)), box_of(sheet, (95, 95, 95))
    assert first is not None
    assert second is not None
    assert first[1] < second[0]  # a row for each query
    assert first[2:] == second[2:]


def test_a_key_is_a_query_too(gallery: Gallery, tmp_path: Path) -> None:
    keys = [gallery.vectors.uris.index("dogs/1.png"), gallery.vectors.uris.index("cats/0.png")]
    hits = gallery.described(gallery.search_keys(keys, 1))
    save_sheet(tmp_path / "sheet.png", gallery, [*keys, plain(QUERY)], [*hits, []])
    sheet = drawn(tmp_path / "sheet.png")
    boxes = [box_of(sheet, COLORS["dogs/1.png"]), box_of(sheet, COLORS["cats/0.png"]), box_of(sheet, QUERY)]
    tops = [box[0] for box in boxes if box is not None]
    assert len(tops) == 3
    assert tops == sorted(tops)
    assert boxes[0] is not None
    assert boxes[0][3] - boxes[0][2] > CELL_PX  # the query and itself as its nearest
    with pytest.raises(InputError, match="key 4 is not in"):
        save_sheet(tmp_path / "sheet.png", gallery, [4], [[]])


@pytest.fixture
def two_sources(gallery: Gallery, tmp_path: Path) -> dict[int, Color]:
    """A second folder with the same uris and other pictures is added; the colour of every key."""
    others = {uri: (red ^ 2, green ^ 2, blue ^ 2) for uri, (red, green, blue) in COLORS.items()}
    for uri, color in others.items():
        save_png(tmp_path / "others" / uri, plain(color))
    gallery.add(tmp_path / "others")
    assert gallery.vectors.uris == [*COLORS, *COLORS]
    return dict(zip(gallery.vectors.keys.tolist(), [*COLORS.values(), *others.values()], strict=True))


def test_sources_that_share_uris_are_not_mixed_up(
    gallery: Gallery, two_sources: dict[int, Color], tmp_path: Path
) -> None:
    found = find_items(gallery.vectors, two_sources)
    seen = {key: tuple(decode(item.content, channels=3)[0, 0].tolist()) for key, item in found.items()}
    assert seen == two_sources
    shutil.rmtree(tmp_path / "photos")
    assert sorted(find_items(gallery.vectors, two_sources)) == [4, 5, 6, 7]


def test_a_list_that_is_over_is_found_by_its_absolute_paths(
    photos: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    paths = "\n".join([str(photos / "cats" / "0.png"), "cats/1.png"])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(paths.encode())))
    gallery = Gallery.build("-", encoder, tmp_path / "g")
    found = find_items(gallery.vectors, [0, 1])
    assert {key: item.content for key, item in found.items()} == {
        0: photos / "cats" / "0.png",
        1: photos / "cats" / "1.png",
    }


def test_pictures_are_looked_for_in_the_column_that_was_embedded(
    photos: Path, encoder: Encoder, tmp_path: Path
) -> None:
    (tmp_path / "pairs.csv").write_text("path,back\nphotos/cats/0.png,photos/dogs/0.png\n")
    source = open_source(tmp_path / "pairs.csv", image_column="back")
    gallery = Gallery.build(source, encoder, tmp_path / "g")
    assert find_items(gallery.vectors, [0])[0].content == photos / "dogs" / "0.png"
