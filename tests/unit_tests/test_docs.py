"""What the documents show works: Python runs against GLMServer, commands and links exist."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import DOCUMENTS, FENCES, ROOT, Fence, parts
from packaging.requirements import Requirement
from typer.main import get_command

from benchmarks.__main__ import main as bench
from benchmarks.peers.__main__ import main as bench_peers
from benchmarks.peers.environments import REQUIREMENTS
from langchain_glm._endpoints import ENDPOINTS
from langchain_glm.cli._app import app
from langchain_glm.testing import GLMServer
from langchain_glm.testing.__main__ import main as serve

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


HERE = "langchain-openai"  # the package of a "before" that is installed here too


# Python


EXAMPLES = [
    pytest.param(fence, id=fence.name)
    for fence in FENCES
    if fence.language == "python" and fence.title in {"", HERE}
]


@pytest.mark.parametrize("fence", EXAMPLES)
def test_example_runs(
    fence: Fence, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    code = fence.text
    with GLMServer() as server:
        monkeypatch.setenv("ZAI_API_KEY", "test-key")
        monkeypatch.setenv("ZAI_BASE_URL", server.base_url)
        if fence.title == HERE:  # what stood there before ours names Z.ai by its address
            for url in ENDPOINTS.values():
                code = code.replace(url, server.base_url)
        exec(compile(code, fence.name, "exec"), {"__name__": "__main__"})  # noqa: S102
    assert "test-key" not in capsys.readouterr().out


def test_readme_has_examples() -> None:
    assert sum(param.id.startswith("README.md:") for param in EXAMPLES) >= 3


def test_readme_names_every_endpoint() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in readme and url in readme for name, url in ENDPOINTS.items())


# What is shown in other languages


def check_python(fence: Fence) -> None:
    known = {"", HERE, *REQUIREMENTS}
    assert fence.title in known, f"{fence.title} is none of {sorted(known)}"
    compile(fence.text, fence.name, "exec")


def check_js(_fence: Fence) -> None:
    checks = (ROOT / "tests" / "node").glob("check_*.py")
    assert any("```js" in check.read_text(encoding="utf-8") for check in checks)


def check_jsx(fence: Fence) -> None:
    """It is of the page that stands beside the document."""
    pages = fence.document.parent.glob("*.jsx")
    shown = " ".join(fence.text.split())
    assert any(shown in " ".join(page.read_text(encoding="utf-8").split()) for page in pages)


def check_sh(fence: Fence) -> None:
    for command in commands(fence.text):
        if not (ROOT / command[0]).is_file():  # a script of ours
            assert command[0] in COMMANDS, f"{command[0]!r} is no command that is known here"
            COMMANDS[command[0]](command[1:], fence.document.parent)


CHECKS: dict[str, Callable[[Fence], object]] = {
    "bash": check_sh,
    "js": check_js,
    "jsx": check_jsx,
    "json": lambda fence: json.loads(fence.text),
    "python": check_python,
    "sh": check_sh,
    "text": lambda _: None,  # what a program prints, what a server sends
    "toml": lambda fence: tomllib.loads(fence.text),
    "yaml": lambda fence: yaml.safe_load(fence.text),
}


@pytest.mark.parametrize("fence", [pytest.param(fence, id=fence.name) for fence in FENCES])
def test_what_a_block_shows_exists(fence: Fence) -> None:
    assert fence.language in CHECKS, f"a block of {fence.language or 'no language'!r}"
    CHECKS[fence.language](fence)


# Commands


_OPERATORS = {"&&", "||", "|", ";", "&"}
_REDIRECTIONS = {"<", ">", ">>", "2>"}
_ASSIGNMENT = re.compile(r"^[A-Z_]+=")


def commands(script: str) -> Iterator[list[str]]:
    """Give the commands of a script as words, without variables, comments and redirections."""
    for line in script.replace("\\\n", " ").replace("2>&1", "").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;<>")
        lexer.whitespace_split = True
        words, command = iter(lexer), []
        for word in words:
            if word in _REDIRECTIONS:
                next(words)
            elif word in _OPERATORS:
                yield from [command] if command else []
                command = []
            elif command or not _ASSIGNMENT.match(word):
                command.append(word)
        if command:
            yield command


MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"\$\((\w+)\)", MAKEFILE))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def make(words: Sequence[str], _folder: Path) -> None:
    for word in words:
        name, is_variable, _ = word.partition("=")
        known = VARIABLES if is_variable else TARGETS
        assert name in known, f"make has no {name}"


def pip(words: Sequence[str], _folder: Path) -> None:
    assert words[0] in {"install", "uninstall"}
    for word in (word for word in words[1:] if not word.startswith("-")):
        wanted = Requirement(word.replace(".", PROJECT["name"], 1) if word[0] == "." else word)
        if words[0] == "install" and wanted.name.startswith("langchain-glm"):
            assert wanted.name == PROJECT["name"], f"ours is not {wanted.name}"
            unknown = wanted.extras - PROJECT["optional-dependencies"].keys()
            assert not unknown, f"no extra is named {unknown}"


def langchain_glm(words: Sequence[str], _folder: Path) -> None:
    group: Any = get_command(app)
    # The parser alone: these options print, or install something, as soon as they are read.
    context = group.context_class(group, **group.context_settings)
    _, rest, _ = group.make_parser(context).parse_args(list(words))
    if rest:
        assert rest[0] in group.commands, f"langchain-glm has no {rest[0]}"
        options = [word for word in rest[1:] if word != "--help"]
        group.commands[rest[0]].make_context(rest[0], options)  # reads them, and runs nothing


def help_of(main: Callable[[Sequence[str]], object]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main(["--help"])
    return said.getvalue()


MODULES: dict[str, Callable[[], str]] = {
    "benchmarks": lambda: help_of(bench),
    "benchmarks.peers": lambda: help_of(bench_peers),
    "langchain_glm.testing": lambda: help_of(serve),
}


def python(words: Sequence[str], folder: Path) -> None:
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    if words[0] == "-m":
        assert words[1] in MODULES, f"no module {words[1]}"
        text = MODULES[words[1]]()
    else:
        file = next((f / words[0] for f in (ROOT, folder) if (f / words[0]).is_file()), None)
        assert file, f"there is no {words[0]}"
        text = file.read_text(encoding="utf-8")
    assert all(option in text for option in options), f"{words} has an option that is none"


def export(words: Sequence[str], _folder: Path) -> None:
    assert all(_VARIABLES.match(word) for word in words), f"{words} sets nothing that is read"


_VARIABLES = re.compile(
    "(ZAI_API_KEY|ZAI_BASE_URL|ZHIPUAI_API_KEY|LANGSMITH_TRACING|"
    "LANGGRAPH_CLI_NO_ANALYTICS|LANGGRAPH_NO_VERSION_CHECK)="
)


def cd(words: Sequence[str], folder: Path) -> None:
    assert (ROOT / words[0]).is_dir() or (folder / words[0]).is_dir()


def others(*_: object) -> None:
    """Nothing to look at here."""


COMMANDS: dict[str, Callable[[Sequence[str], Path], object]] = {
    "cd": cd,
    "export": export,
    "langchain-glm": langchain_glm,
    "make": make,
    "pip": pip,
    "python": python,
    "python3": python,
    # Programs of others.
    "curl": others,  # asks a server that the reader has
    "docker": others,  # has to pull an image
    "git": others,  # any repository of the reader's
    "langgraph": others,  # make test-scale starts it
    "npm": others,  # needs a registry; make test-node installs the same packages
    "npx": others,
    "sglang": others,  # needs a GPU
    "vllm": others,  # needs a GPU
}


BROKEN = [
    pytest.param("", "x", id="no_language"),
    pytest.param("ruby", "x", id="unknown_language"),
    pytest.param("json", "{", id="json"),
    pytest.param("jsx", "noSuchPage()", id="jsx"),
    pytest.param("toml", "a = ", id="toml"),
    pytest.param("yaml", "a: [", id="yaml"),
    pytest.param("python", "print(", id="python"),
    pytest.param("sh", "make no-such-target", id="target"),
    pytest.param("sh", "make test NO_SUCH=1", id="variable"),
    pytest.param("sh", "make demo && make no-such-target", id="second_command"),
    pytest.param("sh", 'pip install "langchain-glm-zai[no_such]"', id="extra"),
    pytest.param("sh", 'pip install ".[no_such]"', id="extra_of_a_checkout"),
    pytest.param("sh", "pip install langchain-glm", id="distribution"),
    pytest.param("sh", "langchain-glm no-such", id="subcommand"),
    pytest.param("sh", "langchain-glm chat --no-such", id="option_of_ours"),
    pytest.param("sh", "git diff | langchain-glm --no-such", id="behind_a_pipe"),
    pytest.param("sh", "python examples/no_such.py", id="example"),
    pytest.param("sh", "python examples/web/app.py --no-such", id="option_of_example"),
    pytest.param("sh", "python -m langchain_glm.no_such", id="module"),
    pytest.param("sh", "python -m benchmarks --no-such", id="option_of_module"),
    pytest.param("sh", "export NO_SUCH=1", id="export"),
    pytest.param("sh", "no-such-command", id="command"),
    pytest.param("sh", "make \\\n  no-such-target", id="continued_line"),
]


@pytest.mark.parametrize(("language", "text"), BROKEN)
def test_what_does_not_exist_is_found(language: str, text: str) -> None:
    fence = Fence(ROOT / "README.md", 1, language, "", text + "\n")
    with pytest.raises(Exception):  # noqa: B017, PT011 - any of many parsers
        test_what_a_block_shows_exists(fence)


def test_a_title_names_a_package_that_is_compared() -> None:
    with pytest.raises(AssertionError):
        check_python(Fence(ROOT / "README.md", 1, "python", "no-such-package", "pass\n"))


def test_blocks_of_every_kind_are_found(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        '- item\n\n  ```python title="openai"\n  if x:\n      y\n  ```\n'
        "````text\n```sh\nno command\n```\n````\n~~~json\n{}\n~~~\n",
        encoding="utf-8",
    )
    found = [(fence.language, fence.title, fence.text) for fence in parts(document)[1]]
    assert found == [
        ("python", "openai", "if x:\n    y\n"),
        ("text", "", "```sh\nno command\n```\n"),
        ("json", "", "{}\n"),
    ]


# Links


_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|href|srcset)=\"([^\"]+)\"")
_ELSEWHERE = re.compile(r"^(?:[a-z]+:|//)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)


def prose(document: Path) -> str:
    return parts(document)[0]


def anchors(document: Path) -> set[str]:
    """Give the anchors of a document: GitHub's of its headings, the site's of its directives."""
    text, known = prose(document), []
    for heading in _HEADING.findall(text):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        known.append(f"{slug}-{known.count(slug)}" if slug in known else slug)
    return {*known, *_DIRECTIVE.findall(text)}


def broken_links(document: Path) -> Iterator[str]:
    """Name the links of a document that lead nowhere."""
    for match in _LINK.findall(_CODE.sub("", prose(document))):
        link = match[0] or match[1]
        if _ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        is_there = target.exists() and target.is_relative_to(ROOT)
        if not is_there or (anchor and anchor not in anchors(target)):
            yield link
        elif document.is_relative_to(ROOT / "docs"):
            folders = [ROOT / "docs", ROOT / "examples"]  # all that the site has
            if not any(target.is_relative_to(folder) for folder in folders):
                yield link


@pytest.mark.parametrize(
    "document", [pytest.param(d, id=d.relative_to(ROOT).as_posix()) for d in DOCUMENTS]
)
def test_links_lead_somewhere(document: Path) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize(
    "link", ["no-such.md", "README.md#no-such", "#no-such", "../outside.md", "docs/images/none.png"]
)
def test_a_link_that_leads_nowhere_is_found(link: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"# Title\n\n`[code](none)` [a link](README.md) [broken]({link}) ![x](LICENSE)\n"
    monkeypatch.setattr("test_docs.prose", lambda _: text)
    assert list(broken_links(ROOT / "README.md")) == [link]


def test_a_page_links_to_what_the_site_has(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "[a](../LICENSE) [b](../examples/web) [c](security.md)"
    monkeypatch.setattr("test_docs.prose", lambda _: text)
    assert list(broken_links(ROOT / "docs" / "streaming.md")) == ["../LICENSE"]
