"""Pictures for a gallery to be killed or damaged, as the files of a source: real ones where they are at hand.

In: how many. Out: encoded files, every ninth of them broken, so that each shard has errors too; and sources of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

Encoded = tuple[str, bytes]  # a path below the source's folder, and the file's bytes


def find_pictures(num: int) -> list[Encoded]:
    """`num` files of photographs, or of drawings where there are none; every ninth is broken in one of three ways."""
    from export.images import encoded_photographs, find_photographs

    archive = find_photographs()
    files = _drawings(num) if archive is None else _in_class_folders(encoded_photographs(archive, num))
    broken = (b"", b"no picture at all")
    return [
        (name, content if number % 9 else [*broken, content[: len(content) // 2]][number // 9 % 3])
        for number, (name, content) in enumerate(files)
    ]


def _in_class_folders(files: Iterable[Encoded]) -> list[Encoded]:
    """Each in its class's folder, without those above."""
    return [("/".join(name.split("/")[-2:]), content) for name, content in files]


def _drawings(num: int) -> list[Encoded]:
    import cv2

    from semblance.inputs.standin import drawn_fashion

    images, labels = drawn_fashion("test", num_images=num)
    encoded = [cv2.imencode(".png", image)[1].tobytes() for image in images]
    return [
        (f"{label}/{number:04d}.png", content)
        for number, (label, content) in enumerate(zip(labels, encoded, strict=True))
    ]


def write_folder(folder: Path, pictures: Iterable[Encoded]) -> Path:
    """A source: a folder of image files."""
    for name, content in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_list(folder: Path, pictures: Sequence[Encoded]) -> Path:
    """A source with labels and columns of its own: a CSV file beside its pictures."""
    write_folder(folder, pictures)
    lines = [f"{name},{name.split('/')[0]},{number},{number / 8}" for number, (name, _) in enumerate(pictures)]
    (folder / "list.csv").write_text("\n".join(["path,label,number,weight", *lines]) + "\n")
    return folder / "list.csv"
