"""What is in the wheel and in the sdist, and what is said of them. `make package` runs it."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from conftest import ROOT, run
from markdown_it import MarkdownIt

import langchain_glm

NAME = "langchain_glm_zai"
VERSION = langchain_glm.__version__
INFO = f"{NAME}-{VERSION}.dist-info"
DATA_FILES = {"langchain_glm/py.typed", "langchain_glm/data/profile_augmentations.toml"}
MACHINE = re.compile(rb"(?:^|[\s\"'(=])/(?:home|Users|root)/\w+")


def files_of_wheel(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="session")
def in_wheel(wheel: Path) -> dict[str, bytes]:
    return files_of_wheel(wheel)


@pytest.fixture(scope="session")
def in_sdist(sdist: Path) -> dict[str, bytes]:
    files = {}
    with tarfile.open(sdist) as archive:
        for member in archive:
            assert member.isfile(), f"{member.name} is no file"
            top, _, name = member.name.partition("/")
            assert top == f"{NAME}-{VERSION}"
            files[name] = archive.extractfile(member).read()
    return files


@pytest.fixture(scope="session")
def metadata(in_wheel: dict[str, bytes]) -> Message:
    return message_from_bytes(in_wheel[f"{INFO}/METADATA"])


@pytest.fixture(scope="session")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))  # noqa: S202
    return folder / f"{NAME}-{VERSION}"


def test_twine_finds_nothing(wheel, sdist):
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", wheel, sdist]
    ran = run(command)
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("PASSED") == 2


# The wheel


def test_the_wheel_has_the_package_and_its_metadata_alone(in_wheel):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "langchain_glm").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {path for path in package if not path.endswith(".py")} == DATA_FILES
    metadata = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    metadata.add("licenses/THIRD_PARTY.md")
    assert set(in_wheel) == package | {f"{INFO}/{name}" for name in metadata}


def test_the_wheel_has_no_more_than_source(in_wheel):
    assert all(text.decode("utf-8") or name.endswith("py.typed") for name, text in in_wheel.items())
    assert sum(map(len, in_wheel.values())) < 1_500_000


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_no_path_of_a_machine_is_in_it(kind, in_wheel, in_sdist):
    files = in_wheel if kind == "wheel" else in_sdist
    root = str(ROOT).encode()
    assert not {
        name: found[0]
        for name, text in files.items()
        if not name.startswith("tests/")
        and not name.endswith(".png")
        and (found := MACHINE.search(text) or re.search(re.escape(root), text))
    }


def test_the_licences_are_in_it(in_wheel):
    own = in_wheel[f"{INFO}/licenses/LICENSE"]
    assert own == (ROOT / "LICENSE").read_bytes()
    assert own.startswith(b"MIT License")
    others = in_wheel[f"{INFO}/licenses/THIRD_PARTY.md"]
    assert b"Copyright (c) 2025 models.dev" in others


# The metadata


def test_the_version_is_written_once(metadata, sdist, wheel):
    assert metadata["Version"] == VERSION
    assert sdist.name == f"{NAME}-{VERSION}.tar.gz"
    assert wheel.name == f"{NAME}-{VERSION}-py3-none-any.whl"
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^dynamic = .*"version"', pyproject, re.MULTILINE)
    assert f'"{VERSION}"' not in pyproject


def test_what_the_metadata_says(metadata):
    assert metadata["Name"] == "langchain-glm-zai"
    assert metadata["License-Expression"] == "MIT"
    assert metadata.get_all("License-File") == ["LICENSE", "THIRD_PARTY.md"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert len(metadata["Summary"]) < 200


def test_the_pythons_of_the_metadata_agree(metadata):
    pythons = {
        classifier.rpartition(" :: ")[2]
        for classifier in metadata.get_all("Classifier")
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", classifier)
    }
    newest = max(int(python.partition(".")[2]) for python in pythons)
    assert pythons == {f"3.{minor}" for minor in range(10, newest + 1)}
    asked = set(metadata["Requires-Python"].split(","))
    assert asked == {">=3.10", f"<3.{newest + 1}"}


def test_the_core_needs_two_packages(metadata):
    needed = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert [re.split(r"[<>=]", line)[0] for line in needed] == [
        "langchain-core",
        "langchain-openai",
    ]
    assert all(">=" in line and "<2" in line for line in needed)


def test_the_command_and_the_entry_point(in_wheel):
    entry_points = in_wheel[f"{INFO}/entry_points.txt"].decode()
    assert "langchain-glm = langchain_glm.cli:main" in entry_points
    assert "[deepagents.provider_profiles]" in entry_points


def test_pypi_shows_the_readme_without_dead_links(metadata):
    description = metadata.get_payload(decode=True).decode("utf-8")
    assert description.startswith("# langchain-glm-zai")
    assert description.count("```python") == (ROOT / "README.md").read_text("utf-8").count(
        "```python"
    )
    shown = MarkdownIt("commonmark").enable("table").render(description)
    assert "<h2>" in shown
    links = re.findall(r'(?:href|src|srcset)="([^"]*)"', shown)
    assert links
    assert not [link for link in links if not link.startswith(("https://", "mailto:", "#"))]


# The sdist


def test_the_sdist_has_what_it_needs_and_no_more(in_sdist):
    tops = {name.partition("/")[0] for name in in_sdist}
    assert {"LICENSE", "Makefile", "PKG-INFO", "README.md", "langchain_glm", "tests"} <= tops
    strangers = ("node_modules", "__pycache__", ".venv", "dist", "build", "glm-web-data", ".git")
    assert not [name for name in in_sdist if set(name.split("/")[:-1]) & set(strangers)]
    assert sum(map(len, in_sdist.values())) < 10_000_000


def test_the_sdist_has_what_the_repository_has(in_sdist):
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    ran = run(asked)
    if ran.returncode:  # an unpacked sdist has nothing to compare with
        return
    tracked = {name for name in ran.stdout.splitlines() if (ROOT / name).is_file()}
    assert set(in_sdist) - {"PKG-INFO"} == tracked


def test_the_sdist_makes_the_same_wheel(unpacked, wheel, tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, unpacked]
    ran = run(command)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert files_of_wheel(tmp_path / wheel.name) == files_of_wheel(wheel)


def test_the_tests_of_the_sdist_run(unpacked):
    def pytest_there(*arguments: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        ran = run(command, unpacked)
        assert ran.returncode == 0, ran.stdout[-5000:]
        return ran.stdout

    assert re.search(r"\d{4,} tests collected", pytest_there("--collect-only", "tests"))
    folder = "tests/unit_tests"
    names = ("test_docs", "test_exports", "test_packaging", "test_profiles", "test_cassettes")
    assert " passed" in pytest_there(*(f"{folder}/{name}.py" for name in names))
