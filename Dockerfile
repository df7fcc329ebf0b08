# The image: one static binary on an empty root, and a user that is not root. docs/image.md says what is in it and how it
# is verified. Any engine builds it: `docker build .`, `podman build --format docker .`, `buildah bud --format docker .`.

# The toolchain of rust-toolchain.toml; tests/image.rs holds the two together.
FROM docker.io/library/rust:1.95.0-slim-trixie AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    .ci/static-binary release /out

FROM scratch
# The binary, and the authorities of the web for collectors and NATS servers whose certificates they signed.
COPY --from=build /out/root /
# What may be written to, each with a volume over it: the evidence and the local copy; the Unix socket.
COPY --from=build --chown=65532:65532 /out/empty /var/lib/consentd
COPY --from=build --chown=65532:65532 /out/empty /run/consentd

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="consentd" \
    org.opencontainers.image.description="May this subject's data be processed for this purpose, over this channel, now? Answers from memory, with evidence." \
    org.opencontainers.image.source="https://github.com/consentd/consentd" \
    org.opencontainers.image.documentation="https://github.com/consentd/consentd/blob/main/docs/image.md" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"

ENV CONSENTD_DATA_DIR=/var/lib/consentd
USER 65532:65532
WORKDIR /var/lib/consentd
VOLUME /var/lib/consentd
# Questions, the admin page, the webhook of `consentd injector`.
EXPOSE 7311 7312 8443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/consentd"]
CMD ["serve"]
HEALTHCHECK --interval=10s --timeout=2s --start-period=1m CMD ["/consentd", "health"]
