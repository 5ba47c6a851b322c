# sptls as a small image: no compiler, no pip, no root. docs/operations.md, "Containers", says how it is run and tried.
#   docker build -t sptls .
# 3.11 is the version that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY sptls sptls
COPY twisted_plugins twisted_plugins
# twistd keeps what it found of its plugins in dropin.cache, which the user that serves can't write: so it is made here.
RUN python3 -m venv --without-pip /opt/sptls \
    && python3 -m pip --python /opt/sptls/bin/python3 install --no-cache-dir --disable-pip-version-check . \
    && /opt/sptls/bin/twistd --help | grep -q '^ *sptls '

FROM python:${PYTHON}-slim-bookworm
# A number of our own, so that who owns the state does not change with the base image.
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/sptls --shell /usr/sbin/nologin sptls \
    && install --directory --mode=0700 --owner=sptls --group=sptls /var/lib/sptls \
    && install --directory /etc/sptls
COPY --from=build /opt/sptls /opt/sptls
# SPTLS_CONFIG is for the `sptls` command: docker exec CONTAINER sptls status.
ENV PATH=/opt/sptls/bin:$PATH SPTLS_CONFIG=/etc/sptls/sptls.toml
# By number: Kubernetes' runAsNonRoot wants to see one.
USER 10001:10001
WORKDIR /var/lib/sptls
VOLUME /var/lib/sptls
EXPOSE 80 443
# It drains for 10 s: docker stop --time 30 (stop_grace_period in docker-compose.yml).
STOPSIGNAL SIGTERM
# A start with 100,000 domains takes seconds. -I -S: a third of the time that Python otherwise takes to start.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python3", "-I", "-S", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9180/healthz', timeout=4)"]
# Always without a pid file: one that survived kill -9 names a process that exists again (all containers have the same
# few), and stops the next start.
ENTRYPOINT ["twistd", "-n", "--pidfile=", "sptls"]
CMD ["--config", "/etc/sptls/sptls.toml"]
