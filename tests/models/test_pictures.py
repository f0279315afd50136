"""What is read, what is left out, and how it is parted."""

from __future__ import annotations

import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.pictures import part, read_pictures
from semblance.errors import InputError, SourceError
from semblance.inputs.resize import resize


def test_a_folder_is_read_and_what_is_no_picture_is_named(picture_folder: Path) -> None:
    pictures = read_pictures(str(picture_folder), size=24)
    assert (pictures.images.shape, pictures.images.dtype) == ((42, 24, 24, 3), np.uint8)
    assert pictures.classes == ("blue", "green", "red")
    assert np.bincount(pictures.labels).tolist() == [14, 14, 14]
    assert [Path(uri).name for uri in pictures.skipped] == ["cut.png", "broken.jpg"]
    assert all(pictures.skipped.values())
    for row in (0, 20, 41):
        file = picture_folder / pictures.uris[row]
        assert file.parent.name == pictures.classes[pictures.labels[row]]
        pixels = np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])
        np.testing.assert_array_equal(pictures.images[row], resize(pixels, height=24, width=24))


def test_a_tar_gives_what_its_folder_gives(picture_folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        tar.add(picture_folder, arcname=".")
    one, other = read_pictures(str(tmp_path / "all.tar"), size=16), read_pictures(str(picture_folder), size=16)
    assert one.classes == other.classes
    assert len(one.skipped) == 2
    ours, theirs = ({Path(uri): image.tobytes() for uri, image in zip(each.uris, each.images, strict=True)}
                    for each in (one, other))  # fmt: skip
    assert ours == theirs


def test_pictures_without_classes_are_refused(picture_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nothing there"):
        read_pictures(str(tmp_path / "nowhere"), size=16)
    with pytest.raises(InputError, match="has no label"):
        read_pictures(str(picture_folder / "red" / "00.png"), size=16)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "a.png").write_bytes((picture_folder / "red" / "00.png").read_bytes())
    with pytest.raises(InputError, match="at least two classes"):
        read_pictures(str(tmp_path), size=16)


@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.2), (0.5, 0.3), (0.1, 0.0), (0.9, 0.05)])
def test_parts_share_no_picture_and_hold_every_class(validation: float, test: float) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [3, 20, 50]))
    parts = part(labels, validation=validation, test=test, seed=3)
    every = np.concatenate([parts.train, parts.validation, parts.test])
    assert sorted(every.tolist()) == list(range(73))
    for rows, share in ((parts.validation, validation), (parts.test, test)):
        counts = np.bincount(labels[rows], minlength=3)
        assert abs(counts[2] - share * 50) <= 1
        assert (counts > 0).all() == (share > 0)
    assert (np.bincount(labels[parts.train], minlength=3) > 0).all()


def test_the_same_seed_draws_the_same_parts() -> None:
    labels = np.repeat([0, 1], 30)
    first, again, other = (part(labels, validation=0.2, test=0.2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, again.test)
    assert first.test.tolist() != other.test.tolist()


def test_parts_that_cannot_be_drawn_are_told() -> None:
    with pytest.raises(InputError, match="class 'cat' has 2 pictures, at least 3"):
        part(np.array([0, 0, 1, 1, 1]), validation=0.2, test=0.2, seed=0, classes=("cat", "dog"))
    for shares in ((0.0, 0.2), (0.6, 0.4), (0.2, -0.1)):
        with pytest.raises(InputError, match="shares to validate and to test"):
            part(np.repeat([0, 1], 9), validation=shares[0], test=shares[1], seed=0)
