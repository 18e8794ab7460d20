#!/usr/bin/env bash
# Asks the admin API all that its description allows, and much that it does not, with schemathesis. Give the linger
# binary, a component, and a folder for schemathesis; the rest goes to `st run`.
set -euo pipefail

linger=$1 component=$2 tools=$3
shift 3
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

if [[ ! -x $tools/bin/st ]]; then
    echo "==> installing schemathesis"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet schemathesis==4.32.5
fi

"$linger" serve "$component" --listen 127.0.0.1:0 --admin 127.0.0.1:0 --store "$work/events" >"$work/said" 2>"$work/log" &
server=$!
url=
for _ in $(seq 600); do
    url=$(sed -n 's/^admin on /http:\/\//p' "$work/said")
    [[ -n $url ]] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
done
if [[ -z $url ]]; then
    echo "linger did not start:" >&2
    cat "$work/log" >&2
    exit 1
fi

# The stream does not end by itself. Bodies are not checked: an event's bytes need not be what its content type says.
cd "$work"
"$tools/bin/st" run "$url/openapi.json" --url "$url" --exclude-path /stream \
    --checks not_a_server_error,status_code_conformance,content_type_conformance \
    --phases examples,coverage,fuzzing --request-timeout 70 "$@"
kill -0 "$server" || { echo "linger has ended:" >&2; cat "$work/log" >&2; exit 1; }
