# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked && cp target/release/snippetbox /usr/local/bin/snippetbox

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --user-group --no-create-home snippetbox \
    && install -d -o snippetbox -g snippetbox /var/lib/snippetbox
COPY --from=build /usr/local/bin/snippetbox /usr/local/bin/snippetbox

USER snippetbox
WORKDIR /var/lib/snippetbox
VOLUME /var/lib/snippetbox
ENV SNIPPETBOX_LISTEN=0.0.0.0:8080 \
    SNIPPETBOX_DATA_DIR=/var/lib/snippetbox \
    SNIPPETBOX_DATABASE_URL=sqlite:///var/lib/snippetbox/snippetbox.db
EXPOSE 8080

# The image has no HTTP client, but its bash can open a socket.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; read -r status <&3; [[ $status == *' 200 '* ]]"]

ENTRYPOINT ["snippetbox"]
