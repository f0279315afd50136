"""What the Open Inference Protocol's documents say of this service, and what OpenAPI says of its routes.

In: the model's card, the settings, the batcher's counts. Out: JSON objects. Beside the protocol's own they follow
Triton's extensions, since Triton's clients ask for them:
https://github.com/triton-inference-server/server/tree/main/docs/protocol (model_configuration, statistics).
"""

from __future__ import annotations

from typing import Any

from semblance import __version__
from semblance.inference.counts import Statistics
from semblance.inference.encoder import Encoder
from semblance.service.settings import Settings

INPUT, OUTPUT = "image", "embedding"
HEADER_LENGTH = "Inference-Header-Content-Length"
VERSION = "1"  # a model's file has one; Triton's clients send whole numbers only
EXTENSIONS = ["binary_tensor_data", "model_configuration", "statistics"]  # those that are here as a whole

SERVER: dict[str, Any] = {"name": "semblance", "version": __version__, "extensions": EXTENSIONS}


def of_model(encoder: Encoder) -> dict[str, Any]:
    """The protocol's model metadata."""
    card = encoder.card
    return {
        "name": card.name,
        "versions": [VERSION],
        "platform": _platform(encoder),
        "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, card.height, card.width, card.channels]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, card.dimension]}],
    }


def of_configuration(encoder: Encoder, settings: Settings) -> dict[str, Any]:
    """Triton's model configuration: what its clients read of it, without the first dimension as they expect it."""
    card = encoder.card
    return {
        "name": card.name,
        "platform": _platform(encoder),
        "backend": encoder.backend,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": settings.max_images,  # what one request may hold
        "input": [
            {
                "name": INPUT,
                "data_type": "TYPE_UINT8",
                "format": "FORMAT_NHWC",
                "dims": [card.height, card.width, card.channels],
            }
        ],
        "output": [{"name": OUTPUT, "data_type": "TYPE_FP32", "dims": [card.dimension]}],
        "dynamic_batching": {
            "preferred_batch_size": [min(settings.max_batch, encoder.max_batch)],
            "max_queue_delay_microseconds": round(1e3 * settings.max_delay_ms),
        },
    }


def of_statistics(encoder: Encoder, counts: Statistics) -> dict[str, Any]:
    """Triton's statistics, counted by image. A duration that is not measured is left out, not 0."""
    ended = sum(counts.outcomes.values())
    embedded = counts.outcomes.get("embedded", 0)
    num_batches = sum(counts.batch_sizes.values())
    return {
        "model_stats": [
            {
                "name": encoder.card.name,
                "version": VERSION,
                "inference_count": embedded,
                "execution_count": num_batches - counts.failed_batches,
                "inference_stats": {
                    "success": {"count": embedded},
                    "fail": {"count": ended - embedded},
                    "queue": _duration(ended, counts.queue_seconds),
                    "compute_input": _duration(ended, counts.decode_seconds),
                    "compute_infer": _duration(num_batches, counts.inference_seconds),
                },
                "batch_stats": [
                    {"batch_size": size, "compute_infer": {"count": count}}
                    for size, count in counts.batch_sizes.items()
                ],
            }
        ]
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": round(1e9 * seconds)}


def _platform(encoder: Encoder) -> str:
    return "openvino" if encoder.backend.startswith("openvino") else "onnxruntime_onnx"  # Triton's words


# ----------------------------------------------------------------------------------------------------------------------
# For /openapi.json

_JSON, _BYTES, _PROBLEM = "application/json", "application/octet-stream", "application/problem+json"
_ERRORS = {
    400: ("Not what the protocol says.", "malformed-tensor", "inputs[0] 'image': shape [2] is 2 elements, data has 3"),
    401: ("No token, or not the right one.", "unauthorized", "this service wants a token"),
    403: ("Not by this name, or from this page.", "forbidden", "this service is not known by that name"),
    404: ("No such model or version.", "unknown-model", "unknown model 'resnet'; this service has: siamese"),
    408: ("It did not come to its end in time.", "request-timeout", "the request took too long to arrive"),
    413: (
        "Too many bytes, pixels or pictures.",
        "tensor-too-large",
        "input 'image' has 300 pictures, the limit is 256",
    ),
    414: ("The address is too long.", "uri-too-long", "the request's target is longer than 8192 bytes"),
    415: ("A compression that is not taken.", "unsupported-encoding", "Content-Encoding 'br' is not taken"),
    422: ("A picture that cannot be used.", "unusable-picture", "picture 3: 17 bytes: no picture of a known format"),
    429: (
        "More is pending than may be.",
        "overloaded",
        "1,024 images are pending, which is all that may be; ask again",
    ),
    431: (
        "The headers are too many, or too long.",
        "headers-too-large",
        "a request may have 128 headers and trailers, of 65536 bytes together",
    ),
    503: ("Starting, stopping, or the model failed.", "draining", "the service is stopping; ask again"),
    504: ("The deadline passed first.", "deadline-exceeded", "the deadline passed before the image was embedded"),
}
_OPEN, _ALL = (
    (400, 403, 414, 431),
    (400, 401, 403, 408, 414, 431),
)  # what any request may be told, without a token and with one


def answers(
    description: str, example: object, *statuses: int, is_open: bool = False
) -> dict[int | str, dict[str, Any]]:
    """An operation's `responses`: 200 with an example, and what else it may answer."""
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": description, "content": {_JSON: {"schema": {}, "example": example}}}
    }
    for status in sorted({*(_OPEN if is_open else _ALL), *statuses}):
        summary, name, detail = _ERRORS[status]
        document = {
            "type": f"urn:semblance:problem:{name}", "title": name.replace("-", " ").capitalize(), "status": status,
            "detail": detail, "error": detail,
        }  # fmt: skip
        problem = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": document}
        found[status] = {"description": summary, "content": {_PROBLEM: problem}}
    return found


MODEL_EXAMPLE = {
    "name": "siamese", "versions": [VERSION], "platform": "onnxruntime_onnx",
    "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, 28, 28, 1]}],
    "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 64]}],
}  # fmt: skip

_ANSWER_EXAMPLE = {
    "model_name": "siamese", "model_version": VERSION, "id": "42",
    "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [1, 3], "data": [0.6, 0.0, 0.8]}],
}  # fmt: skip

_TENSOR_SCHEMA = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"const": INPUT},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 8},
        "datatype": {"enum": ["UINT8", "BYTES"]},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
}
_REQUEST_SCHEMA = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR_SCHEMA, "minItems": 1, "maxItems": 1},
        "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    },
}
_REQUEST_EXAMPLES = {
    "pixels": {
        "summary": "Pixels, of the model's size or any other",
        "value": {
            "id": "42",
            "inputs": [{"name": INPUT, "shape": [1, 2, 2, 1], "datatype": "UINT8", "data": [0, 80, 160, 255]}],
        },
    },
    "encoded": {
        "summary": "An encoded picture; 1 second at most",
        "value": {
            "inputs": [
                {
                    "name": INPUT, "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"},
                    "data": [
                        "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVQIHWNkCGBcEA8AAu4BUr4lvWsAAAAASUVORK5CYII="
                    ],
                }
            ],
            "parameters": {"timeout": 1_000_000},
        },
    },
}  # fmt: skip

INDEX_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {
            _JSON: {
                "schema": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
                "example": {"ready": True},
            }
        },
    }
}

_INFER_PARAMETER = {
    "name": HEADER_LENGTH,
    "in": "header",
    "description": "How many of the body's first bytes are JSON, where binary data follows; 0: the body is one "
    "picture's pixels, and nothing else.",
    "schema": {"type": "integer", "minimum": 0},
}


def path_parameters(path: str) -> list[dict[str, Any]]:
    """What `path` has in braces, as an operation's `parameters`."""
    examples = {"model": "siamese", "version": VERSION}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in examples.items()
        if f"{{{name}}}" in path
    ]


def infer(named: list[dict[str, Any]]) -> dict[str, Any]:
    """The inference operation's parameters, after those of its path, and its body."""
    content = {
        _JSON: {"schema": _REQUEST_SCHEMA, "examples": _REQUEST_EXAMPLES},
        _BYTES: {"schema": {"type": "string", "format": "binary"}},
    }
    return {"parameters": [*named, _INFER_PARAMETER], "requestBody": {"required": True, "content": content}}


INFER_ANSWERS = answers("The embeddings, float32 [N, D].", _ANSWER_EXAMPLE, *_ERRORS)
INFER_ANSWERS[200]["content"][_BYTES] = {"schema": {"type": "string", "format": "binary"}}
INFER_ANSWERS[200]["headers"] = {
    HEADER_LENGTH: {"description": "Where binary data follows the JSON.", "schema": {"type": "integer"}}
}
