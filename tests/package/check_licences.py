"""Licences of what comes along with the package. `make package` runs it."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT

# By SPDX, and as classifiers and older fields write them.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CNRI-Python",
    "ISC",
    "MIT",
    "MPL-2.0",
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Zlib",
}
WRITTEN = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Modified BSD License": "BSD-3-Clause",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}

ASK = """
import importlib.metadata as m, json
print(json.dumps({
    d.name: [
        d.metadata["License-Expression"],
        d.metadata["License"],
        [c for c in d.metadata.get_all("Classifier") or [] if c.startswith("License ::")],
    ]
    for d in m.distributions()
}))
"""


def licences_of(expression: str | None, text: str | None, classifiers: list[str]) -> set[str]:
    """Give the licences, by SPDX where they are known; the newest field goes first."""
    if expression:
        said = re.split(r"\s+(?:AND|OR|WITH)\s+", re.sub(r"[()]", "", expression))
    elif classifiers:
        said = [classifier.rpartition(" :: ")[2] for classifier in classifiers]
    else:
        said = [(text or "").strip().splitlines()[0] if text else "none"]
    return {WRITTEN.get(name.strip(), name.strip()) for name in said}


@pytest.mark.parametrize("environment", ["bare", "with_all"])
def test_all_that_is_installed_may_be_used_by_anybody(environment, request):
    # Environments of `venv` and pip have these two from Python, not from us.
    from_python = {"pip", "setuptools"}
    installed = json.loads(request.getfixturevalue(environment).output("python", "-c", ASK))
    licences = {
        name: licences_of(*fields) for name, fields in installed.items() if name not in from_python
    }
    assert len(licences) > 20
    assert {name: found for name, found in licences.items() if not found <= ALLOWED} == {}


def test_a_licence_that_is_not_allowed_is_seen():
    assert licences_of("GPL-3.0-only", None, []) == {"GPL-3.0-only"}
    assert licences_of("MIT AND (Apache-2.0 OR GPL-2.0-only)", None, []) - ALLOWED == {
        "GPL-2.0-only"
    }
    assert licences_of(None, "Some text\nof it", []) == {"Some text"}
    assert licences_of(None, None, []) == {"none"}


def test_the_page_ships_nothing_foreign():
    files = sorted((ROOT / "examples" / "web" / "static").rglob("*"))
    assert {path.suffix for path in files if path.is_file()} <= {".js", ".css", ".html", ".svg"}
    for path in files:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        assert not re.search(r"@license|copyright|sourceMappingURL|\(c\) 20", text, re.IGNORECASE)
        # No script, style or font of another host, and nothing that was minified.
        assert not re.search(r"""(?:src|href|import|url\()\s*=?\s*["'(]?\s*https?://""", text), path
        assert max(map(len, text.splitlines()), default=0) < 2_000
