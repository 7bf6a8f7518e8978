#!/usr/bin/env bash
# Set up the environment for `make demo` (run) or `make test` (dev). Install missing system
# packages if that is allowed, otherwise print the command that installs them. Then create the
# virtual environment.
set -euo pipefail

venv=$1
level=$2

say() { echo "setup: $*" >&2; }

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "Python 3.11 or later is required; install it with: apt-get install python3 python3-venv"
    exit 1
fi
minor=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')

wanted=()
command -v iverilog >/dev/null && command -v vvp >/dev/null || wanted+=(iverilog)
"$python" -c 'import ensurepip, venv' 2>/dev/null || wanted+=(python3-venv)
# cocotb loads Python into the simulator as a shared library
"$python" - <<'PY' || wanted+=("libpython$minor")
import ctypes, ctypes.util, os, sys, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
places = [sysconfig.get_config_var(v) or "" for v in ("LIBDIR", "LIBPL")]
found = any(name and ".so" in name and os.path.exists(os.path.join(p, name)) for p in places)
version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
sys.exit(not (found or ctypes.util.find_library(version)))
PY
if [ "$level" = dev ]; then
    command -v verilator >/dev/null || wanted+=(verilator)
    command -v cc >/dev/null || wanted+=(gcc libc6-dev)
    # Verilator generates C++; its FST writer needs lz4 and zlib
    command -v g++ >/dev/null || wanted+=(g++)
    command -v make >/dev/null || wanted+=(make)
    [ -e /usr/include/lz4.h ] || wanted+=(liblz4-dev)
    [ -e /usr/include/zlib.h ] || wanted+=(zlib1g-dev)
fi

if [ ${#wanted[@]} -gt 0 ]; then
    say "missing system packages: ${wanted[*]}"
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null && sudo="sudo -n" || sudo=no
    fi
    if [ "$sudo" = no ] || ! command -v apt-get >/dev/null; then
        say "install them with: sudo apt-get install ${wanted[*]}"
        # only these are essential; tests that need the others report what is missing
        case " ${wanted[*]} " in *" iverilog "* | *" python3-venv "* | *" libpython"*) exit 1 ;; esac
    else
        $sudo apt-get update -qq
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
    fi
fi

# a real kernel to compare with; optional
if [ "$level" = dev ] && ! command -v linux.uml >/dev/null; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        { apt-cache show user-mode-linux >/dev/null 2>&1 || apt-get update -qq; } &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends user-mode-linux >/dev/null ||
            say "cannot install user-mode-linux; tests that compare with a live kernel are skipped"
    else
        say "user-mode-linux is missing; tests that compare with a live kernel are skipped"
    fi
fi

# real TLS programs as peers, tshark to read captures, and xz to unpack the kernel's own test
if [ "$level" = dev ]; then
    peers=()
    command -v curl >/dev/null || peers+=(curl)
    command -v openssl >/dev/null || peers+=(openssl)
    command -v wget >/dev/null || peers+=(wget)
    command -v xz >/dev/null || peers+=(xz-utils)
    command -v gnutls-serv >/dev/null || peers+=(gnutls-bin)
    command -v tstclnt >/dev/null || peers+=(libnss3-tools)
    command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || peers+=(nginx-light)
    command -v tshark >/dev/null || peers+=(tshark)
    if [ ${#peers[@]} -gt 0 ]; then
        if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
            { apt-cache show tshark >/dev/null 2>&1 || apt-get update -qq; } &&
                DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${peers[@]}" >/dev/null ||
                say "cannot install all of these, so their tests are skipped: ${peers[*]}"
        else
            say "tests that need these are skipped; install them with: sudo apt-get install ${peers[*]}"
        fi
    fi
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
target=.
[ "$level" = dev ] && target='.[dev]'
say "installing Python packages ($level)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$target"
touch "$venv/ready-run"
[ "$level" = dev ] && touch "$venv/ready-dev"
exit 0
