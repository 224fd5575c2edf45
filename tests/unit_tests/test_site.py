"""The site of docs/: its pages, its API reference, its picture, and what its hooks do.

`make docs` builds it, strictly; these checks need no MkDocs.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import runpy
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from test_exports import PUBLIC

from langchain_glm import errors
from langchain_glm._delta import Reply
from langchain_glm._message import ChunkWriter, EventWriter
from langchain_glm._sse import SSEDecoder
from langchain_glm.streaming import ToolCallParser
from langchain_glm.streaming.encoders import ag_ui, sse, vercel
from langchain_glm.streaming.encoders.sse import SSEEncoder

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav
    return [page for child in children for page in pages_of(child)]


def test_every_page_is_in_the_navigation_once() -> None:
    there = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    named = pages_of(SITE["nav"])
    assert set(named) ^ set(there) == set()
    assert len(named) == len(there)


def test_a_build_is_strict_and_fetches_no_fonts() -> None:
    assert SITE["strict"]
    assert set(SITE["validation"].values()) == {"warn"}
    assert SITE["theme"]["font"] is False
    assert not SITE.keys() & {"extra_javascript", "extra_css"}


# The API reference


_DIRECTIVE = re.compile(r"^::: (\S+)\n((?:    .*\n)*)", re.MULTILINE)


def directives() -> list[tuple[str, dict[str, Any]]]:
    """Read which objects the pages show, and how."""
    pages = [path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md"))]
    found = [found for page in pages for found in _DIRECTIVE.findall(page)]
    return [(name, (yaml.safe_load(said) or {}).get("options", {})) for name, said in found]


def public_names() -> list[str]:
    own = [name for name, value in vars(errors).items() if name.startswith("GLM")]
    modules = {"langchain_glm.errors": own, "langchain_glm.tools": None, **PUBLIC}
    return [
        f"{module}.{name}"
        for module, names in modules.items()
        for name in (names if names is own else importlib.import_module(module).__all__)
    ]


def found(name: str) -> Any:
    """Find an object by its whole name."""
    module, _, rest = name, "", ""
    while True:
        try:
            thing: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}" if rest else last
            continue
        for part in filter(None, rest.split(".")):
            thing = getattr(thing, part)
        return thing


def test_every_public_name_is_on_one_page_of_the_reference() -> None:
    counted = Counter(name for name, _ in directives())
    assert {name: counted[name] for name in public_names()} == dict.fromkeys(public_names(), 1)
    others = [name for name in counted if name not in public_names()]
    assert all(isinstance(found(name), ModuleType) for name in others), others
    assert max(counted.values()) == 1


@pytest.mark.parametrize("module", [sse, ag_ui, vercel], ids=lambda module: module.__name__[-6:])
def test_every_name_of_an_encoder_is_in_the_reference(module: ModuleType) -> None:
    shown = dict(directives())[module.__name__]["members"]
    own = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and (name.isupper() or _is_of(value, module))
    ]
    assert sorted(shown) == sorted(own)


def _is_of(value: Any, module: ModuleType) -> bool:
    is_defined = inspect.isfunction(value) or inspect.isclass(value)
    return is_defined and value.__module__ == module.__name__


def test_every_member_that_the_reference_names_exists() -> None:
    for name, options in directives():
        for member in options.get("members") or ():
            thing = found(name)
            assert member in getattr(thing, "model_fields", {}) or hasattr(thing, member), member


# The picture


SVG = {"svg": "http://www.w3.org/2000/svg"}
PICTURE = ET.parse(DOCS / "images" / "fragment.svg")  # noqa: S314 - our own


def texts(kind: str) -> list[str]:
    return [text.text or "" for text in PICTURE.iterfind(f".//svg:text[@class='{kind}']", SVG)]


def test_every_name_in_the_picture_exists() -> None:
    names = [name for text in texts("name") for name in text.split(" · ")]
    assert len(names) > 15
    assert all(callable(found(f"langchain_glm.{name}")) for name in names)


def test_every_module_that_the_page_names_has_what_it_says() -> None:
    page = (DOCS / "inside.md").read_text(encoding="utf-8")
    names = re.findall(r"`((?:_[a-z]+|chat_models|streaming)\.[\w.]+)`", page)
    assert len(names) > 15
    assert all(found(f"langchain_glm.{name}") for name in names)


def frame_of(call: dict[str, Any]) -> bytes:
    frame = {"choices": [{"delta": {"tool_calls": [{"index": 0, **call}]}}]}
    return b"data: %b\n\n" % json.dumps(frame, separators=(",", ":")).encode()


FRAMES = [
    frame_of({"id": "call_1", "function": {"name": "say", "arguments": '{"text": "'}}),
    frame_of({"function": {"arguments": "Hi"}}),
]


def hands(writer: Any) -> Iterator[SimpleNamespace]:
    """Walk both frames, and keep what each hand gave for the second."""
    decoder, reply = SSEDecoder(), Reply("glm-4.7")
    for frame in FRAMES:
        [event] = decoder.feed(frame)
        delta = reply.read(json.loads(event))
        written = writer.write(delta)
        yield SimpleNamespace(frame=frame, event=event, call=delta.calls[0], written=written)


def test_what_the_picture_hands_on_is_what_is_handed_on() -> None:
    parser, encoder = ToolCallParser(), SSEEncoder()
    for hand in hands(ChunkWriter()):
        message = hand.written[0].message
        events = parser.feed(message)
        framed = [encoder.feed(event) for event in events]
    for raw in hands(EventWriter(None)):
        v3 = raw.written[-1]["delta"]
    given = "\n".join(
        [
            hand.frame.decode(),
            hand.event.decode(),
            repr(hand.call),
            repr(message.tool_call_chunks[0]),
            repr(v3),
            *map(repr, events),
            *framed,
        ]
    )
    at = 0
    for piece in (piece for text in texts("data") for piece in text.split("…")):
        at = given.find(piece.strip(), at)
        assert at >= 0, piece


def test_the_picture_can_be_read_aloud_and_in_the_dark() -> None:
    root = PICTURE.getroot()
    assert [root.find(f"svg:{part}", SVG).text for part in ("title", "desc")]
    assert "prefers-color-scheme: dark" in root.find("svg:style", SVG).text
    assert "](images/fragment.svg)" in (DOCS / "inside.md").read_text(encoding="utf-8")


# The hooks


HOOKS = SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "site_hooks.py")))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in (
        "docs/index.md",
        "examples/chat.py",
        "examples/web/README.md",
        "examples/web/app.py",
        "examples/web/static/page.js",
        "examples/web/node_modules/ai/index.js",
        "examples/web/__pycache__/app.py",
        "examples/web/.env.json",
        "examples/bare/run.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}\n", encoding="utf-8")
    return tmp_path


def test_sources_and_folders_become_pages(repository: Path) -> None:
    assert list(HOOKS.sources(repository)) == [
        "examples/chat.py",
        "examples/bare/run.py",
        "examples/web/app.py",
        "examples/web/static/page.js",
    ]
    assert list(HOOKS.folders(repository)) == [
        "examples",
        "examples/bare",
        "examples/web",
        "examples/web/static",
    ]


@pytest.mark.parametrize(
    ("page", "source", "link", "moved"),
    [
        ("index.md", "docs/index.md", "../examples/chat.py", "examples/chat.py.md"),
        ("a/b.md", "docs/a/b.md", "../../examples/chat.py", "../examples/chat.py.md"),
        ("index.md", "docs/index.md", "../examples/web", "examples/web/index.md"),
        ("index.md", "docs/index.md", "../examples/web/README.md#x", "examples/web/index.md#x"),
        ("index.md", "docs/index.md", "../examples", "examples/index.md"),
        ("index.md", "docs/index.md", "../examples/README.md", "examples/index.md"),
        ("index.md", "docs/index.md", "a/b.md#c", "a/b.md#c"),
        ("index.md", "docs/index.md", "#here", "#here"),
        ("index.md", "docs/index.md", "https://a.b/c", "https://a.b/c"),
        ("index.md", "docs/index.md", "../LICENSE", "../LICENSE"),
        ("examples/web/index.md", "examples/web/README.md", "app.py", "app.py.md"),
        ("examples/web/index.md", "examples/web/README.md", "../../docs/a.md", "../../a.md"),
        ("examples/web/index.md", "examples/web/README.md", "static", "static/index.md"),
    ],
)
def test_a_link_leads_to_the_page(
    page: str, source: str, link: str, moved: str, repository: Path
) -> None:
    def find(path: str) -> str | None:
        return HOOKS.page_of(path, repository)

    text = f'[a]({link}) ![b]({link}) <img src="{link}">'
    expected = f'[a]({moved}) ![b]({moved}) <img src="{moved}">'
    assert HOOKS.relinked(text, source, page, find) == expected


def test_a_block_is_left_as_it_is() -> None:
    text = "- a\n\n  ````md\n  ```\n  [a](../examples/chat.py)\n  ````\n"
    assert HOOKS.relinked(text, "docs/index.md", "index.md", lambda _: "moved") == text


def test_a_source_is_shown_whole() -> None:
    page = HOOKS.source_page("examples/a.py", 'TEXT = """\n````\n"""\n')
    assert page.endswith('\n`````python\nTEXT = """\n````\n"""\n`````\n')
    assert page.startswith("---\nsearch:\n  exclude: true\n---\n\n# examples/a.py\n")


def test_a_folder_is_shown_with_its_files(repository: Path) -> None:
    page = HOOKS.folder_page("examples/web", repository)
    assert page.startswith("# examples/web/README.md\n")
    assert page.endswith("- [app.py](app.py)\n- [static/page.js](static/page.js)\n")
    assert HOOKS.folder_page("examples/bare", repository).startswith("# examples/bare\n")


@pytest.mark.parametrize(
    ("html", "warnings"),
    [
        ('<script src="https://cdn.example/a.js"></script>', 1),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', 1),
        ('<img alt="" src="https://img.example/a.png">', 1),
        ("<p>```python</p>", 1),
        ("<p>These are:\n- a\n- b</p>", 1),
        ("<p>This is:\n| a | b |</p>", 1),
        ('<a href="https://docs.example">a</a><img src="a.png"><script src="a.js"></script>', 0),
        ('<link rel="canonical" href="https://docs.example/a">', 0),
        ("<pre><code>```python</code></pre><p><code>```</code></p>", 0),
    ],
)
def test_what_a_page_must_not_have(
    html: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    assert HOOKS.on_post_page(html, page, None) == html
    assert len(caplog.records) == warnings
