# The release of Debian is named because it names mimalloc's package.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS builder
WORKDIR /src
RUN python3 -m venv /opt/fastmock
COPY pyproject.toml README.md LICENSE ./
COPY fastmock fastmock
# pip and setuptools are done then: the server needs neither.
RUN /opt/fastmock/bin/pip install --no-cache-dir --disable-pip-version-check '.[metrics,redis,watch,zstd]' \
    && /opt/fastmock/bin/pip uninstall --yes --no-cache-dir pip setuptools
# Debug symbols, the tests of packages and type stubs are a quarter of the compressed size. Libraries that wheels bring along
# (*.libs) do not load once they are stripped.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && cd /opt/fastmock/lib/python3*/site-packages \
    && find . -name '*.so*' -not -path './*.libs/*' -exec strip --strip-unneeded {} + \
    && find . -type d \( -name tests -o -name test -o -path ./numpy/f2py -o -path ./numpy/_core/include \) -prune -exec rm -r {} + \
    && find . \( -name '*.pyi' -o -name '*.a' \) -delete

FROM ${BASE}
# A number, so that a platform can tell without reading /etc/passwd that it is not root.
ARG UID=10001
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmimalloc2.0 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    && useradd --uid "$UID" --no-create-home --home-dir /app --shell /usr/sbin/nologin fastmock
COPY --from=builder /opt/fastmock /opt/fastmock

# A bare name: the loader finds it on every architecture.
ENV LD_PRELOAD=libmimalloc.so.2 \
    PATH=/opt/fastmock/bin:$PATH \
    FASTMOCK_HOST=0.0.0.0 \
    FASTMOCK_PORT=8080
# The control API requires FASTMOCK_ADMIN_TOKEN, which is given at run time: no secret belongs into an image. Without it the
# server makes a token and prints it on standard error.
# ./config.json is taken when it is mounted here.
WORKDIR /app
USER ${UID}
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["fastmock", "health"]
ENTRYPOINT ["fastmock"]
