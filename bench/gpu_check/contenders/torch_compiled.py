"""PyTorch at its best: torchvision's network in fp16, channels last, compiled, replayed as CUDA graphs.

Both modes use CUDA graphs; max-autotune also times kernels against each other while it compiles. Images come from
pinned host memory and embeddings go back to it. Weights are random: they do not change the speed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.gpu_check.contenders import Calls, Images, Job, Unfit

PACKAGES = ("torch", "torchvision")
VARIANTS = {
    "PyTorch reduce-overhead": {"mode": "reduce-overhead"},
    "PyTorch max-autotune": {"mode": "max-autotune"},
}
ENVIRONMENT: dict[str, str] = {}

# Of a model's card -> of torchvision, and the name of its last layer there
NETWORKS = {"resnet101": ("resnet101", "fc"), "resnet50": ("resnet50", "fc")}


def load(job: Job) -> Callable[[Images], Calls]:
    """Raises Unfit for a network that torchvision has not, and where PyTorch sees no GPU."""
    if job.architecture not in NETWORKS:
        raise Unfit(f"torchvision has no {job.architecture}")
    import torch

    if not torch.cuda.is_available():
        raise Unfit(f"torch {torch.__version__} sees no GPU")
    torch.backends.cudnn.benchmark = True
    embed = _network(job, torch)

    def prepare(images: Images) -> Calls:
        torch.compiler.reset()  # else it stops to compile, in silence, after a few batch sizes
        compiled = torch.compile(embed, mode=job.options["mode"], dynamic=False)
        given = torch.from_numpy(images).pin_memory()
        on_device = given.to("cuda")
        with torch.no_grad():
            shape = compiled(on_device).shape  # no embedding is kept: it lies in the graph's own memory
        result = torch.empty(shape, dtype=torch.float32, pin_memory=True)

        def with_copies() -> Any:
            with torch.no_grad():
                result.copy_(compiled(given.to("cuda", non_blocking=True)), non_blocking=True)
            torch.cuda.synchronize()
            return result.numpy()

        def without_copies() -> None:
            with torch.no_grad():
                compiled(on_device)
            torch.cuda.synchronize()

        return Calls(with_copies, without_copies, "fp16", torch.get_num_threads())

    return prepare


def _network(job: Job, torch: Any) -> Callable[[Any], Any]:
    """[N, H, W, 3] uint8 on the device -> [N, D] float32 of unit length."""
    import torchvision

    name, last = NETWORKS[job.architecture]
    network = getattr(torchvision.models, name)(weights=None)
    setattr(network, last, torch.nn.Identity())
    for block in network.modules():
        if hasattr(block, "bn3"):  # random sums over all blocks would outgrow what a half holds
            torch.nn.init.constant_(block.bn3.weight, 0.2)

    class Embed(torch.nn.Module):  # type: ignore[misc]  # torch is whatever is installed
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Any) -> Any:
            # the same memory seen as channels last, which is what it is
            data = images.permute(0, 3, 1, 2).to(torch.float16)
            return torch.nn.functional.normalize(self.network((data - 115.0) / 58.0).float(), dim=1)

    embed: Callable[[Any], Any] = Embed().eval().to("cuda", dtype=torch.float16, memory_format=torch.channels_last)
    return embed
