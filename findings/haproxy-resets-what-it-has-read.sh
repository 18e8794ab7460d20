#!/usr/bin/env bash
# HAProxy 2.6.12 (Debian 12) ends a connection to its upstream by RST, though it has read the whole answer, nothing is
# unread, and the upstream would keep the connection: it does so where its pool already has an idle connection when the
# client goes. Clients that close in order are enough, with the defaults of `mode http`.
#
# Guess: "a proxy that has read everything closes with FIN, or keeps the connection". An upstream that takes RST for "my
# peer has not read what I sent" is wrong about nearly each answer. With `http-reuse always` it keeps them.
#
# Seen: of 40 connections that served one answer each, most end with ECONNRESET at the upstream; with
# `http-reuse always` none does.
set -euo pipefail

version=2.6.12-1+deb12u4
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

mkdir -p "$work/archives/partial" "$work/root"
apt-get update >/dev/null 2>&1
apt-get install --yes --no-install-recommends --reinstall --download-only -o Dir::Cache::archives="$work/archives" \
    "haproxy=$version" >/dev/null 2>&1
for package in "$work"/archives/*.deb; do dpkg-deb --extract "$package" "$work/root"; done
export LD_LIBRARY_PATH=$work/root/usr/lib/$(uname -m)-linux-gnu:$work/root/lib/$(uname -m)-linux-gnu
haproxy=$work/root/usr/sbin/haproxy
"$haproxy" -v | head -1

cat >"$work/rounds.py" <<'PYTHON'
import socket, subprocess, sys, threading, time

haproxy, folder, reuse = sys.argv[1:]
ends = []

def serve(connection):
    answers = 0
    try:
        while head := connection.recv(65536):
            assert head.endswith(b"\r\n\r\n")
            time.sleep(0.02)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            answers += 1
        ends.append("FIN")
    except ConnectionResetError:
        ends.append("RST")

upstream = socket.create_server(("127.0.0.1", 0))
def accept():
    while True:
        threading.Thread(target=serve, args=[upstream.accept()[0]], daemon=True).start()
threading.Thread(target=accept, daemon=True).start()

path = f"{folder}/{reuse}.sock"
with open(f"{folder}/{reuse}.cfg", "w") as file:
    file.write(f"""
global
  maxconn 100
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind unix@{path}
  default_backend out
backend out
  http-reuse {reuse}
  server one 127.0.0.1:{upstream.getsockname()[1]}
""")
proxy = subprocess.Popen([haproxy, "-db", "-f", file.name], stderr=subprocess.DEVNULL)
for _ in range(200):
    try:
        socket.socket(socket.AF_UNIX).connect(path)
        break
    except OSError:
        time.sleep(0.05)

def client():
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        received = b""
        while not received.endswith(b"hello"):
            received += connection.recv(65536)

for _ in range(20):
    pair = [threading.Thread(target=client) for _ in range(2)]
    for one in pair: one.start()
    for one in pair: one.join()
    time.sleep(0.05)
resets = ends.count("RST")
print(f"http-reuse {reuse}: 40 answers read whole; {resets} connections to the upstream were reset, {ends.count('FIN')} closed in order")
proxy.kill()
proxy.wait()
sys.exit((resets > 0) != (reuse == "safe"))
PYTHON

python3 "$work/rounds.py" "$haproxy" "$work" safe
python3 "$work/rounds.py" "$haproxy" "$work" always
echo "as found"
