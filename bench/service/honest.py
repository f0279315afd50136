"""Honest bodies of every form that the service takes, which mischief begins with.

In: a seed, and a random generator for each. Out: `Body`: bytes, headers, and which routes it is meant for.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

import cv2
import numpy as np

from bench import oddities
from bench.damage import encoders
from bench.oddities import Encode, Photo
from bench.service.wire import form

Rng = np.random.Generator
PICTURE_ROUTES = ("embed", "search", "put", "matches")
ALL_ROUTES = (*PICTURE_ROUTES, "infer", "index")
BOUNDARY = "a-part-of-a-form-3f7c"
_ODD_SIDE = 800  # of pictures that are large and allowed: this is about bodies, not about pixels


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent after a request's line."""

    content: bytes
    headers: dict[str, str] = field(default_factory=dict)
    routes: tuple[str, ...] = PICTURE_ROUTES


class Scene:
    """Honest pictures and bodies, which mischief begins with; the same for the same seed."""

    def __init__(self, seed: int, *, size: int = 96) -> None:
        rng = np.random.default_rng(seed)
        blots = [cv2.GaussianBlur(rng.integers(0, 256, (size, size + 24, 3), np.uint8), (0, 0), 3) for _ in range(6)]
        self.photos: list[Photo] = [
            cv2.normalize(each, each.copy(), 0, 255, cv2.NORM_MINMAX).astype(np.uint8) for each in blots
        ]
        self.kinds: dict[str, Encode] = encoders()[0]
        self.odd = [each.content for each in oddities.all_of(self.photos[0], side=_ODD_SIDE)]
        self.pictures = [cv2.imencode(".png", photo)[1].tobytes() for photo in self.photos]

    def picture(self, rng: Rng) -> bytes:
        """A good one."""
        return self.pictures[int(rng.integers(len(self.pictures)))]

    def form(self, rng: Rng) -> Body:
        """An honest form of some pictures."""
        pictures = [self.picture(rng) for _ in range(int(rng.integers(1, 4)))]
        return Body(form(pictures, BOUNDARY), form_header(BOUNDARY))

    def document(self, rng: Rng) -> Body:
        """An honest JSON document."""
        member = ("images", "image")[int(rng.integers(2))]
        encoded = base64.b64encode(self.picture(rng)).decode()
        return json_body({member: [encoded] if member == "images" else encoded})

    def tensors(self, rng: Rng) -> Body:
        """An honest request of the Open Inference Protocol, with its pictures as binary data."""
        pictures = [self.picture(rng) for _ in range(int(rng.integers(1, 4)))]
        binary = b"".join(len(each).to_bytes(4, "little") + each for each in pictures)
        entry = {"name": "image", "datatype": "BYTES", "shape": [len(pictures)],
                 "parameters": {"binary_data_size": len(binary)}}  # fmt: skip
        return tensor_body({"inputs": [entry]}, binary)


def form_header(boundary: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def json_body(document: object, routes: tuple[str, ...] = PICTURE_ROUTES) -> Body:
    return Body(json.dumps(document).encode(), {"Content-Type": "application/json"}, routes)


def tensor_body(document: object, binary: bytes, said: str | None = None) -> Body:
    text = json.dumps(document).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": said or str(len(text))}
    return Body(text + binary, headers, ("infer",))
