ARG PYTHON=3.11
FROM python:${PYTHON}-slim AS base
RUN useradd --uid 10001 --create-home secateur && install -d -o secateur -g secateur /data
WORKDIR /srv/secateur
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 SECATEUR_DATA_DIR=/data
VOLUME /data

FROM base AS api
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY secateur secateur
COPY store store
COPY app app
RUN pip install --no-cache-dir -c constraints.txt '.[api]'
USER secateur
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('SECATEUR_PORT', '8000')}/healthz\", timeout=2)"]
CMD ["python", "-P", "-m", "app"]

FROM base AS worker
ARG TORCH=cpu
ARG TORCH_INDEX
COPY scripts/install-torch scripts/install-torch
COPY constraints.txt ./
RUN TORCH=${TORCH} TORCH_INDEX=${TORCH_INDEX} scripts/install-torch python
COPY pyproject.toml README.md LICENSE ./
COPY secateur secateur
COPY store store
COPY worker worker
RUN pip install --no-cache-dir -c constraints.txt '.[worker]'
USER secateur
# The worker touches this file each time it has announced itself to the record.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, sys, time; sys.exit(time.time() - os.stat('/tmp/secateur-worker-1').st_mtime > 30)"]
CMD ["python", "-P", "-m", "worker"]
