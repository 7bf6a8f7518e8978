# SPDX-License-Identifier: Apache-2.0
"""Run the kernel's own test of kTLS, tools/testing/selftests/net/tls.c, on the model.

    python tests/live/helpers/selftest.py [--quick] [--kernel NAME]

This script fetches Debian's package linux-source-6.1; the repository contains no part of it. The
script builds the test with its AES-GCM variants and runs it under `ktls-cosim run --exact`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from ktls_cosim.paths import build_root

PACKAGE = "linux-source-6.1"
TREE = Path(PACKAGE) / "tools" / "testing" / "selftests"
FILES = (
    TREE / "net" / "tls.c",
    TREE / "kselftest_harness.h",
    TREE / "kselftest.h",
    Path(PACKAGE) / "include" / "uapi" / "linux" / "tls.h",
)
VARIANTS = ("12_aes_gcm", "13_aes_gcm", "12_aes_gcm_256", "13_aes_gcm_256", "13_nopad")
# cases of tens of megabytes through a dozen processes; they take minutes
LONG = ("mutliproc",)


class Unobtainable(Exception):
    """The sources are not available here; the message names the reason."""


def obtain() -> Path:
    """Return the folder of the four files; fetch them if necessary.

    Raises:
        Unobtainable: There is no package, or no tool to open it.
    """
    folder = build_root() / "selftest"
    if all((folder / file).is_file() for file in FILES):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for tool in ("apt-get", "dpkg-deb", "xz"):
        if shutil.which(tool) is None:
            raise Unobtainable(f"{tool} is missing")
    done = subprocess.run(
        ["apt-get", "download", "-q", PACKAGE], cwd=folder, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    packages = sorted(folder.glob(f"{PACKAGE}_*.deb"))
    if done.returncode or not packages:
        raise Unobtainable(f"apt-get download {PACKAGE}: {done.stderr.strip()[-200:]}")
    _unpack(packages[-1], folder)
    for package in packages:
        package.unlink()
    return folder


def _unpack(package: Path, folder: Path) -> None:
    wanted = {str(file) for file in FILES}
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE
    ) as deb:
        with tarfile.open(fileobj=deb.stdout, mode="r|") as outer:
            for member in outer:
                if not member.name.endswith(".tar.xz"):
                    continue
                inner_file = outer.extractfile(member)
                with tarfile.open(fileobj=inner_file, mode="r|xz") as inner:
                    for file in inner:
                        if file.name in wanted:
                            target = folder / file.name
                            target.parent.mkdir(parents=True, exist_ok=True)
                            source = inner.extractfile(file)
                            assert source is not None
                            target.write_bytes(source.read())
                            wanted.discard(file.name)
                        if not wanted:
                            break
                break
        deb.kill()
    if wanted:
        raise Unobtainable(f"{package.name} does not contain {', '.join(sorted(wanted))}")


def build(folder: Path, quick: bool) -> Path:
    """Compile the test.

    Backports in Debian's kernel pass a key generation to a function that does not have this
    parameter in this version of the file; the parameter is added here. Variants of other
    ciphers are left out.

    Raises:
        Unobtainable: The test does not compile.
    """
    text = (folder / FILES[0]).read_text()
    text, found = re.subn(
        r"static void tls_crypto_info_init\(uint16_t tls_version, uint16_t cipher_type,\s*"
        r"struct tls_crypto_info_keys \*tls12\)\s*\{\s*memset\(tls12, 0, sizeof\(\*tls12\)\);",
        "static void keys_of(uint16_t tls_version, uint16_t cipher_type,"
        "struct tls_crypto_info_keys *tls12, char generation) {"
        "memset(tls12, generation, sizeof(*tls12));"
        "memset(tls12, 0, sizeof(struct tls_crypto_info));",
        text,
    )
    if found:
        text = text.replace(
            "static void memrnd",
            "#define KEYS_OF(v, c, k, generation, ...) keys_of(v, c, k, generation)\n"
            "#define tls_crypto_info_init(...) KEYS_OF(__VA_ARGS__, 0, 0)\n"
            "static void memrnd",
            1,
        )
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
        for name in LONG:
            text = re.sub(rf"(?m)^TEST_F\(tls, ({name}\w*)\)", unused, text)
    source = folder / "tls_aes_gcm.c"
    source.write_text(text)
    program = folder / ("tls-quick" if quick else "tls")
    command = ["cc", "-O1", "-w", f"-I{folder / TREE}", f"-I{folder / TREE / 'net'}"]
    command += [f"-I{folder / PACKAGE / 'include' / 'uapi'}"]
    command += ["-D__test_passed(m)=((m)->passed)", "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unobtainable(f"the test does not compile: {done.stderr[:500]}")
    return program


def run(program: Path, kernel: str, timeout: float) -> tuple[list[str], list[str], str]:
    """Run the test on the model.

    Args:
        program: Compiled test.
        kernel: Key of `ktls.KERNELS`.
        timeout: Limit in seconds.

    Returns:
        Names of passed and of failed cases, and the standard error output.
    """
    command = [sys.executable, "-m", "ktls_cosim", "run", "--exact", "--kernel", kernel, "--"]
    done = subprocess.run(
        [*command, str(program)], capture_output=True, text=True, timeout=timeout, check=False
    )
    passed = re.findall(r"(?m)^ok \d+ (\S+)", done.stdout)
    failed = re.findall(r"(?m)^not ok \d+ (\S+)", done.stdout)
    return passed, failed, done.stderr


def main() -> int:
    """Run the test and print the number of passed cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the multi-process cases")
    parser.add_argument("--kernel", default="7.x")
    args = parser.parse_args()
    try:
        program = build(obtain(), args.quick)
    except Unobtainable as e:
        print(f"selftest: {e}", file=sys.stderr)
        return 2
    passed, failed, errors = run(program, args.kernel, 3600)
    print(errors[-3000:], file=sys.stderr)
    for name in failed:
        print(f"failed: {name}")
    print(f"passed {len(passed)} of {len(passed) + len(failed)} AES-GCM cases")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
