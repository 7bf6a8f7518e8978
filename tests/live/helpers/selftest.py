# SPDX-License-Identifier: Apache-2.0
"""Run the kernel's own test of kTLS, tools/testing/selftests/net/tls.c, on the model.

    python tests/live/helpers/selftest.py [--quick] [--kernel NAME] [--suite SUITE]

The script fetches the kernel source package of this Debian release, or the newest of another suite
(the repository keeps no copy), builds the test with its AES-GCM variants and runs it under
`ktls-cosim run --exact`.
"""

from __future__ import annotations

import argparse
import gzip
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ktls_cosim import debian
from ktls_cosim.paths import build_root

TREE = Path("tools") / "testing" / "selftests"
TEST = TREE / "net" / "tls.c"
HARNESS = TREE / "kselftest_harness.h"
UAPI = Path("include") / "uapi"
FILES = (TEST, HARNESS, TREE / "kselftest.h", UAPI / "linux" / "tls.h")
VARIANTS = ("12_aes_gcm", "13_aes_gcm", "12_aes_gcm_256", "13_aes_gcm_256", "13_nopad")
# Each case sends tens of megabytes through a dozen processes, which takes minutes in all.
LONG = "mutliproc"
# Cases that may fail, each with the reason.
UNSUPPORTED = {
    "nonblocking": "expects EAGAIN at both ends, but TCP acknowledges faster than calls arrive",
    "epoll_partial_rec": "`run --exact` does not trap epoll",
}


class Unobtainable(Exception):
    """The test cannot be fetched or built here; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run.

    Attributes:
        passed: Names of the cases that passed, such as `tls.12_aes_gcm.sendfile`.
        failed: Names of the cases that failed.
        errors: Standard error of the run, which ends with the scoreboard's summary.
    """

    passed: set[str]
    failed: set[str]
    errors: str

    def unexpected(self) -> set[str]:
        """Return the names of failed cases that `UNSUPPORTED` does not explain."""
        return {name for name in self.failed if name.rpartition(".")[2] not in UNSUPPORTED}


def obtain(suite: str | None = None) -> Path:
    """Return a folder named after the source package and its version, with `FILES` in it.

    The folder is fetched once; `make clean` removes it.

    Args:
        suite: Debian's suite whose newest kernel source is taken; None: that of this release.

    Raises:
        Unobtainable: The archive offers no such package, or a tool to fetch or open it is missing.
    """
    if suite is not None:
        return _of_suite(suite)
    root = build_root() / "selftest"
    for folder in root.glob("linux-source-*/"):
        if all((folder / file).is_file() for file in FILES):
            return folder
    for tool in ("apt-get", "apt-cache", "dpkg-deb", "xz"):
        if shutil.which(tool) is None:
            raise Unobtainable(f"{tool} is missing")
    root.mkdir(parents=True, exist_ok=True)
    package = _package()
    done = subprocess.run(
        ["apt-get", "download", "-q", package], cwd=root, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    archives = sorted(root.glob(f"{package}_*.deb"))
    if done.returncode or not archives:
        raise Unobtainable(f"apt-get download {package}: {done.stderr.strip()[-200:]}")
    folder = root / archives[-1].name.removesuffix("_all.deb")
    _unpack_package(archives[-1], folder)
    for archive in archives:
        archive.unlink()
    return folder


def _package() -> str:
    """Return the name of the release's source package, such as linux-source-6.12."""
    done = subprocess.run(
        ["apt-cache", "depends", "linux-source"], capture_output=True, text=True, check=False
    )
    found = re.search(r"Depends: (linux-source-[\d.]+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise Unobtainable("apt knows no package linux-source (try: apt-get update)")
    return found[1]


def _of_suite(suite: str) -> Path:
    """Return the folder of the newest kernel source of a suite."""
    try:
        root = debian.unpack(suite, ("linux-source",)).root
    except debian.PackagesMissing as e:
        raise Unobtainable(str(e)) from e
    tarballs = sorted(root.glob("usr/src/linux-source-*.tar.xz"))
    if not tarballs:
        raise Unobtainable(f"{root} has no kernel source; delete it and try again")
    name = tarballs[-1].name.removesuffix(".tar.xz")
    log = root / "usr" / "share" / "doc" / name / "changelog.Debian.gz"
    with gzip.open(log, "rt", encoding="utf-8") as changes:
        version = re.search(r"\((\S+)\)", changes.readline())
    folder = build_root() / "selftest" / suite / f"{name}_{version[1] if version else suite}"
    if not all((folder / file).is_file() for file in FILES):
        with tarballs[-1].open("rb") as tarball:
            _unpack(tarball, folder)
    return folder


def _unpack_package(archive: Path, folder: Path) -> None:
    """Extract `FILES` from the tarball in a package."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE
    ) as deb:
        with tarfile.open(fileobj=deb.stdout, mode="r|") as outer:
            tarball = next(m for m in outer if m.name.endswith(".tar.xz"))
            content = outer.extractfile(tarball)
            assert content is not None
            _unpack(content, folder)
        deb.kill()


def _unpack(tarball: IO[bytes], folder: Path) -> None:
    """Extract `FILES` from a tarball of the kernel.

    Raises:
        Unobtainable: The tarball lacks one of them.
    """
    wanted = {str(file) for file in FILES}
    with tarfile.open(fileobj=tarball, mode="r|xz") as inner:
        for member in inner:
            name = member.name.partition("/")[2]
            if name in wanted:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = inner.extractfile(member)
                assert source is not None
                target.write_bytes(source.read())
                wanted.discard(name)
            if not wanted:
                break
    if wanted:
        raise Unobtainable(f"{folder.name} does not contain {', '.join(sorted(wanted))}")


def cases(folder: Path, quick: bool) -> set[str]:
    """Return the names of the cases that a run must report, read from the unmodified test.

    Raises:
        Unobtainable: The test lacks one of `VARIANTS`.
    """
    text = (folder / TEST).read_text()
    variants: dict[str, list[str]] = {}
    for fixture, variant in re.findall(r"(?m)^FIXTURE_VARIANT_ADD\((\w+), (\w+)\)", text):
        variants.setdefault(fixture, []).append(variant)
    if not set(VARIANTS) <= set(variants.get("tls", ())):
        raise Unobtainable(f"{folder.name}: the test lacks one of {', '.join(VARIANTS)}")
    variants["tls"] = list(VARIANTS)
    names = {f"global.{name}" for name in re.findall(r"(?m)^TEST\((\w+)\)", text)}
    for fixture, name in re.findall(r"(?m)^TEST_F\((\w+), (\w+)\)", text):
        if quick and name.startswith(LONG):
            continue
        if fixture in variants:
            names |= {f"{fixture}.{variant}.{name}" for variant in variants[fixture]}
        else:
            names.add(f"{fixture}.{name}")
    return names


def build(folder: Path, quick: bool) -> Path:
    """Compile the test without the variants of other ciphers.

    Args:
        folder: Result of `obtain`.
        quick: Leave out the multi-process cases.

    Returns:
        Path of the program.

    Raises:
        Unobtainable: The compiler is missing or rejects the test.
    """
    if shutil.which("cc") is None:
        raise Unobtainable("cc is missing")
    text = _accept_generation((folder / TEST).read_text())
    text = re.sub(
        r"FIXTURE_VARIANT_ADD\(tls, (\w+)\)\n\{.*?\n\};\n",
        lambda m: m[0] if m[1] in VARIANTS else "",
        text,
        flags=re.DOTALL,
    )
    if quick:
        unused = (
            r"static void __attribute__((unused)) unused_\1(struct __test_metadata *_metadata, "
            r"FIXTURE_DATA(tls) *self, const FIXTURE_VARIANT(tls) *variant)"
        )
        text = re.sub(rf"(?m)^TEST_F\(tls, ({LONG}\w*)\)", unused, text)
    source = folder / "tls_aes_gcm.c"
    source.write_text(text)
    program = folder / ("tls-quick" if quick else "tls")
    command = ["cc", "-O1", "-w", f"-I{folder / TREE}", f"-I{folder / TREE / 'net'}"]
    command += [f"-I{folder / UAPI}", "-o", str(program), str(source)]
    if "__test_passed" not in (folder / HARNESS).read_text():
        # Linux 6.1 has the newer test with the older harness.
        command.append("-D__test_passed(m)=((m)->passed)")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unobtainable(f"{folder.name}: the test does not compile: {done.stderr[:500]}")
    return program


def _accept_generation(text: str) -> str:
    """Let `tls_crypto_info_init` take the key generation as an optional fourth argument.

    Debian's stable kernels have tests that pass it, but not the function that accepts it.
    """
    text, found = re.subn(
        r"static void tls_crypto_info_init\(uint16_t tls_version, uint16_t cipher_type,\s*"
        r"struct tls_crypto_info_keys \*tls12\)\s*\{\s*memset\(tls12, 0, sizeof\(\*tls12\)\);",
        "static void keys_of(uint16_t tls_version, uint16_t cipher_type,"
        "struct tls_crypto_info_keys *tls12, char generation) {"
        "memset(tls12, generation, sizeof(*tls12));"
        "memset(tls12, 0, sizeof(struct tls_crypto_info));",
        text,
    )
    if not found:
        return text
    return text.replace(
        "static void memrnd",
        "#define KEYS_OF(v, c, k, generation, ...) keys_of(v, c, k, generation)\n"
        "#define tls_crypto_info_init(...) KEYS_OF(__VA_ARGS__, 0, 0)\n"
        "static void memrnd",
        1,
    )


def run(program: Path, kernel: str, timeout: float) -> Outcome:
    """Run the test on the model.

    Args:
        program: Result of `build`.
        kernel: Key of `ktls.KERNELS`.
        timeout: Limit in seconds.
    """
    command = [sys.executable, "-m", "ktls_cosim", "run", "--exact", "--kernel", kernel, "--"]
    done = subprocess.run(
        [*command, str(program)], capture_output=True, text=True, timeout=timeout, check=False
    )
    passed = set(re.findall(r"(?m)^ok \d+ (\w\S*)", done.stdout))
    failed = set(re.findall(r"(?m)^not ok \d+ (\w\S*)", done.stdout))
    return Outcome(passed, failed, done.stderr)


def main() -> int:
    """Run the test and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the multi-process cases")
    parser.add_argument("--kernel", default="7.x")
    parser.add_argument("--suite", help="take the newest kernel source of this suite, such as sid")
    args = parser.parse_args()
    try:
        folder = obtain(args.suite)
        wanted = cases(folder, args.quick)
        program = build(folder, args.quick)
    except Unobtainable as e:
        print(f"selftest: {e}", file=sys.stderr)
        return 2
    outcome = run(program, args.kernel, 3600)
    print(outcome.errors[-3000:], file=sys.stderr)
    for name in sorted(outcome.failed):
        reason = UNSUPPORTED.get(name.rpartition(".")[2])
        print(f"failed: {name}" + (f" (expected: {reason})" if reason else ""))
    missing = wanted - outcome.passed - outcome.failed
    for name in sorted(missing):
        print(f"no result: {name}")
    print(f"{folder.name}: passed {len(outcome.passed)} of {len(wanted)} AES-GCM cases")
    return 1 if missing or outcome.unexpected() else 0


if __name__ == "__main__":
    sys.exit(main())
