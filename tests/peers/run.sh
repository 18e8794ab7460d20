#!/usr/bin/env bash
# Runs `linger conformance` on Linger and on the servers in this folder, in clear and over TLS, and prints
# a table for each. Give the linger binary and the long-poll component; the rest goes to `linger
# conformance` (--rounds 20, say). A server whose tool is missing is skipped with a line.
set -euo pipefail

linger=$1 component=$2
shift 2
peers=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
server=

stop() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap 'stop; rm -rf "$work"' EXIT

# run NAME COMMAND...: starts a server, waits until it listens, and runs the suite on it.
run() {
    local name=$1 url=
    shift
    : >"$work/said"
    "$@" >"$work/said" 2>"$work/log" &
    server=$!
    for _ in $(seq 600); do
        url=$(sed -n 's/^listening on //p' "$work/said")
        [[ -n $url ]] && break
        kill -0 "$server" 2>/dev/null || break
        sleep 0.05
    done
    if [[ -z $url ]]; then
        echo "==> $name: did not start:" >&2
        cat "$work/log" >&2
        exit 1
    fi
    echo "==> $name"
    # A server that fails is a result too.
    "$linger" conformance "$url" --insecure "${arguments[@]}" || [[ $? == 1 ]]
    stop
}

arguments=("$@")
tls=()
if command -v openssl >/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1 \
        -addext subjectAltName=IP:127.0.0.1 -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
    tls=(--cert "$work/cert.pem" --key "$work/key.pem")
else
    echo "==> skipped: all over TLS (there is no openssl to make a certificate)"
fi

run "Linger" "$linger" serve "$component" --listen 127.0.0.1:0

if command -v go >/dev/null; then
    go build -o "$work/go" "$peers/go/main.go"
    run "Go, $(go version | cut -d' ' -f3), net/http" "$work/go"
    [[ ${#tls[@]} == 0 ]] || run "Go, net/http over TLS" "$work/go" "${tls[@]}"
else
    echo "==> skipped: Go (there is no go)"
fi

if command -v node >/dev/null; then
    run "Node $(node --version), http" node "$peers/node/server.js"
    [[ ${#tls[@]} == 0 ]] || run "Node, http2 over TLS" node "$peers/node/server.js" "${tls[@]}"
else
    echo "==> skipped: Node (there is no node)"
fi
