# One image per service: docker build --build-arg SERVICE=cdc -t ssmd-cdc .
# SERVICE is a folder of services/; also cli (the ssmd command, migrations) and simulator.
ARG PYTHON=3.11
FROM python:${PYTHON}-slim-bookworm AS build
ARG SERVICE
WORKDIR /src
COPY . .
RUN deploy/install-service "${SERVICE}" /opt/ssmd

FROM python:${PYTHON}-slim-bookworm
ARG SERVICE
LABEL org.opencontainers.image.title="ssmd-${SERVICE}" \
      org.opencontainers.image.licenses="MIT"
ENV PATH=/opt/ssmd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SSMD_MIGRATIONS=/opt/migrations
COPY --from=build /opt/ssmd /opt/ssmd
COPY migrations /opt/migrations
USER 10001:10001
ENTRYPOINT ["/opt/ssmd/bin/service"]
