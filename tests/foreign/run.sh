#!/usr/bin/env bash
# Asks Linger what checks of HTTP that others wrote ask, and compares with results.tsv. Give the linger binary, the folder of
# components, and a folder for the tools; with --update as the fourth, results.tsv is written anew.
#
# - gunicorn (PyPI): the requests that its parser is tested with, of which some are valid and some are not
# - REDbot and httplint (PyPI): what resources and single answers say of themselves
# - httpwg (crates.io): HTTP/2, section by section of RFC 9113, after h2spec
# - smugglex (crates.io): requests whose end is in doubt
set -euo pipefail

linger=$1 components=$2 tools=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
gunicorn=27.0.1 redbot=2.7.1 httplint=2026.10.4 httpwg=0.2.5 smugglex=0.4.0

# Each folder is named by its versions, so that other ones are installed anew.
python=$tools/python-$gunicorn-$redbot-$httplint
if [[ ! -e $python/corpus/tests ]]; then
    echo "==> installing gunicorn, REDbot and httplint"
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install --quiet "redbot==$redbot" "httplint==$httplint" "gunicorn==$gunicorn"
    # Only the source distribution has the requests.
    "$python/bin/pip" download --quiet --no-deps --no-binary :all: --dest "$python" "gunicorn==$gunicorn"
    mkdir "$python/unpacked"
    tar --extract --gzip --file "$python/gunicorn-$gunicorn.tar.gz" --directory "$python/unpacked" --strip-components 1
    mv "$python/unpacked" "$python/corpus"
fi
for tool in "httpwg-cli@$httpwg" "smugglex@$smugglex"; do
    if [[ ! -e $tools/$tool/bin ]]; then
        echo "==> installing $tool (a minute)"
        cargo install --quiet --locked "$tool" --root "$tools/$tool" --target-dir "$tools/build"
    fi
done

PYTHONDONTWRITEBYTECODE=1 exec "$python/bin/python" "$here/run.py" "$linger" "$components" "$python/corpus/tests/requests" \
    "$tools/httpwg-cli@$httpwg/bin/httpwg" "$tools/smugglex@$smugglex/bin/smugglex" "$@"
