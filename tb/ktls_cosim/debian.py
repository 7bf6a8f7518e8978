# SPDX-License-Identifier: Apache-2.0
"""Packages of another Debian suite, unpacked beside the system and run through their own loader.

Nothing is installed, and apt's own lists and cache stay as they are. The archive is the one that
this machine's apt already uses.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ktls_cosim.errors import CosimError
from ktls_cosim.paths import build_root

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_TOOLS = ("apt-get", "apt-config", "dpkg-deb")
_LIMIT_S = 900


class PackagesMissing(CosimError):
    """The packages cannot be had on this machine; the message says why."""


@dataclass(frozen=True)
class Unpacked:
    """Packages with everything that they depend on, down to the C library.

    Attributes:
        root: folder with their files.
    """

    root: Path

    def command(self, program: str) -> list[str]:
        """Return the command that runs a program, such as `usr/bin/x`, with its own libraries.

        Raises:
            PackagesMissing: the packages have no such program.
        """
        path = self.root / program
        if not path.exists():
            raise PackagesMissing(f"{path} is missing; delete {self.root} and try again")
        libraries = [self.loader.parent, self.loader.parent / "pulseaudio"]
        return [str(self.loader), "--library-path", ":".join(map(str, libraries)), str(path)]

    @property
    def loader(self) -> Path:
        """The dynamic loader of the packages, which lies beside their C library.

        Raises:
            PackagesMissing: there is none.
        """
        loaders = sorted(self.root.glob("usr/lib/*-linux-gnu/ld-linux-*.so.*"))
        if not loaders:
            raise PackagesMissing(f"no loader in {self.root}; delete it and try again")
        return loaders[0]


def _folder(suite: str, packages: Sequence[str]) -> Path:
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:8]
    return build_root() / "debian" / f"{suite}-{digest}"


def find(suite: str, packages: Sequence[str]) -> Unpacked | None:
    """Return packages that `unpack` has left here; None without them."""
    root = _folder(suite, packages) / "root"
    return Unpacked(root) if root.is_dir() else None


def unpack(suite: str, packages: Sequence[str]) -> Unpacked:
    """Download packages with what they depend on, and unpack them, unless they are here already.

    Args:
        suite: such as `trixie` or `trixie-backports`.
        packages: their names.

    Raises:
        PackagesMissing: this is no Debian, or the archive does not have them.
    """
    if (found := find(suite, packages)) is not None:
        return found
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise PackagesMissing(f"{tool} is missing: only Debian's packages are supported")
    folder = _folder(suite, packages)
    shutil.rmtree(folder, ignore_errors=True)
    archives = folder / "cache" / "archives"
    for part in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache"):
        (folder / part).mkdir(parents=True)
    (archives / "partial").mkdir(parents=True)
    (folder / "state" / "status").touch()
    settings = _settings(folder, suite)
    _run(["apt-get", "-qq", "update"], settings)
    _run(
        ["apt-get", "-qq", "-y", "-d", "--no-install-recommends", "-t", suite, "install",
         *packages],
        settings,
    )  # fmt: skip
    work = folder / "unpacking"
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(work)])
    shutil.rmtree(folder / "cache")
    work.rename(folder / "root")  # a folder with this name is complete
    return Unpacked(folder / "root")


def _settings(folder: Path, suite: str) -> Path:
    """Write the configuration of an apt of our own, with the archive and proxies of this machine's.

    Raises:
        PackagesMissing: this machine's apt names no Debian archive.
    """
    indexes = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"])
    archive = re.search(r"^Debian Debian (\S+)$", indexes, re.MULTILINE)
    if archive is None:
        raise PackagesMissing("apt names no Debian archive; apt-get update may help")
    suites = dict.fromkeys((suite.split("-")[0], suite))
    lines = [f"deb [signed-by={_KEYRING}] {archive[1]} {name} main\n" for name in suites]
    (folder / "etc" / "sources.list").write_text("".join(lines))
    dump = _run(["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n'])
    kept = [line for line in dump.splitlines() if re.match("Acquire::(https?|Check-)", line)]
    settings = folder / "apt.conf"
    settings.write_text(
        "\n".join(
            [
                *kept,
                f'Dir "{folder}";',
                f'Dir::Etc "{folder}/etc";',
                f'Dir::Etc::parts "{folder}/etc/apt.conf.d";',
                f'Dir::State "{folder}/state";',
                f'Dir::State::status "{folder}/state/status";',
                f'Dir::Cache "{folder}/cache";',
                'APT::Sandbox::User "";\n',
            ]
        )
    )
    return settings


def _run(command: list[str], settings: Path | None = None) -> str:
    """Run a tool and return its output.

    Raises:
        PackagesMissing: it failed; the message ends with what it printed.
    """
    env = {**os.environ, "APT_CONFIG": str(settings)} if settings else None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_LIMIT_S, env=env
        )
    except subprocess.TimeoutExpired as e:
        raise PackagesMissing(f"{' '.join(command)} took more than {_LIMIT_S} s") from e
    if done.returncode:
        raise PackagesMissing(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-800:]}")
    return done.stdout
