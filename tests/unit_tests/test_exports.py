"""The public names, and which room of the package imports which."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import langchain_glm
from langchain_glm import errors

PACKAGE = Path(langchain_glm.__file__).parent

# A room imports only from rooms before it.
ROOMS = [
    "data",
    "_version",
    "_codes",
    "_surrogates",
    "_json",
    "_secrets",
    "errors",
    "tools",
    "_profiles",
    "_endpoints",
    "_notices",
    "_calls",
    "_history",
    "_shape",
    "_request",
    "_sse",
    "_repeats",
    "_delta",
    "_chunks",
    "_message",
    "_reader",
    "_tokens",
    "_structured",
    "_stopping",
    "_client",
    "_exchange",
    "_settings",
    "chat_models",
    "_registry",
    "middleware",
]
# The rooms of `streaming`, and what they may know of the rest.
STREAMING = [
    "_json",
    "_sources",
    "events",
    "json_stream",
    "merge",
    "tool_calls",
    "protocol",
    "history",
    "_langgraph",
    "tool_runs",
    "fragments",
    "agent",
    "transformer",
    "watchers",
    "redaction",
    "debouncing",
    "schema",
    "encoders",
]
KNOWN_TO_STREAMING = {"_calls", "_json", "_stopping", "_surrogates", "errors"}
PUBLIC = {
    "langchain_glm": ["ChatGLM", "__version__", "raw_deltas", "register"],
    "langchain_glm.middleware": ["ContinueCutCalls"],
    "langchain_glm.streaming": [
        "StopSignal",
        "ToolCallParser",
        "ToolInputTransformer",
        "acollect",
        "adebounce",
        "aredacted",
        "astream_agent",
        "atool_call_events",
        "awatch",
        "collect",
        "complete_history",
        "debounce",
        "event_schema",
        "redact",
        "redacted",
        "stream_agent",
        "tool_call_events",
        "watch",
    ],
    "langchain_glm.streaming.encoders": ["ag_ui", "sse", "vercel"],
    "langchain_glm.testing": [
        "Answer",
        "Call",
        "Cut",
        "Fail",
        "GLMServer",
        "Raw",
        "Received",
        "Reply",
    ],
}


@pytest.mark.parametrize(("module", "names"), PUBLIC.items())
def test_the_public_names(module, names):
    imported = importlib.import_module(module)
    assert imported.__all__ == sorted(set(imported.__all__))
    assert set(names) <= set(imported.__all__)
    assert all(hasattr(imported, name) for name in imported.__all__)


@pytest.mark.parametrize("module", PUBLIC)
def test_no_public_name_is_missing_from_all(module):
    imported = importlib.import_module(module)
    public = {
        name
        for name, value in vars(imported).items()
        if not name.startswith("_")
        and not isinstance(value, type(sys))
        and getattr(value, "__module__", module).startswith(
            "langchain_glm" if hasattr(imported, "__path__") else module
        )
    }
    public -= {"TYPE_CHECKING", "annotations"}
    assert public <= set(imported.__all__)


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_thing_is_documented(module):
    imported = importlib.import_module(module)
    assert imported.__doc__
    assert all(
        getattr(imported, name).__doc__ for name in imported.__all__ if name != "__version__"
    )


def test_the_public_classes_of_errors_are_the_errors():
    own = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__ and name[0] != "_"
    ]
    assert own
    assert all(name.startswith("GLM") for name in own)


def test_the_version():
    assert langchain_glm.__version__.count(".") >= 2
    assert (
        langchain_glm.__version__ == importlib.import_module("langchain_glm._version").__version__
    )


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


# Who imports whom


FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    """`langchain_glm/testing/_server.py` -> `langchain_glm.testing._server`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree, module, *, is_package):
    """Every module that the code names in an import, relative names made absolute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, base] if base else kept)
            yield base
            if base in {"langchain_glm", "langchain_glm.streaming"}:  # rooms, not names of theirs
                yield from (f"{base}.{alias.name}" for alias in node.names)


def own_imports(path):
    """The modules of ours that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = imports_of(tree, module_of(path), is_package=path.name == "__init__.py")
    return {name for name in imported if name.split(".")[0] == "langchain_glm"}


def room_of(module):
    """`langchain_glm.testing._server` -> `testing`; the package itself -> `""`."""
    return (*module.split("."), "")[1]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_a_room_imports_only_rooms_above_it(path):
    if path.name != "__init__.py":
        above = ROOMS[: ROOMS.index(path.stem)]
        assert {room_of(name) for name in own_imports(path)} <= set(above)


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "streaming").rglob("*.py")), ids=lambda path: path.stem
)
def test_a_room_of_streaming_imports_only_rooms_above_it(path):
    if path.name == "__init__.py" and path.parent.name == "streaming":
        return
    own = [name.split(".")[1:] for name in own_imports(path)]
    outside = {name[0] for name in own} - {"streaming"}
    assert outside <= KNOWN_TO_STREAMING
    room = path.stem if path.parent.name == "streaming" else "encoders"
    above = {*STREAMING[: STREAMING.index(room)], *(["encoders"] if room == "encoders" else ())}
    inside = {name[1] if len(name) > 1 else "" for name in own if name[0] == "streaming"}
    assert inside - {""} <= above


def test_data_imports_nothing_of_ours():
    for path in (PACKAGE / "data").rglob("*.py"):
        assert {room_of(name) for name in own_imports(path)} <= {"data"}, path.name


def test_the_checker_sees_imports_of_every_kind():
    code = """
import langchain_glm._a
from langchain_glm import _b
from langchain_glm._c import x
from . import _d
from ._e import x
from .. import _f
def f():
    import langchain_glm._g
if TYPE_CHECKING:
    from langchain_glm.cli import _h
"""
    found = set(imports_of(ast.parse(code), "langchain_glm.testing._x", is_package=False))
    assert found == {
        "langchain_glm",
        "langchain_glm._a",
        "langchain_glm._b",
        "langchain_glm._c",
        "langchain_glm.testing",
        "langchain_glm.testing._e",
        "langchain_glm._f",
        "langchain_glm._g",
        "langchain_glm.cli",
    }


def test_testing_imports_nothing_of_ours_but_itself():
    files = list((PACKAGE / "testing").rglob("*.py"))
    assert files
    for path in files:
        rooms = {room_of(name) for name in own_imports(path)}
        assert rooms <= {"testing", "_sse"}, path.name


def test_testing_stands_on_the_standard_library_alone():
    for path in (PACKAGE / "testing").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = imports_of(tree, module_of(path), is_package=path.name == "__init__.py")
        foreign = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
        # `typing_extensions` is for type checkers only, never imported at run time.
        assert foreign <= {"langchain_glm", "typing_extensions"}, path.name


def test_nobody_imports_cli_but_itself():
    for path in FILES:
        if room_of(module_of(path)) != "cli":
            assert "cli" not in {room_of(name) for name in own_imports(path)}, path.name


def test_nobody_imports_testing_but_itself_and_cli():
    for path in FILES:
        if room_of(module_of(path)) not in {"testing", "cli"}:
            assert "testing" not in {room_of(name) for name in own_imports(path)}, path.name


LATE_IMPORTS = {
    # The extra `cli` may not be installed; this is where that is found out and said.
    ("cli/__init__.py", "from langchain_glm.cli._app import app"),
    # `chat` alone needs LangChain's agents.
    ("cli/_chat.py", "from langchain_glm.cli._chat_main import run"),
}


def test_imports_stand_at_the_head_of_a_file():
    late = {
        (path.relative_to(PACKAGE).as_posix(), ast.unparse(node))
        for path in FILES
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert late == LATE_IMPORTS
