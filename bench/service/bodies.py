"""Bodies that no honest client sends, a function for each sort of mischief.

In: a random generator and a `Scene` of honest bodies. Out: a body. The same generator makes the same body.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
import zlib
from collections.abc import Callable

from bench.damage import damaged
from bench.service.honest import (
    ALL_ROUTES,
    BOUNDARY,
    PICTURE_ROUTES,
    Body,
    Rng,
    Scene,
    form_header,
    json_body,
    tensor_body,
)

_DAMAGES = (
    "cut", "half-of-zeros", "bits-of-the-header", "bits-of-the-body", "swapped-blocks", "doubled-block", "zeroed-block",
    "lost-block", "wrong-start",
)  # fmt: skip
_BOMB_BYTES = 64 << 20
_NUMBERS: tuple[object, ...] = (
    0, -1, 2**31, 2**63, 2**64, 10**40, -(2**63) - 1, 1.5, 1e308, -0.0, True, None, "7", "", [], {}, [[1]], "NaN",
    1e-320,
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------------------------
# Pictures


def damaged_picture(rng: Rng, scene: Scene) -> Body:
    """Any format, damaged in any way."""
    names = list(scene.kinds)
    name = names[int(rng.integers(len(names)))]
    damage = _DAMAGES[int(rng.integers(len(_DAMAGES)))]
    photo = scene.photos[int(rng.integers(len(scene.photos)))]
    content, _ = damaged(scene.kinds[name](photo), name, damage, rng)
    return Body(content, {"Content-Type": f"image/{name.rpartition('.')[2]}"})


def odd_picture(rng: Rng, scene: Scene) -> Body:
    """Bombs, loops, and lies about a size."""
    return Body(scene.odd[int(rng.integers(len(scene.odd)))], {"Content-Type": "application/octet-stream"})


def noise(rng: Rng, scene: Scene) -> Body:
    """Random bytes, perhaps behind a picture's signature."""
    starts = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"II*\0", b"BM", b"P6\n")
    content = starts[int(rng.integers(len(starts)))] + rng.bytes(int(rng.integers(0, 3000)))
    return Body(content, {"Content-Type": "image/jpeg"}, ALL_ROUTES)


# ----------------------------------------------------------------------------------------------------------------------
# Honest bodies, changed


def changed(rng: Rng, scene: Scene) -> Body:
    """An honest body with bits flipped, cut, doubled, or with a piece of another inside."""
    makers = (scene.form, scene.document, scene.tensors)
    body = makers[int(rng.integers(3))](rng)
    content = bytearray(body.content)
    for _ in range(int(rng.integers(1, 6))):
        place, how = int(rng.integers(len(content))), int(rng.integers(5))
        length = int(rng.integers(1, 200))
        if how == 0:
            content[place] ^= 1 << int(rng.integers(8))
        elif how == 1:
            del content[place : place + length]
        elif how == 2:
            content[place:place] = content[place : place + length]
        elif how == 3:
            content[place:place] = scene.odd[int(rng.integers(len(scene.odd)))][:length]
        else:
            del content[max(1, place) :]
        if not content:
            break
    return Body(bytes(content), body.headers, body.routes)


def another_type(rng: Rng, scene: Scene) -> Body:
    """An honest body that claims to be something else."""
    makers = (scene.form, scene.document, scene.tensors)
    body = makers[int(rng.integers(3))](rng)
    kinds = (
        "application/json", "multipart/form-data", "multipart/form-data; boundary=", "image/png", "text/html", "",
        ";;=", "multipart/mixed; boundary=a", "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=" + "b" * 300,
        "image/", "application/json; charset=utf-7", "\xff\xfe", "multipart/form-data; boundary*=utf-8''%ff",
    )  # fmt: skip
    return Body(body.content, {**body.headers, "Content-Type": kinds[int(rng.integers(len(kinds)))]}, ALL_ROUTES)


# ----------------------------------------------------------------------------------------------------------------------
# Forms, JSON and base64


def broken_form(rng: Rng, scene: Scene) -> Body:
    """Boundaries that are not where they must be, parts without an end or a name."""
    picture, line = scene.picture(rng), f"--{BOUNDARY}\r\n".encode()
    named = b'Content-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    bodies: tuple[bytes, ...] = (
        line + named + picture,
        line + named + picture + end[:-6],
        named + picture + end,
        line + picture + end,
        line + b"Content-Disposition: form-data\r\n\r\n" + picture + end,
        line + b"Content-Disposition: form-data; name*=utf-8''%ff; filename*=''\r\n\r\n" + picture + end,
        line.replace(b"\r\n", b"\n") + named.replace(b"\r\n", b"\n") + picture + end,
        (line + named + b"\r\n") * 400 + end,
        line + b"X: y\r\n" * 50 + named + picture + end,
        line + b"X: " + b"y" * 100_000 + b"\r\n" + named + picture + end,
        line + b'Content-Disposition: form-data; name="metadata"\r\n\r\n{"a": ' + b"[" * 5000 + end,
        line + b'Content-Disposition: form-data; name="k"\r\n\r\n\xff\xfe' + end + line + named + picture + end,
        line * 50,
        end,
        b"preamble\r\n" * 100 + line + named + picture + end + b"epilogue" * 100,
        line + named + line + named + picture + end,
    )
    return Body(bodies[int(rng.integers(len(bodies)))], form_header(BOUNDARY))


def broken_json(rng: Rng, scene: Scene) -> Body:
    """Depth, size, numbers and letters that parsers stumble over."""
    depth = int(rng.integers(100, 60_000))
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    member = ("images", "image", "vector", "key", "k", "where", "uri", "label", "columns", "exact", "rerank")[
        int(rng.integers(11))
    ]
    texts = (
        b"[" * depth,
        b'{"image":' * depth,
        b'{"images": ' + b"[" * depth + b"]" * depth + b"}",
        b'{"vector": [NaN, Infinity, -Infinity]}',
        b'{"vector": [' + b"1e999," * 63 + b"1]}",
        b'{"vector": [' + b"0," * 200_000 + b"0]}",
        b'{"key": ' + b"9" * int(rng.integers(1, 5000)) + b"}",
        b'{"image": "\\ud800\\udc00\\ud800"}',
        b'{"image": "' + bytes(range(128, 256)) + b'"}',
        b'{"\\u0000": 1, "image": ""}',
        b'{"image": "", "image": []}',
        "\ufeff{}".encode(),
        '{"where": "1=1", "key": 1}'.encode("utf-16"),
        b"null",
        b'"' + b"a" * 100_000,
        json.dumps({member: number}).encode(),
        json.dumps({member: number, "image": base64.b64encode(scene.picture(rng)).decode()}).encode(),
        json.dumps({"key": 1, "where": _condition(rng)}).encode(),
        json.dumps({"image": "file:///etc/passwd"}).encode(),
        json.dumps({"images": ["http://127.0.0.1/"] * 3}).encode(),
    )
    return Body(texts[int(rng.integers(len(texts)))], {"Content-Type": "application/json"}, ALL_ROUTES)


def _condition(rng: Rng) -> str:
    conditions = (
        "1=1; DROP TABLE x", "(" * 3000, "key = 'a'", "width > 1e400", "uri LIKE '%' || repeat('a', 1000000)", "\0",
        "key IN (SELECT key)", "read_text('/etc/passwd') = ''", "width / 0 > 1", "NOT " * 1000 + "true",
        "label = '\ud7ff'",
    )  # fmt: skip
    return conditions[int(rng.integers(len(conditions)))]


def broken_base64(rng: Rng, scene: Scene) -> Body:
    """Pictures in what is nearly base64."""
    text = base64.b64encode(scene.picture(rng)).decode()
    place = int(rng.integers(len(text)))
    texts = (
        text[:place], text[:place] + "\n" + text[place:], text[:place] + "=" + text[place:], text + "====", "=" * 50,
        "data:image/png;base64," + text[:place], "data:text/html," + text, text[:place] + "é" + text[place:],
        "A" * place,
        base64.urlsafe_b64encode(scene.picture(rng)).decode(), "%" * place,
    )  # fmt: skip
    chosen = texts[int(rng.integers(len(texts)))]
    return json_body({"images": [chosen, text]} if rng.integers(2) else {"image": chosen})


# ----------------------------------------------------------------------------------------------------------------------
# Tensors


def lying_tensor(rng: Rng, scene: Scene) -> Body:
    """Sizes, shapes and lengths that are not what follows."""
    honest = scene.tensors(rng)
    length = int(honest.headers["Inference-Header-Content-Length"])
    document = json.loads(honest.content[:length])
    binary, entry = honest.content[length:], document["inputs"][0]
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    how = int(rng.integers(9))
    if how == 0:
        said = ("-1", "0", "99999999999999999999999", "1e3", " 7", str(length + 1), str(length - 1), "\xb2", "")
        return tensor_body(document, binary, said[int(rng.integers(len(said)))])
    if how == 1:
        entry["parameters"]["binary_data_size"] = number
    elif how == 2:
        shapes: tuple[object, ...] = ([2**62, 2], [-1], [0], [], [1] * 5000, [2**31, 2**31, 2**31], number, [number])
        entry["shape"] = shapes[int(rng.integers(len(shapes)))]
    elif how == 3:
        binary = (2**32 - 1).to_bytes(4, "little") + binary[4:]
    elif how == 4:
        binary = binary[: int(rng.integers(len(binary)))]
    elif how == 5:
        entry["datatype"] = ("UINT8", "FP32", "BOOL", "bytes", None, 7)[int(rng.integers(6))]
    elif how == 6:
        document["outputs"] = [{"name": "embedding", "parameters": {"binary_data": number}}, {"name": number}]
    elif how == 7:
        document = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 28, 28, 1], "data": [number] * 784}]}
    else:
        document["inputs"] *= int(rng.integers(2, 50))
    return tensor_body(document, binary)


# ----------------------------------------------------------------------------------------------------------------------
# What grows when it is unpacked


def packed(rng: Rng, scene: Scene) -> Body:
    """Archives, and bodies compressed: honest ones, broken ones, and bombs."""
    honest = scene.tensors(rng)
    zeros = bytes(_BOMB_BYTES)
    how = int(rng.integers(6))
    if how == 0:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.png", zeros[: _BOMB_BYTES // 4])
        return Body(file.getvalue(), {"Content-Type": "application/zip"}, ALL_ROUTES)
    encoding = ("gzip", "deflate", "br", "gzip, gzip", "identity", "x" * 100)[int(rng.integers(6))]
    pack: Callable[[bytes], bytes] = (
        zlib.compress if encoding == "deflate" else lambda data: gzip.compress(data, 6, mtime=0)
    )
    content = (honest.content, zeros, b'{"inputs":' + b"[" * 1_000_000, honest.content, zeros)[how - 1]
    squeezed = pack(content)
    if how == 4:
        squeezed = squeezed[: int(rng.integers(1, len(squeezed)))]
    elif how == 5:
        squeezed = gzip.compress(squeezed, mtime=0)
    return Body(squeezed, {**honest.headers, "Content-Encoding": encoding}, ("infer", "infer", *PICTURE_ROUTES))


MISCHIEF: dict[str, Callable[[Rng, Scene], Body]] = {
    "damaged picture": damaged_picture,
    "odd picture": odd_picture,
    "noise": noise,
    "changed": changed,
    "another type": another_type,
    "broken form": broken_form,
    "broken JSON": broken_json,
    "broken base64": broken_base64,
    "lying tensor": lying_tensor,
    "packed": packed,
}
