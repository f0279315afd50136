"""Minutes at twice what the service can do, with everything that clients do wrong, and a SIGKILL in the middle.

In: a model, minutes, limits. Out: a line for each thing that must hold, what was asked and what was found, beside all
figures. One process serves (`semblance serve`), one loads, and this one watches, kills and starts again. First the
capacity is measured, in a closed loop of good pictures; then requests come at twice that rate whether they are answered
or not, 5 % of them bad pictures and 5 % from clients that hang up, beside connections that drip, writes and searches.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from bench.service.load import Piece, Plan, Seen
from bench.service.pictures import Pictures, bad_pictures, card_of, model_file, pictures_for
from bench.service.processes import Helper
from bench.service.serving import COMMAND, Serving
from bench.service.soak_checks import Run, all_hold, checks
from bench.service.soak_load import Soak, Soaked, Verify, work
from bench.service.watch import Watch
from bench.service.wire import RAW, embed_request, request
from bench.service.writes import Known
from semblance.errors import BackendError
from semblance.gallery.gallery import VectorGallery
from semblance.inference.encoder import Encoder
from semblance.search import Gallery

_BAD_SHARE = _HANG_UP_SHARE = 0.05
_TIMES_CAPACITY = 2.0
_PATIENCE_S = 600.0  # for what is under way at the end
_REST_S = 1.0  # until a server that is asked nothing has counted all


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How long and how hard."""

    model: str = "mobilenet.int8"
    seconds: float = 600.0
    capacity_s: float = 20.0
    threads: int = 2
    backend: str = "auto"
    max_pending_images: int = 64
    num_pictures: int = 512
    longer_px: int = 320  # of photographs
    num_dripping: int = 20
    drip_interval_s: float = 0.25
    writes_per_s: float = 4.0
    searches_per_s: float = 4.0
    settled_s: float = 60.0  # of each life, after which memory counts
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    is_killed: bool = True
    most_per_s: float = float("inf")  # offered, where twice the capacity would be more
    extra: tuple[str, ...] = ()  # further options of the server
    seed: int = 0
    command: Sequence[str] = field(default=COMMAND)

    @property
    def flags(self) -> list[str]:
        """Of the server, beside the gallery and the model."""
        return [
            "--threads", str(self.threads), "--backend", self.backend,
            "--max-pending-images", str(self.max_pending_images),
            "--max-images", str(min(256, self.max_pending_images)),
            "--header-timeout-s", str(self.header_timeout_s), "--body-timeout-s", str(self.body_timeout_s),
            *self.extra,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a soak is about: pictures of three uses, and a gallery of the third."""

    embedded: Pictures
    written: list[Known]
    searched: list[tuple[bytes, int]]
    nearness: float
    gallery: Path


def soak(asked: Asked) -> dict[str, Any]:
    """The document. Raises BackendError, SourceError."""
    file = model_file(asked.model)
    with _folder() as folder:
        scene = _scene(asked, file, folder)
        arguments = [str(scene.gallery), "--model", str(file), *asked.flags]
        with (
            Serving(arguments, log=folder / "server.log", command=asked.command) as serving,
            Helper(work, name="client") as client,
            Watch(serving) as watch,
        ):
            found = _soak(asked, scene, serving, client, watch, folder)
    lines = checks(found)
    return {
        "model": file.name,
        "threads": asked.threads,
        "pictures": scene.embedded.described,
        "tolerance": scene.embedded.tolerance,
        "seconds": asked.seconds,
        "max_pending_images": asked.max_pending_images,
        "flags": asked.flags,
        "checks": [each.document() for each in lines],
        "figures": found.figures(),
        "holds": all_hold(lines),
    }


def _soak(asked: Asked, scene: _Scene, serving: Serving, client: Helper, watch: Watch, folder: Path) -> Run:
    good = _good(scene.embedded)
    plan = Plan(
        port=serving.port,
        groups=((1.0, good),),
        seconds=asked.capacity_s,
        tolerance=scene.embedded.tolerance,
        concurrency=asked.max_pending_images,
    )
    # 1) What it can do
    capacity: Seen = client.ask(plan)
    capacity_per_s = capacity.images_per_s()
    if not capacity_per_s:
        raise BackendError(f"nothing was embedded: statuses {sorted(set(capacity.status.tolist()))}")
    time.sleep(_REST_S)
    at_rest = [watch.read_figures()]
    # 2) Twice that
    rate_per_s = min(asked.most_per_s, _TIMES_CAPACITY * capacity_per_s)
    client.begin(_load(asked, scene, serving.port, good, rate_per_s, folder / "journal.jsonl"))
    outage = None
    if asked.is_killed:
        client.is_done(asked.seconds / 2)
        watch.ended()
        killed = time.monotonic()
        serving.kill()
        serving.start()
        watch.began()
        outage = (killed, time.monotonic())
    soaked: Soaked = client.outcome(asked.seconds + _PATIENCE_S)
    # 3) What is left
    time.sleep(_REST_S)
    verified, asked_at_end = client.ask(Verify(serving.port))
    time.sleep(_REST_S)
    at_rest.append(watch.read_figures())
    is_alive = serving.is_alive
    watch.ended()
    return Run(
        capacity=capacity,
        soaked=soaked,
        outage=outage,
        verified=verified,
        asked_at_end=asked_at_end,
        lives=watch.lives,
        at_rest=at_rest,
        exit_status=serving.stop() if is_alive else None,
        rate_per_s=rate_per_s,
        settled_s=asked.settled_s,
        limits_s={"headers": asked.header_timeout_s, "body": asked.body_timeout_s} if asked.num_dripping else {},
    )


# ----------------------------------------------------------------------------------------------------------------------
# What is sent


def _good(pictures: Pictures) -> tuple[Piece, ...]:
    return tuple(
        Piece(embed_request([each]), "good", 1, pictures.expected([number]))
        for number, each in enumerate(pictures.encoded)
    )


def _load(asked: Asked, scene: _Scene, port: int, good: tuple[Piece, ...], rate_per_s: float, journal: Path) -> Soak:
    headers = {"Content-Type": RAW, "Accept": RAW}
    bad = tuple(
        Piece(request("POST", "/v1/embed", content, headers), "bad" if content else "empty")
        for content in bad_pictures(scene.embedded.encoded[0]).values()
    )
    return Soak(
        plan=Plan(
            port=port,
            groups=((1 - _BAD_SHARE, good), (_BAD_SHARE, bad)),
            seconds=asked.seconds,
            tolerance=scene.embedded.tolerance,
            rate_per_s=rate_per_s,
            seed=asked.seed,
        ),
        hang_up_share=_HANG_UP_SHARE,
        num_dripping=asked.num_dripping,
        drip_interval_s=asked.drip_interval_s,
        writes_per_s=asked.writes_per_s,
        searches_per_s=asked.searches_per_s,
        known=scene.written,
        searched=scene.searched,
        nearness=scene.nearness,
        journal=journal,
    )


def _scene(asked: Asked, model: Path, folder: Path) -> _Scene:
    pictures = pictures_for(
        model, asked.num_pictures, backend=asked.backend, threads=asked.threads, longer_px=asked.longer_px
    )
    third = len(pictures) // 3
    in_gallery, written = range(third), range(third, 2 * third)
    source = folder / "pictures"
    source.mkdir()
    for number in in_gallery:
        (source / f"{number:05d}.jpg").write_bytes(pictures.encoded[number])
    encoder = Encoder.load(model, backend=asked.backend, threads=asked.threads, max_batch=32, spinning=False)
    Gallery.build(source, encoder, folder / "gallery")
    vectors = VectorGallery.open(folder / "gallery")
    keys = {uri: int(key) for uri, key in zip(vectors.uris, vectors.keys, strict=True)}
    lengths = float(np.linalg.norm(pictures.vectors, axis=1).max())
    return _Scene(
        embedded=pictures,
        written=[Known(content, sha256(content).hexdigest()) for content in (pictures.encoded[n] for n in written)],
        searched=[(pictures.encoded[number], keys[f"{number:05d}.jpg"]) for number in in_gallery],
        nearness=1e-5 * (lengths**2 if card_of(model).metric == "l2sq" else 1.0),
        gallery=folder / "gallery",
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="semblance-soak-", ignore_cleanup_errors=True) as name:
        yield Path(name)
