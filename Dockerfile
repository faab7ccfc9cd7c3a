# The image of both programs: the wheel, and what the agent calls on a node (nft, ip, wg, the CNI plugins).
#
#   docker build --tag nodeipam-ctl:0.1.0 .
#
# tests/charts/test_image.py runs these very steps in a Debian root and starts the result.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The pinned dependencies first, then the wheel by itself: nothing gets in that the lock does not name.
RUN python3 -m venv /opt/nodeipam-ctl \
    && /opt/nodeipam-ctl/bin/pip install --no-cache-dir --requirement requirements.lock \
    && /opt/nodeipam-ctl/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /tmp/wheel . \
    && /opt/nodeipam-ctl/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    && /opt/nodeipam-ctl/bin/pip uninstall --yes pip setuptools

FROM ${BASE}
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates containernetworking-plugins iproute2 iptables nftables python3 wireguard-go wireguard-tools \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 65532 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin nodeipam
COPY --from=build /opt/nodeipam-ctl /opt/nodeipam-ctl
ENV PATH=/opt/nodeipam-ctl/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The controller needs no more; the agent's Pod asks for root with two capabilities.
USER 65532:65532
ENTRYPOINT ["nodeipam-ctl"]
CMD ["--help"]
