# The service on CPUs. From the checkout's root:
#   docker build -f examples/cpu.Dockerfile -t semblance:cpu .
#   docker run --rm --hostname semblance -p 8000:8000 -e SEMBLANCE_SERVE_TOKEN=... -v $PWD/photos.gallery:/gallery semblance:cpu /gallery
# The fixed name is for the gallery's lock: that of a container that was killed is then known to be its own.
FROM python:3.12-slim

# A layer of its own, which a change of the sources does not make anew
COPY constraints.txt pyproject.toml README.md LICENSE /src/
COPY engine /src/engine
RUN python -m pip install --no-cache-dir -c /src/constraints.txt '/src[cpu,openvino,serve]' \
    && rm -rf /src \
    && useradd --create-home --uid 10001 semblance

USER 10001
ENV PYTHONUNBUFFERED=1 \
    SEMBLANCE_HOME=/home/semblance/models \
    SEMBLANCE_SERVE_HOST=0.0.0.0 \
    SEMBLANCE_SERVE_PORT=8000 \
    SEMBLANCE_SERVE_LOG_FORMAT=json
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
# SIGTERM reaches the service itself, which drains
ENTRYPOINT ["semblance", "serve"]
