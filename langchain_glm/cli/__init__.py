"""The console command `langchain-glm` (extra `cli`)."""

from __future__ import annotations

import sys

_EXTRA = frozenset({"rich", "typer"})


def main() -> None:
    """Run the command line of `sys.argv`, then exit.

    Raises:
        SystemExit: Always, with the command's status; 2 where the extra is not installed.
    """
    try:
        # Not at the top: an installation without the extra has to get this far.
        from langchain_glm.cli._app import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            'langchain-glm needs its command-line extra: pip install "langchain-glm-zai[cli]"',
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    app(prog_name="langchain-glm")
