#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run make targets on a fresh Debian, as root and as an ordinary user.
#
#   tests/fresh/machine.sh SUITE [USER:TARGET...]
#
# SUITE is a Debian release (bookworm, trixie). The script builds a chroot of that release with
# debootstrap (minbase, section main, no updates), adds make, python3 and ca-certificates, and
# copies the committed tree into it without .git. It then runs each `make TARGET` as root or user.
# The default is root:demo root:test user:demo user:test: root's steps install the system packages
# that the user's steps need.
#
# A step fails if make fails or if anything prints a Python traceback. The exit status is 0 if all
# steps pass. TEST_ARGS and CI reach the chroot.
#
# The script needs root, debootstrap and git. It takes the package sources and proxies from the
# apt and pip configuration of this machine. KTLS_FRESH (default ~/.cache/ktls-cosim/fresh) keeps
# the downloads for the next run, and the last chroot of each suite with its logs for inspection.
set -euo pipefail

die() {
    echo "machine.sh: $*" >&2
    exit 2
}

[ $# -ge 1 ] || die "usage: $0 SUITE [USER:TARGET...], for example: $0 bookworm root:demo"
[ "$(id -u)" -eq 0 ] || die "run this as root: it mounts and enters a chroot"
command -v debootstrap >/dev/null || die "install debootstrap: apt-get install debootstrap"

suite=$1
shift
steps=("$@")
[ ${#steps[@]} -gt 0 ] || steps=(root:demo root:test user:demo user:test)
for step in "${steps[@]}"; do
    [[ $step =~ ^(root|user):[a-z-]+$ ]] || die "$step is not root:TARGET or user:TARGET"
done

repo=$(cd "$(dirname "$0")/../.." && pwd)
cache=${KTLS_FRESH:-$HOME/.cache/ktls-cosim/fresh}/$suite
root=$cache/root
base=$cache/base.tar
mkdir -p "$cache"/{debootstrap,archives,pip-root,pip-user,logs}

# The script runs in its own namespaces, so that no mount or process remains if it is killed.
if [ -z "${KTLS_FRESH_INSIDE:-}" ]; then
    exec env KTLS_FRESH_INSIDE=1 unshare --mount --pid --fork --kill-child --mount-proc \
        "$0" "$suite" "${steps[@]}"
fi
# The first process of a namespace ignores the signals for which it has no handler.
trap 'exit 130' INT TERM
exec 9>"$cache/lock"
flock --nonblock 9 || die "another run uses $cache"

make_base() {
    local mirror
    # shellcheck disable=SC2016  # apt expands these
    mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' |
        awk '$1 == "Debian" && $2 == "Debian" { print $3; exit }')
    [ -n "$mirror" ] || die "apt's configuration names no Debian archive (try: apt-get update)"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase --include=make,python3,ca-certificates \
        --cache-dir="$cache/debootstrap" "$suite" "$root" "$mirror" >"$cache/logs/debootstrap" ||
        die "debootstrap failed: $cache/logs/debootstrap"
    apt-config dump --no-empty --format '%f "%v";%n' |
        grep -E '^Acquire::(https?|Check-)' >"$root/etc/apt/apt.conf.d/99machine" || true
    chroot "$root" useradd --create-home user
    tar -C "$root" -cf "$base.part" . && mv "$base.part" "$base"
}

# Copy the last commit as a release tarball would hold it.
copy_tree() {
    local home=$1 owner=$2
    mkdir -p "$root$home/ktls-cosim"
    git -C "$repo" archive HEAD | tar -C "$root$home/ktls-cosim" --no-same-owner -xf -
    chroot "$root" chown -R "$owner:$owner" "$home/ktls-cosim"
}

enter() {
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    # the package index may have a certificate that only this machine trusts
    cp -L "${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/machine.crt"
    # debootstrap made the other devices; those of this machine may have unusual modes
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
    mount -t proc proc "$root/proc"
    mount --bind "$cache/archives" "$root/var/cache/apt/archives"
    mkdir -p "$root"/{root,home/user}/.cache/pip
    mount --bind "$cache/pip-root" "$root/root/.cache/pip"
    mount --bind "$cache/pip-user" "$root/home/user/.cache/pip"
    chroot "$root" chown -R user:user /home/user
    copy_tree /root root
    copy_tree /home/user user
}

# Run a command in the chroot with the environment of a login. Only the variables that name
# package sources or control the tests pass through.
login() {
    local user=$1 home=$2 name
    shift 2
    local set=(HOME="$home" USER="$user" TERM=dumb PIP_CERT=/etc/ssl/machine.crt)
    set+=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
    for name in http_proxy https_proxy no_proxy CI TEST_ARGS \
        PIP_INDEX_URL PIP_PROXY PIP_DEFAULT_TIMEOUT; do
        [ -z "${!name:-}" ] || set+=("$name=${!name}")
    done
    env -i "${set[@]}" chroot --userspec="$user:$user" "$root" "$@" </dev/null
}

# Run one step and add a line to the table.
run_step() {
    local user=${1%:*} target=${1#*:} log=$cache/logs/$1
    local home=/home/user begin=$SECONDS result=passed
    [ "$user" = user ] || home=/root
    echo "== $suite, $user: make $target"
    login "$user" "$home" make -C "$home/ktls-cosim" "$target" 2>&1 | tee "$log" || result=FAILED
    if [ $result = passed ] && grep -q 'Traceback (most recent call last)' "$log"; then
        result="FAILED: a traceback in $log"
    fi
    [ "$result" = passed ] || status=1
    table+=("$(printf '%-10s %-12s %5d s  %s' "$suite" "$1" $((SECONDS - begin)) "$result")")
}

main() {
    local step status=0 table=() index
    index=$(python3 -m pip config get global.index-url 2>/dev/null) || index=
    export PIP_INDEX_URL=${PIP_INDEX_URL:-$index}
    [ -e "$base" ] || make_base
    rm -rf --one-file-system "$root"
    mkdir "$root"
    tar -C "$root" -xf "$base"
    enter
    for step in "${steps[@]}"; do
        run_step "$step"
    done
    printf '%s\n' "== $(git -C "$repo" rev-parse --short HEAD)" "${table[@]}"
    exit $status
}

main
