# SPDX-License-Identifier: Apache-2.0
"""The documentation is true: its site builds, its links resolve, its commands and programs work."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from html import unescape
from pathlib import Path

import pytest

from ktls_cosim.cli import main
from ktls_cosim.paths import ROOT
from support import ENV, have_simulator, missing, project_files
from test_readme import shape

DOCS = ROOT / "docs"
PAGES = sorted(
    p
    for pattern in ("*.md", "docs/**/*.md", "*/README.md", "tests/oracle/README.md")
    for p in ROOT.glob(pattern)
)
MAKEFILE = (ROOT / "Makefile").read_text()
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
# other people's programs, and the shell's own commands
FOREIGN = {
    ".", "./first", "/tmp/checked/hello_seal", "cc", "curl", "driver/c/hello_seal", "echo",
    "fusesoc", "gdb", "git", "mkdir", "nginx", "openssl", "pip", "pre-commit", "tshark",
    "valgrind",
}  # fmt: skip


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def tool(module: str, install: str = "pip install -e .[dev]") -> list[str]:
    """Command line of a Python tool of the dev extra."""
    if importlib.util.find_spec(module) is None:
        missing(module, install)
    return [sys.executable, "-m", module]


def run(*argv: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=cwd, env=ENV, capture_output=True, text=True, check=False, timeout=300
    )


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page in one of these languages, without their indentation."""
    found = FENCE.findall(page.read_text())
    return [re.sub(f"^{indent}", "", text, flags=re.M) for indent, language, text in found
            if language in languages]  # fmt: skip


def prose(page: Path) -> str:
    """The page with the content of its fenced blocks removed."""
    return FENCE.sub("", page.read_text())


# ------------------------------------------------------------------------- site


def test_site_builds_without_warnings(tmp_path: Path) -> None:
    for module in ("furo", "myst_parser"):
        tool(module)
    done = run(
        *tool("sphinx"), "-W", "--keep-going", "-q", "-d", tmp_path / "doctrees", DOCS,
        tmp_path / "site",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    api = (tmp_path / "site" / "api" / "ktls.html").read_text()
    assert "KtlsNic.probe" in api
    for page in (tmp_path / "site").rglob("*.html"):
        loads = re.findall(
            r'<(?:script|img|link|iframe)[^>]*(?:src|href)="(http[^"]+)', page.read_text()
        )
        assert not loads, f"{page} loads {loads} from elsewhere"


def test_make_docs_builds_it() -> None:
    assert "sphinx -W --keep-going" in MAKEFILE


# ------------------------------------------------------------------------ links


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of all headings, by GitHub's rule."""
    out: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        out.add(slug if slug not in out else f"{slug}-1")
    return out


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_anchors_exist(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{name(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in anchors(goal), f"{name(page)}: no heading for {target}"


# --------------------------------------------------------------------- commands


def commands() -> list[str]:
    """Every command in a shell block, or in inline code that starts with one of our tools."""
    out: set[str] = set()
    for page in PAGES:
        for block in blocks(page, "sh", "console", "bash"):
            lines = block.splitlines()
            prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            out.update(prompted or lines)
        for code in re.findall(r"`([^`\n]+)`", prose(page)):
            if re.match(r"(ktls-cosim|make|pytest|\.venv/bin/\S+|python hw/\S+) \S", code):
                out.add(code)
    parts = {bare(part) for command in out for part in command.split(" && ")}
    return sorted(p for p in parts if p and p.split()[0] not in FOREIGN)


def bare(command: str) -> str:
    """A command line without comment, environment settings and folder of its program."""
    words = shlex.split(command, comments=True)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return shlex.join(w.removeprefix(".venv/bin/") for w in words if w != "&")


@cache
def help_of(command: str) -> str:
    done = run(sys.executable, "-m", "ktls_cosim", command, "--help")
    assert done.returncode == 0, f"ktls-cosim {command} does not exist"
    return done.stdout


def check_our_command(words: list[str]) -> None:
    """The command exists, and the parser knows its options and their values."""
    if any(w.isupper() and not w.startswith("-") for w in words[:1]):
        return  # a placeholder: ktls-cosim COMMAND
    if "--" in words:
        words = words[: words.index("--")]
    options = [w.partition("=")[0] for w in words if w.startswith("-")]
    known = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", help_of(words[0])))
    assert set(options) <= known, f"unknown: {set(options) - known}"
    with pytest.raises(SystemExit) as e:
        main([*words, "--help"])
    assert e.value.code == 0
    for word in words:
        if word.startswith("tests/"):
            assert (ROOT / word).exists(), word


# One process collects for all commands, because importing the tests takes most of the time.
_COLLECT = """
import contextlib, io, json, sys
import pytest
found = []
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        status = pytest.main(["--collect-only", "-q", *words])
    found.append([int(status), out.getvalue()])
json.dump(found, sys.stdout)
"""


@cache
def collected() -> dict[str, tuple[int, str]]:
    """Exit status and output of `pytest --collect-only` for each pytest command of the pages."""
    ours = [c for c in commands() if c.startswith("pytest ")]
    done = subprocess.run(
        [sys.executable, "-c", _COLLECT], input=json.dumps([shlex.split(c)[1:] for c in ours]),
        cwd=ROOT, env=ENV, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    return {c: (status, output) for c, (status, output) in zip(ours, results, strict=True)}


@pytest.mark.parametrize("command", commands())
def test_command_exists(command: str) -> None:
    program, *rest = shlex.split(command)
    if program == "make":
        makefile = MAKEFILE
        if rest[:1] == ["-C"]:
            makefile = (ROOT / rest[1] / "Makefile").read_text()
            rest = rest[2:]
        for word in rest:
            variable = word.partition("=")[0]
            assert re.search(rf"\$\({variable}\)" if "=" in word else rf"^{word}:", makefile, re.M)
    elif program == "ktls-cosim":
        check_our_command(rest)
    elif program == "pytest":
        status, output = collected()[command]
        assert status == 0, output[-2000:]
    elif program == "python":
        assert (ROOT / rest[0]).exists()
    else:
        assert (ROOT / program).exists(), f"{program}: not one of our tools, and not in FOREIGN"


def test_commands_were_found() -> None:
    found = commands()
    assert len(found) > 40
    assert "ktls-cosim bench rtl" in found
    assert any(c.startswith("pytest tests/sim") for c in found)


def test_command_line_reference_is_complete() -> None:
    """docs/cli.md has a section per command and a row per option."""
    page = (DOCS / "cli.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    assert "`-v`, `--verbose`" in page.partition("\n## ")[0], "an option of every command"
    listed = re.search(r"\{([\w,]+)\}", run(sys.executable, "-m", "ktls_cosim", "--help").stdout)
    assert listed
    for command in listed[1].split(","):
        assert command in sections, f"docs/cli.md has no section {command}"
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(command)))
        options -= {"--help", "--verbose"}
        shown = set(re.findall(r"--[a-z][a-z-]*", sections[command]))
        assert options <= shown, f"docs/cli.md, {command}: {sorted(options - shown)} missing"


# --------------------------------------------------------------------- programs


def programs() -> list[tuple[Path, str]]:
    """Python programs in docs/; test_readme.py runs the one of the README."""
    return [(page, code) for page in PAGES if page.name != "README.md"
            for code in blocks(page, "python")]  # fmt: skip


@pytest.mark.parametrize(
    ("page", "code"), programs(), ids=lambda x: name(x) if isinstance(x, Path) else ""
)
def test_program_runs(page: Path, code: str, tmp_path: Path) -> None:
    """It runs; if a `text` block follows it, that is its output."""
    program = tmp_path / "program.py"
    program.write_text(code)
    done = run(sys.executable, program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rest = page.read_text().partition(code)[2]
    following = FENCE.search(rest.partition("```\n")[2])
    if following and following[2] == "text":
        assert done.stdout == following[3]


# --------------------------------------------------------------------- pictures


def screenshots() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("screenshots", DOCS / "screenshots.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.SCREENSHOTS)


def text_of(svg: str) -> str:
    """The lines of a terminal picture, top to bottom."""
    lines: dict[float, list[tuple[float, str]]] = {}
    for tag, x, y, text in re.findall(
        r'<text([^>]*) x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', svg
    ):
        if "terminal-title" not in tag:
            lines.setdefault(float(y), []).append((float(x), unescape(text).replace("\xa0", " ")))
    return "\n".join("".join(t for _, t in sorted(lines[y])).strip() for y in sorted(lines))


@pytest.mark.parametrize(("picture", "command"), screenshots().items())
def test_screenshot_matches_the_output(picture: str, command: str) -> None:
    if "model" not in command:
        have_simulator()
    svg = (DOCS / "images" / f"{picture}.svg").read_text()
    assert "@font-face" not in svg
    shown = text_of(svg)
    assert f"$ {command}" in shown
    done = run(sys.executable, "-m", "ktls_cosim", *command.split()[1:])
    output = re.sub(r"\S*/ktls-cosim ", "ktls-cosim ", done.stdout)
    expected = shape(re.sub(r"\b[0-9a-f]{2}( [0-9a-f]{2})+\b", "HEX", output))
    drawn = shape(re.sub(r"\b[0-9a-f]{2}( [0-9a-f]{2})+\b", "HEX", shown.partition(command)[2]))
    assert drawn == expected, "draw it again: python docs/screenshots.py"


# ------------------------------------------------------------------------- text


# names that are not ours: Linux's barriers, the loader's variable, short forms and placeholders
_NOT_OURS = {
    "LD_PRELOAD", "dma_rmb", "dma_wmb", "SQ_BASE", "CQ_BASE", "your_port", "cocotb_NAME",
    "cocotb_X", "pci_set_master",
}  # fmt: skip


@cache
def names_in_the_sources() -> set[str]:
    folders = [ROOT / f for f in ("driver", "hw", "rtl", "tb", "tests", ".ci")]
    files = [p for folder in folders for p in folder.rglob("*") if p.is_file()]
    sources = [
        p
        for p in files
        if p.suffix in (".py", ".v", ".vh", ".vlt", ".rdl", ".h", ".c", ".f", ".sh")
    ]
    text = MAKEFILE + "\n".join(p.read_text() for p in sources)
    return set(re.findall(r"\w+", text)) | {p.stem for p in files}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_of_the_code_exist(page: Path) -> None:
    """A name with an underscore or an inner capital in inline code occurs in the sources."""
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        for word in re.findall(r"[A-Za-z_]\w*", code):
            if "_" in word.strip("_") or re.search("[a-z][A-Z]", word):
                assert word in names_in_the_sources() | _NOT_OURS, f"{name(page)}: `{code}`"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_fit_in_100_columns(page: Path) -> None:
    for line in prose(page).splitlines():
        if not line.startswith("|") and "](" not in line and page.name != "registers.md":
            assert len(line) <= 100, f"{name(page)}: {line}"


def test_spelling() -> None:
    done = run(*tool("codespell_lib"), *project_files())
    assert done.returncode == 0, done.stdout


def test_pre_commit_runs_tools_of_the_environment() -> None:
    entries = re.findall(r"entry: (\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert len(entries) == 5
    for entry in entries:
        program = Path(entry)
        assert program.parent == Path(".venv/bin")
        if not (Path(sys.executable).parent / program.name).exists():
            missing(program.name, "pip install -e .[dev]")


def test_scripts_have_their_licence_line() -> None:
    for path in DOCS.glob("*.py"):
        assert path.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n"), path


def test_tutorial_breaks_an_existing_line() -> None:
    [line] = blocks(DOCS / "tutorial-break-it.md", "verilog")
    assert line.strip() in (ROOT / "rtl" / "core" / "ktls_gcm.v").read_text()


def test_area_tables_are_those_of_the_measurements() -> None:
    """`python hw/synth/tables.py` would change nothing."""
    spec = importlib.util.spec_from_file_location("tables", ROOT / "hw" / "synth" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = tables.PAGE.read_text()
    assert tables.render(page) == page, "run: python hw/synth/tables.py"
    assert page.count("| **total** |") == len(list(tables.TABLES.glob("*.json"))) > 0
