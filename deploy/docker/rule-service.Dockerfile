# The rule service.
#
# docker build -f deploy/docker/rule-service.Dockerfile -t rulecast/rule-service .
#
# Run it with a read-only root file system and a tmpfs on /tmp; it needs no capability. See deploy/compose.yaml.
# BASE: Debian 12 or newer, or an image made from it. PROMTOOL: `package` is Debian's, `release` the one that is pinned
# with its SHA-256 in deploy/local/parts.py; take the one that is nearest to your Prometheus.
ARG BASE=debian:bookworm-slim
ARG PROMTOOL=package

FROM ${BASE} AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* \
    && groupadd --gid 65532 rulecast \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin rulecast

FROM base AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv ca-certificates
COPY deploy/docker/runtime.lock deploy/docker/build.lock /locks/
RUN python3 -m venv /opt/rulecast \
    && /opt/rulecast/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r /locks/runtime.lock \
    && python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r /locks/build.lock
COPY pyproject.toml README.md LICENSE /source/
COPY protos /source/protos
COPY rule_service /source/rule_service
COPY deployer_service /source/deployer_service
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels /source \
    && /opt/rulecast/bin/pip install --no-deps --no-index /wheels/*.whl \
    && /opt/rulecast/bin/pip uninstall --yes --quiet setuptools pip

FROM build AS promtool
ARG PROMTOOL
COPY deploy/__init__.py /parts/deploy/
COPY deploy/local/__init__.py deploy/local/cache.py deploy/local/parts.py /parts/deploy/local/
RUN cd /parts \
    && RULECAST_CACHE=/parts/cache python3 -m deploy.local.parts --from "${PROMTOOL}" \
    && find cache -name promtool -type f -perm -111 -exec install -m 0755 {} /usr/local/bin/promtool \;

FROM base AS service
COPY --from=promtool /usr/local/bin/promtool /usr/local/bin/promtool
COPY --from=build /opt/rulecast /opt/rulecast
ENV PATH=/opt/rulecast/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
WORKDIR /
EXPOSE 50051 8080
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["rule-service", "health"]
ENTRYPOINT ["rule-service"]
CMD ["serve"]

# The hosts and the story of the demo; deploy/compose.yaml builds it with `target: demo`.
FROM service AS demo
COPY --chown=65532:65532 deploy/__init__.py /demo/deploy/
COPY --chown=65532:65532 deploy/local /demo/deploy/local
ENV PYTHONPATH=/demo
HEALTHCHECK NONE
ENTRYPOINT ["python3", "-m"]
CMD ["deploy.local.story", "--help"]

# what is built where no target is named
FROM service
