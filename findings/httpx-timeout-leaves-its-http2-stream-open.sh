#!/usr/bin/env bash
# httpx 0.28.1 over HTTP/2: a request that times out is given up without a word to the server. No RST_STREAM is sent, the
# stream stays open, and so does the connection; the next request comes on a new connection, so that each timeout
# leaves one more behind, for as long as the client lives.
#
# Guess: "a timed-out request cancels its stream and keeps the connection", as Go, curl 8 and browsers do, or closes the
# connection, as httpx itself does with HTTP/1.1. A server that answers in order of arrival answers the dead first.
#
# Seen, of 10 requests that time out: over HTTP/2 10 connections, of which none was closed and on none of which anything was
# reset; over HTTP/1.1 10 connections, all of which were closed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet httpx==0.28.1 httpcore==1.0.9 h2==4.3.0
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null

cat >"$work/rounds.py" <<'PYTHON'
import socket, ssl, sys, threading, time
import h2.config, h2.connection, h2.events, httpx

folder, ROUNDS = sys.argv[1], 10

def serve(stream, seen):
    seen["connections"] += 1
    http2 = stream.selected_alpn_protocol() == "h2"
    protocol = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    if http2:
        protocol.initiate_connection()
        stream.sendall(protocol.data_to_send())
    while True:
        try:
            data = stream.recv(65536)
        except OSError:
            data = b""
        if not data:
            seen["ends"] += 1
            return
        if not http2:
            seen["requests"] += data.count(b"\r\n\r\n")
            continue
        for event in protocol.receive_data(data):
            seen["requests"] += isinstance(event, h2.events.RequestReceived)
            seen["resets"] += isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated))
        stream.sendall(protocol.data_to_send())

def accept(listener, context, seen):
    while True:
        stream = context.wrap_socket(listener.accept()[0], server_side=True)
        threading.Thread(target=serve, args=[stream, seen], daemon=True).start()

def rounds(http2):
    seen = dict.fromkeys(["connections", "requests", "resets", "ends"], 0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    context.set_alpn_protocols(["h2"] if http2 else ["http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=[listener, context, seen], daemon=True).start()
    with httpx.Client(http2=http2, verify=False, timeout=httpx.Timeout(20, read=0.3)) as client:
        for _ in range(ROUNDS):
            try:
                client.get(f"https://127.0.0.1:{listener.getsockname()[1]}/")
            except httpx.ReadTimeout:
                pass
        time.sleep(1)
        found = dict(seen)
    print(f"HTTP/{2 if http2 else 1.1}: {ROUNDS} timeouts; {found}")
    return found

two, one = rounds(True), rounds(False)
right = two == {"connections": ROUNDS, "requests": ROUNDS, "resets": 0, "ends": 0} and one["ends"] == ROUNDS
sys.exit(not right)
PYTHON
"$work/python/bin/python" "$work/rounds.py" "$work"
echo "as found"
