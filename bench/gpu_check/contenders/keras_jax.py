"""Keras on JAX: the application's network in bfloat16 or fp16, as one jitted function.

Weights are random: they do not change the speed. JAX takes device memory as it needs it, not three quarters at once,
since the others live beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.gpu_check.contenders import Calls, Images, Job, Unfit

PACKAGES = ("keras", "jax")
VARIANTS = {"Keras on JAX bf16": {"type": "bfloat16"}, "Keras on JAX fp16": {"type": "float16"}}
ENVIRONMENT = {"KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}

# Of a model's card -> of keras.applications
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet101": ("ResNet101", {}),
    "resnet50": ("ResNet50", {}),
    "mobilenet_0.75": ("MobileNet", {"alpha": 0.75}),
}


def load(job: Job) -> Callable[[Images], Calls]:
    """Raises Unfit for a network that is not among them, and where JAX sees no GPU."""
    if job.architecture not in NETWORKS:
        raise Unfit(f"keras.applications has no {job.architecture}, or it is not in the table")
    import jax

    if jax.default_backend() != "gpu":
        raise Unfit(
            f"jax {jax.__version__} runs on {jax.default_backend()}: pip install 'jax[cuda13]' or 'jax[cuda12]'"
        )
    embed = jitted(job.architecture, job.shape, job.options["type"])

    def prepare(images: Images) -> Calls:
        on_device = jax.device_put(images)

        def with_copies() -> Any:
            return np.asarray(embed(jax.device_put(images)))

        def without_copies() -> None:
            embed(on_device).block_until_ready()

        return Calls(with_copies, without_copies, {"bfloat16": "bf16", "float16": "fp16"}[job.options["type"]], 1)

    return prepare


def jitted(architecture: str, shape: tuple[int, int, int], dtype: str) -> Callable[[Any], Any]:
    """[N, H, W, 3] uint8 -> [N, D] float32 of unit length."""
    import jax
    import keras
    from jax import numpy as jnp

    keras.config.set_dtype_policy(dtype)
    builder, options = NETWORKS[architecture]
    build = getattr(keras.applications, builder)
    network = build(weights=None, include_top=False, pooling="avg", input_shape=tuple(shape), **options)
    for layer in network.layers:
        if layer.name.endswith("_3_bn"):  # random sums over all blocks would outgrow what a half holds
            layer.gamma.assign(np.full(layer.gamma.shape, 0.2))
    weights = [each.value for each in network.trainable_variables]
    others = [each.value for each in network.non_trainable_variables]

    def embed(weights: Any, others: Any, images: Any) -> Any:
        data = (images.astype(dtype) - 115) / 58
        features, _ = network.stateless_call(weights, others, data, training=False)
        features = features.astype(jnp.float32)
        return features / jnp.maximum(jnp.linalg.norm(features, axis=1, keepdims=True), 1e-12)

    compiled = jax.jit(embed)
    return lambda images: compiled(weights, others, images)
