# SPDX-License-Identifier: Apache-2.0
"""RTL of the user in place of ours: the files, folders and file lists of the option `--rtl`.

A module of the user replaces our module of the same name: `ktls_gcm` replaces the core,
`ktls_nic` the whole device. Each of our files holds one module.

A file list (`*.f`) has one entry per line: a file, `+incdir+FOLDER` or `-IFOLDER`, or
`+define+NAME` or `+define+NAME=VALUE`. Paths are relative to the list; `#` and `//` begin
comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ktls_cosim.capabilities import FILE, Capabilities
from ktls_cosim.errors import CosimError

_VERILOG = (".v", ".sv")
_HEADERS = (".vh", ".svh")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_MODULE = re.compile(r"\bmodule\s+(?:automatic\s+|static\s+)?(\w+)")


class RtlError(CosimError):
    """The RTL of the user cannot be used; the message says what to change."""


@dataclass(frozen=True)
class OwnRtl:
    """RTL of the user.

    Attributes:
        sources: Verilog and SystemVerilog files in compile order.
        includes: Folders that are searched for include files.
        defines: Preprocessor macros.
        capabilities: The file that declares the capabilities of the core, if there is one.
        can: The content of that file.
    """

    sources: tuple[Path, ...]
    includes: tuple[Path, ...] = ()
    defines: Mapping[str, str] = field(default_factory=dict)
    capabilities: Path | None = None
    can: Capabilities = field(default_factory=Capabilities)

    @classmethod
    def find(cls, names: Iterable[Path | str]) -> OwnRtl:
        """Collect the files that the arguments of `--rtl` select.

        Args:
            names: Files, file lists (`*.f`), or folders. A folder selects its file list if
                it has exactly one, else all Verilog files directly in it.

        Raises:
            RtlError: A file is missing or cannot be simulated.
            CapabilitiesError: The declaration of the core is invalid.
        """
        sources: list[Path] = []
        includes: list[Path] = []
        defines: dict[str, str] = {}
        folders: list[Path] = []
        for name in names:
            path = Path(name).resolve()
            if path.is_dir():
                folders.append(path)
                lists = sorted(path.glob("*.f"))
                if len(lists) == 1:
                    path = lists[0]
            elif path.is_file():
                folders.append(path.parent)
            else:
                raise RtlError(f"{path}: no such file or folder")
            if path.is_dir():
                sources += _of_folder(path)
                includes.append(path)
            elif path.suffix == ".f":
                _read_list(path, sources, includes, defines)
            else:
                includes.append(path.parent)
                if path.suffix not in _HEADERS:
                    sources.append(path)
        for source in sources:
            _check(source)
        declared = list(dict.fromkeys(f / FILE for f in folders if (f / FILE).is_file()))
        if len(declared) > 1:
            raise RtlError(f"more than one {FILE}: {', '.join(map(str, declared))}")
        capabilities = declared[0] if declared else None
        return cls(
            tuple(dict.fromkeys(sources)),
            tuple(dict.fromkeys(includes)),
            defines,
            capabilities,
            Capabilities.load(capabilities),
        )

    def modules(self) -> set[str]:
        """The names of all modules in the sources."""
        out: set[str] = set()
        for source in self.sources:
            text = _COMMENT.sub(" ", source.read_text(errors="replace"))
            out.update(_MODULE.findall(text))
        return out

    def in_place_of(self, ours: Iterable[Path]) -> tuple[Path, ...]:
        """Return our sources, with those of the user in place of the modules that both have.

        Raises:
            RtlError: The user has no module that replaces one of ours.
        """
        ours = tuple(ours)
        mine = self.modules()
        kept = tuple(p for p in ours if p.stem not in mine)
        if len(kept) == len(ours):
            raise RtlError(
                f"the modules {', '.join(sorted(mine)) or '(none)'} replace none of the device; "
                "the top level of a core must be named ktls_gcm and have the ports of "
                "hw/examples/empty_core; hw/examples has adapters to copy"
            )
        return (*kept, *self.sources)


def _of_folder(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.iterdir() if p.suffix in _VERILOG)
    if not found:
        raise RtlError(f"{folder}: has neither a Verilog file nor exactly one file list (*.f)")
    return found


def _read_list(
    path: Path, sources: list[Path], includes: list[Path], defines: dict[str, str]
) -> None:
    """Add the entries of a file list."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        for entry in re.sub(r"(#|//).*", "", line).split():
            if entry.startswith("+incdir+"):
                includes.append((path.parent / entry[8:]).resolve())
            elif entry.startswith("+define+"):
                name, _, value = entry[8:].partition("=")
                defines[name] = value or "1"
            elif entry.startswith("-I"):
                includes.append((path.parent / entry[2:]).resolve())
            elif entry.startswith(("-", "+")):
                raise RtlError(f"{path}:{number}: {entry!r} is not supported")
            else:
                source = (path.parent / entry).resolve()
                if not source.is_file():
                    raise RtlError(f"{path}:{number}: {source}: no such file")
                sources.append(source)


def _check(source: Path) -> None:
    if source.suffix in (".vhd", ".vhdl"):
        raise RtlError(
            f"{source}: Icarus and Verilator do not read VHDL; "
            "convert it, for example with: ghdl --synth --out=verilog"
        )
    if source.suffix not in _VERILOG:
        raise RtlError(f"{source}: not a Verilog file ({', '.join(_VERILOG)}) or file list (.f)")
