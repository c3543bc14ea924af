# One image per service: docker build --build-arg SERVICE=cdc -t ssmd-cdc .
# SERVICE is a folder of services/; also cli (the ssmd command, migrations) and simulator.
# What changes seldom comes first, and what all services share has no SERVICE: after a change of a line
# of code only the stages `wheels` and `ours` run again, and only their small layer is new.
# docs/containers.md says what is in an image, and how to have the same layers from the same input.
ARG PYTHON=3.11
ARG BASE=docker.io/library/python:${PYTHON}-slim-bookworm

FROM ${BASE} AS tools
WORKDIR /src
ENV SSMD_TOOLS=/tools
COPY deploy/install-service deploy/
COPY requirements/bootstrap.txt requirements/
RUN deploy/install-service tools /tools

FROM tools AS wheels
COPY pyproject.toml ./
COPY libs libs
COPY services services
COPY cli cli
COPY simulator simulator
RUN deploy/install-service wheels /wheels

FROM tools AS third-parties
ARG SERVICE
COPY requirements/${SERVICE}.txt requirements/
RUN deploy/install-service third-parties "${SERVICE}" /opt/ssmd

FROM third-parties AS ours
ARG SERVICE
COPY --from=wheels /wheels /wheels
RUN deploy/install-service ours "${SERVICE}" /wheels /opt/ssmd /ours

FROM ${BASE}
ENV PATH=/opt/ssmd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SSMD_MIGRATIONS=/opt/migrations
COPY --from=third-parties /opt/ssmd /opt/ssmd
COPY migrations /opt/migrations
COPY --from=ours /ours /opt/ssmd
ARG SERVICE
ARG VERSION=""
ARG REVISION=""
LABEL org.opencontainers.image.title="ssmd-${SERVICE}" \
      org.opencontainers.image.description="ssmd secmaster: ${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
USER 10001:10001
ENTRYPOINT ["/opt/ssmd/bin/service"]
