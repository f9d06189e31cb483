# The gateway: `docker build --tag holdfast . && docker run --env HOLDFAST_GATEWAY__API_KEYS__ME=... --publish 8000:8000 holdfast`.

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# What is needed comes before what is written here, so that a change of the code installs nothing anew.
COPY requirements/image.txt requirements/image-build.txt ./
RUN python -m venv /app \
    && /app/bin/python -m pip install --require-hashes --requirement image.txt \
    && python -m pip install --require-hashes --requirement image-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY holdfast ./holdfast
RUN python -m hatchling build --target wheel \
    && /app/bin/python -m pip install --no-deps dist/*.whl

FROM python:3.13-slim-bookworm
RUN groupadd --gid 10001 holdfast \
    && useradd --uid 10001 --gid holdfast --no-create-home --home-dir /data --shell /usr/sbin/nologin holdfast \
    && install --directory --owner holdfast --group holdfast /data
COPY --from=build /app /app
# Reached from outside the container, it needs a key: HOLDFAST_GATEWAY__API_KEYS__TENANT.
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOLDFAST_GATEWAY__HOST=0.0.0.0 \
    HOLDFAST_GATEWAY__PORT=8000
WORKDIR /data
USER 10001:10001
EXPOSE 8000
# It answers also when the service is overloaded or drains: what hangs is to be replaced, and what is busy is not.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client, os; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ['HOLDFAST_GATEWAY__PORT']), timeout=2); probe.request('GET', '/healthz'); raise SystemExit(probe.getresponse().status != 200)"]
STOPSIGNAL SIGTERM
# As the first process, without a shell in front, so that it gets the signal and can finish what runs.
ENTRYPOINT ["holdfast"]
CMD ["serve"]
