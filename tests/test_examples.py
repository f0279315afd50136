"""The examples, run as whoever copies them would run them."""

from __future__ import annotations

import asyncio
import importlib.util
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from semblance import Encoder
from semblance.errors import InputError
from semblance.service.settings import Settings
from semblance.service.sources import load as load_settings

_ROOT = Path(__file__).parents[1]
_EXAMPLES = _ROOT / "examples"
MOST = 2e-6  # of a coordinate, as an image's embedding may differ between batches


def pictures(folder: Path, num: int) -> list[Path]:
    """PNG files of noise, all different."""
    folder.mkdir()
    paths = [folder / f"{number:03}.png" for number in range(num)]
    for number, path in enumerate(paths):
        pixels = np.random.default_rng(number).integers(0, 256, (28 + number % 3, 28), dtype=np.uint8)
        cv2.imwrite(str(path), pixels)
    return paths


def vectors(paths: list[Path]) -> NDArray[np.float32]:
    """The plain reference: each picture by itself, [N, D]."""
    encoder = Encoder.load("siamese")
    return np.concatenate([encoder.embed([path]) for path in paths])


def load(name: str) -> Any:
    """An example as a module; it is no part of a package."""
    spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: str, cwd: Path) -> str:
    command = [sys.executable, str(_EXAMPLES / f"{name}.py"), *arguments]
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_readme_shows_the_service_as_it_is() -> None:
    section = (_ROOT / "README.md").read_text().partition("\n## Into a service\n")[2]
    assert section, "README has no section 'Into a service'"
    block = section.partition("```python\n")[2].partition("```")[0]
    assert block == (_EXAMPLES / "fastapi_app.py").read_text()


def test_the_service_answers_many_at_once_each_with_its_own_vector(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 60)
    app = load("fastapi_app").app

    async def main() -> list[httpx.Response]:
        async with app.router.lifespan_context(app), client_of(app) as client:
            return await asyncio.gather(*(client.post("/embed", content=path.read_bytes()) for path in paths))

    responses = asyncio.run(main())
    assert [response.status_code for response in responses] == [200] * len(paths)
    found = np.array([response.json() for response in responses], np.float32)
    assert np.abs(found - vectors(paths)).max() <= MOST


def test_the_service_tells_what_is_wrong_in_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = pictures(tmp_path / "photos", 1)
    app = load("fastapi_app").app
    gate = threading.Event()

    async def main() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        async with app.router.lifespan_context(app), client_of(app) as client:
            bad = await client.post("/embed", content=b"no picture")
            encoder = app.state.batcher._encoder
            run = encoder.run
            monkeypatch.setattr(encoder, "run", lambda images: run(images) if gate.wait(60) else None)
            try:
                app.state.batcher.submit_many(np.zeros((1024, 28, 28), np.uint8))
                overloaded = await client.post("/embed", content=path.read_bytes())
            finally:
                gate.set()
            while app.state.batcher.statistics().pending_images:
                await asyncio.sleep(0.001)
            return bad, overloaded, await client.post("/embed", content=path.read_bytes())

    bad, overloaded, good = asyncio.run(main())
    assert (bad.status_code, overloaded.status_code, good.status_code) == (422, 429, 200)
    assert "expected an image file" in bad.json()["detail"]
    assert overloaded.headers["retry-after"] == "1"


def client_of(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test")


def test_the_script_finds_a_picture_among_others(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 12)
    for _ in range(2):  # the second time the gallery is there already
        lines = run("plain_script", "photos", str(paths[7]), cwd=tmp_path).splitlines()
        assert len(lines) == 5
        assert lines[0].split() == ["0.0000", "007.png"]


def test_the_workers_embed_every_job_and_mark_the_bad_ones(tmp_path: Path) -> None:
    paths = pictures(tmp_path / "photos", 90)
    (tmp_path / "photos" / "bad.png").write_bytes(b"no picture")
    folders = [tmp_path / f"album{number}" for number in range(8)]  # more than there are workers
    for folder in folders:
        folder.mkdir()
    results = load("worker_thread").run([*folders, *paths, tmp_path / "photos" / "bad.png"], num_workers=6)
    assert results.pop("bad.png").startswith("ImageError: ")
    assert all(isinstance(results.pop(folder.name), str) for folder in folders)
    found = np.array([results.pop(path.name) for path in paths], np.float32)
    assert results == {}
    assert np.abs(found - vectors(paths)).max() <= MOST
    lines = run("worker_thread", "photos", cwd=tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == [*(path.name for path in paths), "bad.png"]


# ----------------------------------------------------------------------------------------------------------------------
# What is not built here: that it says nothing that the service does not know


def settings_of(environ: dict[str, str]) -> Settings:
    settings, _ = load_settings({"model": "siamese"}, environ, None)
    return settings


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_the_dockerfile_names_what_there_is(kind: str) -> None:
    text = (_EXAMPLES / f"{kind}.Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert copied
    assert all((_ROOT / name).exists() for name in copied)
    extras = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"'/src\[(.+)\]'", text)
    assert set(asked.split(",")) <= set(extras)
    environ = dict(re.findall(r"(SEMBLANCE_SERVE_\w+)=(\S+)", text.partition("FROM")[2]))
    settings = settings_of({**environ, "SEMBLANCE_SERVE_TOKEN": "x" * 16})
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)
    with pytest.raises(InputError, match="there is no token"):
        settings_of(environ)


def test_the_kubernetes_manifest_probes_and_waits_as_the_service_does() -> None:
    stateful, service = yaml.safe_load_all((_EXAMPLES / "kubernetes.yaml").read_text())
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environ = {each["name"]: each["value"] for each in container["env"]}
    settings = settings_of({**environ, "SEMBLANCE_SERVE_HOST": "0.0.0.0"})
    assert pod["terminationGracePeriodSeconds"] > settings.drain_delay_s + 2 * settings.drain_s
    paths = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"/readyz", "/healthz"}
    mounted = {each["name"] for each in container["volumeMounts"]}
    claimed = {each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]}
    assert mounted == claimed | {each["name"] for each in pod["volumes"]}
    assert service["spec"]["selector"] == stateful["spec"]["selector"]["matchLabels"]
