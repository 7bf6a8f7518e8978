#!/usr/bin/env bash
# Install the requirements of `make demo` (level run), `make test` (level dev) or `make peers` (level
# peers): system packages, and the project with its Python packages in a virtual environment. For a
# user who may not install system packages, print the command that an administrator must run.
#
#   setup.sh VENV run|dev|peers
set -euo pipefail

venv=$1
level=$2
python=${PYTHON:-python3}

say() { echo "setup: $*" >&2; }

# Debian installs servers outside an ordinary user's PATH.
has() { PATH=$PATH:/usr/sbin command -v "$1" >/dev/null; }

# cocotb loads Python into the simulator as a shared library.
has_libpython() {
    "$python" - <<'PY'
import ctypes, ctypes.util, os, sys, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
places = [sysconfig.get_config_var(v) or "" for v in ("LIBDIR", "LIBPL")]
found = any(name and ".so" in name and os.path.exists(os.path.join(p, name)) for p in places)
version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
sys.exit(not (found or ctypes.util.find_library(version)))
PY
}

# Sets `as_root` to the prefix that runs a command as root; fails if there is none.
may_install() {
    has apt-get || return 1
    as_root=()
    [ "$(id -u)" -ne 0 ] || return 0
    as_root=(sudo -n)
    sudo -n true 2>/dev/null
}

install() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "Python 3.11 or later is needed; install it with: apt-get install python3 python3-venv"
    exit 1
fi

required=()
{ has iverilog && has vvp; } || required+=(iverilog)
"$python" -c 'import ensurepip, venv' 2>/dev/null || required+=(python3-venv)
has_libpython ||
    required+=("libpython$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')")

# Tests that need one of these are skipped without it.
optional=()
if [ "$level" = dev ]; then
    # linters, the kernel's own test, and the build tools of the second simulator
    has verilator || optional+=(verilator)
    has cc || optional+=(gcc libc6-dev)
    has g++ || optional+=(g++)
    has make || optional+=(make)
    has xz || optional+=(xz-utils)
    [ -e /usr/include/lz4.h ] || optional+=(liblz4-dev)
    [ -e /usr/include/zlib.h ] || optional+=(zlib1g-dev)
    # a live kernel to compare with
    has linux.uml || optional+=(user-mode-linux)
    # TLS programs as peers, and a reader for captures
    has curl || optional+=(curl)
    has openssl || optional+=(openssl)
    has wget || optional+=(wget)
    has gnutls-serv || optional+=(gnutls-bin)
    has tstclnt || optional+=(libnss3-tools)
    has nginx || optional+=(nginx-light)
    has tshark || optional+=(tshark)
elif [ "$level" = peers ]; then
    has node || optional+=(nodejs)
    has javac || optional+=(default-jdk-headless)
    has go || optional+=(golang-go)
    has chromium || optional+=(chromium)
    { has lighttpd && [ -e /usr/lib/lighttpd/mod_openssl.so ]; } ||
        optional+=(lighttpd lighttpd-mod-openssl)
    has stunnel || optional+=(stunnel4)
fi

missing=("${required[@]}" "${optional[@]}")
if [ ${#missing[@]} -gt 0 ]; then
    say "missing system packages: ${missing[*]}"
    if may_install; then
        "${as_root[@]}" apt-get update -qq || say "apt-get update failed; using the existing package lists"
        [ ${#required[@]} -eq 0 ] || install "${required[@]}"
        available=()
        for package in "${optional[@]}"; do
            if apt-cache show "$package" >/dev/null 2>&1; then
                available+=("$package")
            else
                say "the archive offers no $package; tests that need it are skipped"
            fi
        done
        [ ${#available[@]} -eq 0 ] || install "${available[@]}" ||
            say "cannot install all of these; tests that need them are skipped: ${available[*]}"
    else
        say "install them with: sudo apt-get install --no-install-recommends ${missing[*]}"
        [ ${#required[@]} -eq 0 ] || exit 1
        say "continuing without them; tests that need them are skipped"
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
target=.
[ "$level" = run ] || target=".[$level]"
say "installing Python packages ($level)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$target"
touch "$venv/ready-run"
[ "$level" != dev ] || touch "$venv/ready-dev"
