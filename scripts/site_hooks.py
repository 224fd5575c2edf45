"""What mkdocs.yml asks of Python: the examples become pages of the site, and links lead to them.

A page of docs/ links to an example as it stands in the repository (`../examples/web`), and so do
the READMEs of the examples to docs/ and to each other. On the site each source of examples/ is a
page that shows it, and each folder one with its README and its files.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LANGUAGES = {
    ".css": "css",
    ".html": "html",
    ".js": "js",
    ".json": "json",
    ".jsx": "jsx",
    ".mjs": "js",
    ".py": "python",
    ".sh": "sh",
    ".toml": "toml",
    ".ts": "ts",
    ".tsx": "tsx",
    ".txt": "text",
    ".yaml": "yaml",
    ".yml": "yaml",
}
# Made by tools, or by the examples when they run.
_LEFT_OUT = {"__pycache__", "dist", "glm-web-data", "node_modules", "package-lock.json"}
_FENCE = re.compile(r"^ *(`{3,}|~{3,})")
_LINK = re.compile(r"(\]\(|\b(?:src|href|srcset)=\")([^)\s\"]+)")
_CODE = re.compile(r"<(pre|code)\b.*?</\1>", re.DOTALL)
_FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video|audio|link(?![^>]*rel=\"(?:canonical|prev|next)\"))\b"
    r"[^>]*?=\"((?:https?:)?//[^\"]+)"
)
_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
# GitHub begins a list or a table here; Python-Markdown wants an empty line before it.
_AS_TEXT = re.compile(r"```|~~~|\n(?:[-*] |1\. |\|).*")

log = logging.getLogger("mkdocs.hooks.site")


def sources(root: Path = ROOT) -> Iterator[str]:
    """Name every source of examples/ that is shown, from the root of the repository."""
    for folder, below, names in os.walk(root / "examples"):
        below[:] = sorted(name for name in below if _is_shown(name))
        for name in sorted(names):
            if _is_shown(name) and posixpath.splitext(name)[1] in LANGUAGES:
                yield (Path(folder) / name).relative_to(root).as_posix()


def _is_shown(name: str) -> bool:
    return name not in _LEFT_OUT and not name.startswith(".")


def folders(root: Path = ROOT) -> Iterator[str]:
    """Name examples/ and every folder below it that has a source, or a folder with one."""
    seen = set()
    for name in sources(root):
        while name := posixpath.dirname(name):
            seen.add(name)
    yield from sorted(seen)


def page_of(path: str, root: Path = ROOT) -> str | None:
    """Give the page, or the file, of the site that shows a path of the repository."""
    folder = path.removesuffix("/README.md")
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if folder in folders(root):
        return f"{folder}/index.md"
    return f"{path}.md" if path in sources(root) else None


def relinked(markdown: str, source: str, page: str, find: Callable[[str], str | None]) -> str:
    """Make the links of a document lead to pages of the site.

    Args:
        markdown: The document.
        source: Where it stands in the repository: its links start there.
        page: Which page of the site it is.
        find: Gives the page of a path of the repository (`page_of`).
    """

    def moved(match: re.Match[str]) -> str:
        before, link = match.groups()
        path, mark, anchor = link.partition("#")
        if not path or ":" in path or path.startswith("/"):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        found = find(target)
        if found is None:
            return match[0]  # MkDocs says that it leads nowhere
        return before + posixpath.relpath(found, posixpath.dirname(page) or ".") + mark + anchor

    lines, fence = [], ""
    for line in markdown.split("\n"):
        opened = _FENCE.match(line)
        if opened and (not fence or line.strip() == fence):
            fence = "" if fence else opened[1]
        lines.append(line if fence else _LINK.sub(moved, line))
    return "\n".join(lines)


def source_page(name: str, text: str) -> str:
    """Write the page of a source."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    language = LANGUAGES[posixpath.splitext(name)[1]]
    head = "---\nsearch:\n  exclude: true\n---\n\n"
    return f"{head}# {name}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def folder_page(folder: str, root: Path = ROOT) -> str:
    """Write the page of a folder: its README and its files."""
    readme = root / folder / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.exists() else f"# {folder}\n"
    names = [
        name.removeprefix(f"{folder}/") for name in sources(root) if name.startswith(f"{folder}/")
    ]
    files = "".join(f"- [{name}]({name})\n" for name in names)
    return f"{text.rstrip()}\n\n## Its files\n\n{files}"


# MkDocs calls these by name.

_repository: dict[str, str] = {}  # generated page -> where its document stands in the repository


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the examples."""
    from mkdocs.structure.files import File, InclusionLevel  # noqa: PLC0415 - the rest needs none

    def add(source: str, page: str, content: str) -> None:
        _repository[page] = source
        files.append(
            File.generated(config, page, content=content, inclusion=InclusionLevel.NOT_IN_NAV)
        )

    for name in sources():
        text = (ROOT / name).read_text(encoding="utf-8")
        add(name, f"{name}.md", source_page(name, text))
    for folder in folders():
        add(f"{folder}/README.md", f"{folder}/index.md", folder_page(folder))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001
    """Make the links to examples, and those of examples, lead to pages."""
    uri = page.file.src_uri
    return relinked(markdown, _repository.get(uri, f"docs/{uri}"), uri, page_of)


def on_post_page(output: str, page: Any, config: Any) -> str:  # noqa: ARG001
    """Warn, which ends a strict build, of what is not shown as it was meant."""
    uri = page.file.src_uri
    for address in _FETCHED.findall(output):
        log.warning("%s: a reader's browser would fetch %s", uri, address)
    for paragraph in _PARAGRAPH.findall(_CODE.sub("", output)):
        if shown := _AS_TEXT.search(paragraph):
            log.warning("%s: %r is shown as text", uri, shown[0])
    return output
