# shellcheck shell=bash disable=SC2034
# What the other scripts share. They source this file, and run in the repository's folder from then on.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# Cargo's target directory may be elsewhere. The components are always here, where tests and benches look for them.
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
components=$PWD/target/components
# The guests have a target directory of their own: another platform and other profiles.
guest_target=$target/guests
# The examples in other languages than Rust: each is built in a copy of its folder, with its tools beside it.
languages=$target/languages
# The host that is built with profile-guided optimization.
optimized=$target/optimized
# All of the host: the fuzz targets are built in another way.
host_packages=(--workspace --exclude linger-fuzz)

# Debian has servers there.
PATH=$PATH:/usr/sbin

say() {
    echo "==> $*"
}

fail() {
    echo "error: $*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null
}

guest_cargo() {
    CARGO_TARGET_DIR=$guest_target cargo "$@"
}

# The tests over real sockets; what follows `--` chooses among them.
integration_tests() {
    cargo test --release --locked --package linger --test integration "$@"
}

# put FILE PLACE: in one step, and only if it is another file: a server may be running from there, and tests beside it.
put() {
    cmp --quiet "$1" "$2" && return
    mkdir -p "$(dirname "$2")"
    install -m 644 "$1" "$2.$$"
    mv "$2.$$" "$2"
}

# Debian's packages, if we may. Never fails: where a package is missing, its tests say in one line that they are skipped.
install_with_apt() {
    [[ $(id -u) = 0 ]] && has apt-get || return 0
    say "installing $*"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$@")
    "${install[@]}" >/dev/null 2>&1 || { apt-get update >/dev/null 2>&1 && "${install[@]}" >/dev/null 2>&1; } || true
}

# want PROGRAM PACKAGE USE: installs the package if the program is missing, and says what is skipped if that fails.
want() {
    has "$1" || install_with_apt "$2"
    has "$1" || say "skipped: $3 (install $2)"
}
