FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked && cp target/release/snippetbox /usr/local/bin/snippetbox

FROM debian:bookworm-slim
# Whom to trust in TLS: S3, and NATS with tls://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
RUN groupadd --gid 10001 snippetbox && useradd --uid 10001 --gid 10001 --no-create-home snippetbox \
    && install -d -o snippetbox -g snippetbox /var/lib/snippetbox
COPY --from=build /usr/local/bin/snippetbox /usr/local/bin/snippetbox

# By number, so that it can be seen from outside that this is not root.
USER 10001:10001
WORKDIR /var/lib/snippetbox
VOLUME /var/lib/snippetbox
ENV SNIPPETBOX_LISTEN=0.0.0.0:8080 \
    SNIPPETBOX_DATA_DIR=/var/lib/snippetbox \
    SNIPPETBOX_DATABASE_URL=sqlite:///var/lib/snippetbox/snippetbox.db
EXPOSE 8080

# The image has no HTTP client, but its bash can open a socket; the port is what follows the last colon.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/${SNIPPETBOX_LISTEN##*:}; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; read -r status <&3; [[ $status == *' 200 '* ]]"]

ENTRYPOINT ["snippetbox"]
