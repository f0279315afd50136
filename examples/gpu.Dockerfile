# The service on NVIDIA GPUs: CUDA 13 and cuDNN 9 come as wheels, the driver from the host by its container toolkit.
#   docker build -f examples/gpu.Dockerfile -t semblance:gpu .
#   docker run --rm --hostname semblance --gpus all -p 8000:8000 -e SEMBLANCE_SERVE_TOKEN=... -v $PWD/photos.gallery:/gallery semblance:gpu /gallery
# The fixed name is for the gallery's lock: that of a container that was killed is then known to be its own.
FROM python:3.12-slim

COPY constraints.txt pyproject.toml README.md LICENSE /src/
COPY engine /src/engine
RUN python -m pip install --no-cache-dir -c /src/constraints.txt '/src[gpu,serve]' \
    && rm -rf /src \
    && useradd --create-home --uid 10001 semblance

USER 10001
ENV PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    SEMBLANCE_HOME=/home/semblance/models \
    SEMBLANCE_SERVE_HOST=0.0.0.0 \
    SEMBLANCE_SERVE_PORT=8000 \
    SEMBLANCE_SERVE_LOG_FORMAT=json \
    # asked for by name: where there is no usable GPU the service says so and ends, instead of running on the CPU
    SEMBLANCE_SERVE_BACKEND=cuda
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=180s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["semblance", "serve"]
