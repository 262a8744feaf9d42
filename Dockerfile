# memberwatch and the MX simulator, two static binaries in an empty image.
#
# The builder can be any image that has a shell, CA certificates and the Go
# toolchain that go.mod asks for. .ci/images builds this file where there is no
# image registry, too.
ARG GO_IMAGE=golang:1.26

FROM ${GO_IMAGE} AS build
WORKDIR /src

# How this build reaches its modules. Without them Go's own defaults apply.
# The build stage is thrown away, and its arguments with it.
ARG GOPROXY
ARG GOSUMDB
ARG GONOSUMDB
ARG GOFLAGS

COPY go.mod go.sum ./
RUN go mod download

COPY . .
ARG VERSION=dev
# No build id, no path, no version control stamp: the same source gives the same bytes.
RUN mkdir -p /out/data && \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false \
      -ldflags "-s -w -buildid= -X main.version=${VERSION}" \
      -o /out/ ./cmd/memberwatch ./cmd/mxsim && \
    go run ./deploy/sbom -version "${VERSION}" /out/memberwatch /out/mxsim >/out/sbom.cdx.json

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# With a list of everything that is in them, CycloneDX.
COPY --from=build /out/memberwatch /out/mxsim /out/sbom.cdx.json /

# The store of the embedded server, when NATS_URL names no other.
COPY --from=build --chown=65532:65532 /out/data /data
ENV DATA_DIR=/data
VOLUME /data
# Where demo keeps its store while it runs: there is no /tmp, and a volume can be written to when nothing else can.
ENV TMPDIR=/data

# By number, so that a platform that demands a non-root user can see that it is one.
USER 65532:65532

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/memberwatch", "healthcheck"]
ENTRYPOINT ["/memberwatch"]
CMD ["serve"]

ARG VERSION=dev
ARG REVISION=unknown
# When that revision was made, RFC 3339.
ARG CREATED=
LABEL org.opencontainers.image.title="memberwatch" \
      org.opencontainers.image.description="Publishes what changed in MX members as CloudEvents on NATS" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/memberwatch/memberwatch" \
      org.opencontainers.image.url="https://github.com/memberwatch/memberwatch" \
      org.opencontainers.image.documentation="https://github.com/memberwatch/memberwatch/tree/main/deploy" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
