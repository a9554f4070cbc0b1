# facewright on the CPU.
#
#   docker build -t facewright .
#   docker run --rm -p 8000:8000 facewright
#
# Layers change in the order: base, packages (the lock), models, code.  docs/deploy.md tells
# more; `make image-test` builds the image without Docker and holds it to what is said there.

ARG BASE=docker.io/library/debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

# Debian's Python: unlike the official Python image, it comes without pip.
FROM ${BASE} AS python
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# --- What the lock names, in an environment of its own ------------------------------------------
FROM python AS packages
# tini is process 1 of the image: it ends zombies, and passes SIGTERM on even before Python has
# put a handler in place, when the kernel keeps the signal from any process 1 without one.
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils python3-venv tini \
    && rm -rf /var/lib/apt/lists/*
# pip sits beside the environment that is shipped, not in it.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
COPY requirements/serve.txt requirements/detector.txt /build/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/pip/bin/pip --python /opt/venv/bin/python install --no-deps --no-compile \
    -r /build/requirements/serve.txt -r /build/requirements/detector.txt
COPY docker/slim.sh /build/docker/
RUN /build/docker/slim.sh /opt/venv

# --- The code, and apart from it the models, which change less often ----------------------------
FROM packages AS code
COPY pyproject.toml README.md LICENSE /build/
COPY models /build/models
COPY service /build/service
COPY facewright /build/facewright
WORKDIR /opt/code
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/pip/bin/pip --python /opt/venv/bin/python install --no-deps --prefix /opt/code /build \
    && rm bin/facewright-train \
    && assets=$(echo lib/python3.*/site-packages/facewright/models/assets) \
    && mkdir -p "/opt/assets/$assets" && mv "$assets"/* "/opt/assets/$assets/" \
    && chmod -R u=rwX,go=rX /opt/code /opt/assets

# --- The image ----------------------------------------------------------------------------------
FROM python
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
    facewright
COPY --from=packages /usr/bin/tini-static /usr/bin/tini
COPY --from=packages /opt/venv /opt/venv
COPY --from=code /opt/assets /opt/venv
COPY --from=code /opt/code /opt/venv

# Compiled kernels are kept under /tmp: writable where it is a volume, done without where not.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/numba \
    FACEWRIGHT_HOST=0.0.0.0 \
    FACEWRIGHT_PORT=8000
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['FACEWRIGHT_PORT'] + '/readyz', timeout=2)"]
ENTRYPOINT ["/usr/bin/tini", "--", "facewright"]
CMD ["serve"]

ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="facewright" \
      org.opencontainers.image.description="A REST service that turns a photo of a face into a 3D mesh" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
