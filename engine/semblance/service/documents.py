"""What the API's description (OpenAPI) says beyond the types of parameters: bodies, answers and examples.

Bodies are read by bodies.py, as bytes within limits, before anything is made of them; so the description says here what
a framework would else derive from models of whole bodies.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi.routing import APIRoute

_PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_WHOLE = {"type": "integer"}
_TRUTH = {"type": "boolean"}
_BASE64 = {"type": "string", "contentEncoding": "base64", "description": "An encoded picture; no address is fetched."}
_KEY = {"type": "integer", "format": "int64"}

Responses = dict[int | str, dict[str, Any]]


def operation_id(route: APIRoute) -> str:
    """What clients made from the description call an operation: its address, whatever its function is called."""
    assert route.methods is not None
    (method,) = route.methods
    return "_".join([method.lower(), *re.findall(r"\w+", route.path)])


def _problem(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"type": _TEXT, "title": _TEXT, "status": _WHOLE, "detail": _TEXT, "instance": _TEXT},
}

# what may be said of any request before it comes to its route
UNREADABLE: Responses = {
    414: _problem("The address is too long."),
    431: _problem("The headers are too many, or too long."),
}
_COMMON: Responses = {
    **UNREADABLE,
    400: _problem("Not of the form it claims."),
    401: _problem("No token, or not the right one."),
    403: _problem("Not by this name, from this page, or not here."),
    408: _problem("The request did not come to its end in time."),
    413: _problem("Too many bytes, pixels or pictures."),
    415: _problem("A form that is not taken."),
    422: _problem("Understood, and not to be answered: a picture that is none, a condition that is none."),
    429: _problem("More is pending than may be; `Retry-After` says when to ask again."),
    503: _problem("Starting, stopping, or the model or the gallery failed."),
    504: _problem("The deadline passed first."),
}
_NOT_FOUND: Responses = {404: _problem("No such picture, or none that may be shown.")}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


def _exactly(schema: dict[str, Any]) -> dict[str, Any]:
    """Of a request: a member that nobody knows is refused, since it may be a misspelt one."""
    return {**schema, "additionalProperties": False}


def _array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _json(schema: Any, example: Any) -> dict[str, Any]:
    return {"application/json": {"schema": schema, "example": example}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


_PICTURE_FORMS = {"image/*": _BINARY, "application/octet-stream": _BINARY}
_ONE_FILE = {
    "multipart/form-data": {"schema": _object(("image",), image={"type": "string", "format": "binary"})},
}

TIMEOUT_TEXT = "Milliseconds that the answer may take; else 504."
_TIMEOUT = {
    "name": "timeout_ms",
    "in": "query",
    "required": False,
    "description": TIMEOUT_TEXT,
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
PICTURES = {"parameters": [_TIMEOUT]} | _body(
    {
        **_PICTURE_FORMS,
        "multipart/form-data": {
            "schema": _object(("images",), images=_array({"type": "string", "format": "binary"})),
        },
        **_json(_exactly(_object(("images",), images={**_array(_BASE64), "minItems": 1})), {"images": [_PIXEL_PNG]}),
    }
)
_TIMING = _object(queue=_NUMBER, decode=_NUMBER, inference=_NUMBER, search=_NUMBER, total=_NUMBER)
EMBED: Responses = {
    200: {
        "description": "A vector for each picture.",
        "content": {
            **_json(
                _object(
                    ("embeddings",),
                    model=_TEXT, precision=_TEXT, fingerprint=_TEXT, dimension=_WHOLE, metric=_TEXT,
                    embeddings=_array({"type": ["array", "null"], "items": _NUMBER}),
                    errors=_array({"$ref": "#/components/schemas/Problem"}),
                    timing_ms=_TIMING,
                ),
                {
                    "model": "siamese", "precision": "fp32", "fingerprint": "6f0c...", "dimension": 3, "metric": "cos",
                    "embeddings": [[0.6, 0.0, 0.8]], "errors": [],
                    "timing_ms": {"queue": 0.1, "decode": 0.1, "inference": 0.2, "total": 0.6},
                },
            ),
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary", "description": "float32 [N, D], little-endian"}
            },
        },
    },
    **_COMMON,
}  # fmt: skip

_SEARCH_MEMBERS: dict[str, Any] = {
    "k": {"type": "integer", "minimum": 1},
    "where": _TEXT,
    "exact": _TRUTH,
    "rerank": {"enum": ["sift", None]},
    "shortlist": {"type": "integer", "minimum": 1},
    "timeout_ms": {"type": "number", "exclusiveMinimum": 0},
}
QUERY = _body(
    {
        **_PICTURE_FORMS,
        **_ONE_FILE,
        **_json(
            {
                "oneOf": [
                    _exactly(_object(("image",), image=_BASE64, **_SEARCH_MEMBERS)),
                    _exactly(_object(("vector",), vector=_array(_NUMBER), **_SEARCH_MEMBERS)),
                    _exactly(_object(("key",), key=_KEY, **_SEARCH_MEMBERS)),
                ]
            },
            {"key": 7, "k": 5, "where": "label = 'chair'"},
        ),
    }
)
SEARCH: Responses = {
    200: {
        "description": "Neighbours, nearest first; with rerank, most inliers first.",
        "content": _json(
            _object(
                ("neighbours",),
                query=_object(), metric=_TEXT,
                neighbours=_array(
                    _object(
                        key=_KEY, uri=_TEXT, label={"type": ["string", "null"]}, distance=_NUMBER,
                        thumbnail={"type": ["string", "null"]}, matches=_WHOLE, inliers=_WHOLE,
                    )
                ),
                gallery=_object(name=_TEXT, images=_WHOLE),
                timing_ms=_TIMING,
            ),
            {
                "query": {"key": 7}, "metric": "cos",
                "neighbours": [
                    {"key": 7, "uri": "chair/7.jpg", "label": "chair", "distance": 0.0, "thumbnail": "/v1/images/7"}
                ],
                "gallery": {"name": "photos.gallery", "images": 4370},
                "timing_ms": {"queue": 0.0, "decode": 0.0, "inference": 0.0, "search": 0.4, "total": 0.6},
            },
        ),
    },
    **_COMMON,
    **_NOT_FOUND,
}  # fmt: skip

_FACTS = _object(
    key=_KEY, created=_TRUTH, uri=_TEXT, label={"type": ["string", "null"]}, sha256=_TEXT, width=_WHOLE,
    height=_WHOLE, columns=_object(), thumbnail={"type": ["string", "null"]},
)  # fmt: skip
_FACTS_EXAMPLE = {
    "key": 7, "created": True, "uri": "upload/7", "label": "chair", "sha256": "9f86d0...", "width": 640, "height": 480,
}  # fmt: skip
ONE_PICTURE = _body(
    {
        **_PICTURE_FORMS,
        **_ONE_FILE,
        **_json(
            _exactly(_object(("image",), image=_BASE64, uri=_TEXT, label=_TEXT, columns=_object())),
            {"image": _PIXEL_PNG, "label": "chair", "columns": {}},
        ),
    }
)
PUT: Responses = {
    200: {
        "description": "It took the place of another.",
        "content": _json(_FACTS, {**_FACTS_EXAMPLE, "created": False}),
    },
    201: {"description": "The key is new.", "content": _json(_FACTS, _FACTS_EXAMPLE)},
    **_COMMON,
    404: _problem("No gallery is served."),
}
DELETE: Responses = {204: {"description": "It is gone."}, **_COMMON, **_NOT_FOUND}
SHOW: Responses = {
    200: {
        "description": "The picture, small; or what is known of it.",
        "content": {
            "image/jpeg": _BINARY,
            "image/png": _BINARY,
            **_json(_FACTS, {**_FACTS_EXAMPLE, "columns": {}, "thumbnail": "/v1/images/7"}),
        },
    },
    304: {"description": "As the client has it."},
    **_COMMON,
    **_NOT_FOUND,
}
OTHER = _body({**_PICTURE_FORMS, **_ONE_FILE, **_json(_exactly(_object(("key",), key=_KEY)), {"key": 8})})
MATCHES: Responses = {
    200: {
        "description": "Both pictures with lines between what matches.",
        "headers": {
            "X-Semblance-Matches": {"schema": _WHOLE, "description": "How many keypoints matched."},
            "X-Semblance-Inliers": {"schema": _WHOLE, "description": "How many of them one geometry explains."},
        },
        "content": {"image/png": _BINARY},
    },
    **_COMMON,
    **_NOT_FOUND,
}
INFO: Responses = {
    200: {
        "description": "The model, the gallery, the limits.",
        "content": _json(
            _object(
                ("name", "version", "model", "gallery", "limits", "batch"),
                name=_TEXT, version=_TEXT,
                model=_object(
                    name=_TEXT, precision=_TEXT, dimension=_WHOLE, metric=_TEXT, fingerprint=_TEXT,
                    input=_object(height=_WHOLE, width=_WHOLE, channels=_WHOLE), backend=_TEXT, description=_TEXT,
                ),
                gallery={
                    **_object(
                        name=_TEXT, images=_WHOLE, columns={"type": "object", "additionalProperties": _TEXT},
                        has_keypoints=_TRUTH, has_thumbnails=_TRUTH, is_writable=_TRUTH,
                    ),
                    "type": ["object", "null"],
                },
                limits={"type": "object", "additionalProperties": _NUMBER},
                batch=_object(max_batch=_WHOLE, max_delay_ms=_NUMBER),
            ),
            {
                "name": "semblance", "version": "0.1.0",
                "model": {
                    "name": "siamese", "precision": "fp32", "dimension": 64, "metric": "cos",
                    "fingerprint": "6f0c...", "input": {"height": 28, "width": 28, "channels": 1}, "backend": "cpu",
                    "description": "onnxruntime 1.31.1, CPUExecutionProvider, 2 threads",
                },
                "gallery": {
                    "name": "photos.gallery", "images": 4370, "columns": {"taken": "timestamp[s]"},
                    "has_keypoints": True, "has_thumbnails": True, "is_writable": True,
                },
                "limits": {
                    "body_bytes": 33554432, "images": 256, "pixels": 50000000, "pending_images": 1024, "k": 1000,
                    "timeout_ms": 30000.0,
                },
                "batch": {"max_batch": 32, "max_delay_ms": 2.0},
            },
        ),
    },
    **_COMMON,
}  # fmt: skip


def _status(example: str) -> dict[str, Any]:
    return _json(_object(("status",), status=_TEXT), {"status": example})


HEALTH: Responses = {
    200: {"description": "Yes.", "content": _status("ready")},
    503: {"description": "Not now.", "content": _status("draining")},
    400: _problem("Not of the form it claims."),
    403: _problem("Not by this name, or from this page."),
    **UNREADABLE,
}
