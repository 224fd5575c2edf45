"""The tools of `chat` in a real folder: what they do, and that they never leave it."""

import os

import pytest

from langchain_glm.cli import _chat_tools
from langchain_glm.cli._chat_tools import WRITES, Folder

SECRET = "the neighbours' secret"


@pytest.fixture
def home(tmp_path):
    """A folder with some files, and neighbours that are nobody's business."""
    home = tmp_path / "home"
    (home / "src").mkdir(parents=True)
    (home / "notes.md").write_text("Grüße\nfrom here\n", encoding="utf-8")
    (home / "src" / "fib.py").write_text("def fib(n):\n    return n\n")
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "home-2").mkdir()
    (tmp_path / "home-2" / "secret.txt").write_text(SECRET)
    (home / "link.txt").symlink_to(tmp_path / "secret.txt")
    (home / "folder-link").symlink_to(tmp_path)
    (home / "dangling.txt").symlink_to(tmp_path / "new.txt")
    (home / "circle").symlink_to(home / "circle")
    return home


@pytest.fixture
def use(home):
    """Call a tool as an agent does: (status, content)."""
    tools = {tool.name: tool for tool in Folder(home).tools()}

    def called(name, **arguments):
        call = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
        message = tools[name].invoke(call)
        return message.status, message.content

    return called


def test_a_model_is_told_of_four_tools_with_all_their_arguments(home):
    described = {
        tool.name: tool.tool_call_schema.model_json_schema() for tool in Folder(home).tools()
    }
    assert {name: list(schema["properties"]) for name, schema in described.items()} == {
        "list_files": ["path"],
        "read_file": ["path"],
        "search": ["text", "path"],
        "write_file": ["path", "content"],
    }
    for schema in described.values():
        assert schema["description"]
        assert all(about["description"] for about in schema["properties"].values())
    assert set(described) > WRITES


# What they do


def test_reading(use):
    assert use("read_file", path="notes.md") == ("success", "Grüße\nfrom here\n")


def test_listing_knows_links_only_to_what_is_inside(use, home):
    (home / "inside.md").symlink_to(home / "notes.md")
    (home / ".git").mkdir()
    (home / ".git" / "config").write_text("")
    assert use("list_files") == ("success", "inside.md\nnotes.md\nsrc/fib.py")
    assert use("list_files", path="src") == ("success", "src/fib.py")


def test_listing_nothing_and_listing_too_much(use, home, monkeypatch):
    (home / "empty").mkdir()
    assert use("list_files", path="empty") == ("success", "There are no files.")
    monkeypatch.setattr(_chat_tools, "_MOST_NAMES", 1)
    assert use("list_files") == ("success", "notes.md\n(and more: only the first 1 are listed)")


def test_searching_is_for_a_text_not_a_pattern(use, home):
    (home / "a.txt").write_text("f(x)\nF(X) twice\nfx\n")
    (home / "binary").write_bytes(b"f(x)\xff\x00")
    assert use("search", text="f(x)") == ("success", "a.txt:1: f(x)\na.txt:2: F(X) twice")
    assert use("search", text="f(", path="src") == ("success", "No line contains 'f('.")
    assert use("search", text="fib", path="src/fib.py") == ("success", "src/fib.py:1: def fib(n):")


def test_searching_ends(use, monkeypatch):
    monkeypatch.setattr(_chat_tools, "_MOST_HITS", 1)
    _, found = use("search", text="r")
    assert found.splitlines()[1:] == ["(and more: only the first 1 are shown)"]
    monkeypatch.setattr(_chat_tools, "_SEARCH_SECONDS", -1.0)
    assert use("search", text="fib")[1] == "(the search took too long and was stopped here)"


def test_writing_a_new_file_in_a_new_folder(use, home):
    status = use("write_file", path="a/b/c.txt", content="é\r\n")
    assert status == ("success", "Wrote 3 characters to a/b/c.txt.")
    assert (home / "a/b/c.txt").read_bytes() == "é\r\n".encode()


def test_writing_replaces_a_file_and_keeps_its_permissions(use, home):
    (home / "src" / "fib.py").chmod(0o750)
    assert use("write_file", path="src/fib.py", content="pass\n")[0] == "success"
    assert (home / "src" / "fib.py").read_text() == "pass\n"
    assert (home / "src" / "fib.py").stat().st_mode & 0o777 == 0o750
    assert os.listdir(home / "src") == ["fib.py"]  # noqa: PTH208 - nothing half written


def test_writing_through_a_link_to_the_inside(use, home):
    (home / "inside.md").symlink_to(home / "notes.md")
    assert use("write_file", path="inside.md", content="new")[0] == "success"
    assert (home / "inside.md").is_symlink()
    assert (home / "notes.md").read_text() == "new"


def test_half_a_surrogate_pair_is_written_somehow(use, home):
    assert use("write_file", path="a.txt", content="a\ud83d")[0] == "success"
    assert (home / "a.txt").read_text() == "a?"


def test_an_absolute_path_to_the_inside_is_one(use, home):
    assert use("read_file", path=str(home / "notes.md"))[0] == "success"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("new.txt", "Write new.txt, which is new or empty?"),
        ("notes.md", "Replace notes.md (2 lines)?"),
        ("../a", "Write ../a (../a is outside of the folder that you may work in.)?"),
        ("src", "Write src ("),
    ],
)
def test_what_a_person_is_asked(home, path, says):
    assert Folder(home).about(path).startswith(says)


# What they refuse

OUTSIDE = {
    "above": "../secret.txt",
    "above, from below": "src/../../secret.txt",
    "a neighbour whose name begins alike": "../home-2/secret.txt",
    "a link to a file": "link.txt",
    "through a link to a folder": "folder-link/secret.txt",
    "a link to a folder": "folder-link",
    "a link to what does not exist": "dangling.txt",
    "above, and what does not exist": "../new.txt",
    "the root": "/",
    "a system file": "/etc/passwd",
    "a device": "/dev/zero",
}


@pytest.mark.parametrize("path", OUTSIDE.values(), ids=OUTSIDE)
@pytest.mark.parametrize("name", ["read_file", "list_files", "search", "write_file"])
def test_nothing_outside_is_touched(use, tmp_path, name, path):
    more = {"write_file": {"content": "x"}, "search": {"text": "e"}}.get(name, {})
    before = sorted(tmp_path.rglob("*"))
    status, content = use(name, path=path, **more)
    assert status == "error"
    assert SECRET not in content
    assert content.endswith("is outside of the folder that you may work in.")
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "secret.txt").read_text() == SECRET


def test_an_absolute_link_in_the_path_of_the_folder_itself_is_fine(home, tmp_path):
    (tmp_path / "alias").symlink_to(home)
    folder = Folder(tmp_path / "alias")
    assert folder.read_file("notes.md").startswith("Grüße")
    assert folder.name_of(folder.place("src/fib.py")) == "src/fib.py"


REFUSED = {
    "no such file": ("read_file", {"path": "no.txt"}, "No such file or directory"),
    "nowhere to search": ("search", {"text": "a", "path": "no"}, "There is no no."),
    "a folder": ("read_file", {"path": "src"}, "Is a directory"),
    "a circle of links": ("read_file", {"path": "circle"}, ""),
    "a zero byte": ("read_file", {"path": "a\0b"}, "'a\\x00b' is no usable path."),
    "a path that is too long": ("read_file", {"path": "a" * 5000}, ""),
    "no folder": ("list_files", {"path": "notes.md"}, "notes.md is no folder."),
    "no arguments": ("write_file", {"path": "a"}, "content"),
    "write a folder": ("write_file", {"path": "src", "content": ""}, "src is no plain file."),
    "below a file": ("write_file", {"path": "notes.md/a", "content": ""}, ""),
}


@pytest.mark.parametrize(("name", "arguments", "says"), REFUSED.values(), ids=REFUSED)
def test_a_model_is_told_what_does_not_work(home, name, arguments, says):
    tool = {tool.name: tool for tool in Folder(home).tools()}[name]
    if "content" in says:  # an agent answers these by itself
        with pytest.raises(ValueError, match="content"):
            tool.invoke(arguments)
        return
    content = tool.invoke(arguments)
    assert content
    assert says in content


def test_a_pipe_is_not_waited_for(use, home):
    os.mkfifo(home / "pipe")
    assert use("read_file", path="pipe") == ("error", "pipe is no plain file.")
    assert use("search", text="x", path="pipe")[0] == "success"
    assert use("write_file", path="pipe", content="")[0] == "error"


def test_what_is_no_text_or_too_much_is_not_read(use, home, monkeypatch):
    (home / "image").write_bytes(b"\x89PNG\xff")
    assert use("read_file", path="image") == ("error", "image is no text.")
    monkeypatch.setattr(_chat_tools, "_MOST_BYTES", 3)
    assert use("read_file", path="notes.md") == (
        "error",
        "notes.md has 18 bytes; more than 3 are too many.",
    )


def test_a_disk_that_refuses_leaves_the_old_file(use, home, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(home), "replace", refuse)
    assert use("write_file", path="notes.md", content="x") == ("error", "No space left on device")
    assert (home / "notes.md").read_text(encoding="utf-8").startswith("Grüße")
    assert not [name for name in os.listdir(home) if name.startswith(".")]  # noqa: PTH208
