"""A letter becomes an object: seen while it grows, validated at its end, and what if it is cut.

Run it with `python examples/extraction.py [FILE]`: against Z.ai when ZAI_API_KEY is set, else
against the bundled GLM server, which knows the letter below.
"""

from __future__ import annotations

import shutil
import sys
from decimal import Decimal
from pathlib import Path
from typing import cast

from keyless import chat_model, dim
from langchain_core.exceptions import OutputParserException
from pydantic import BaseModel

from langchain_glm import ChatGLM
from langchain_glm.testing import Reply

LETTER = """\
Invoice 2026-0417. Hofmann Buerotechnik, Hamburg, 12 March 2026.
We delivered: 4 keyboards at 49.90 each, 2 monitors at 219.00 each, and one docking station for
129.50. Please pay the 767.10 within 14 days.
"""


# A field with a default may be missing, so half an answer is an object already: it can be shown.
class Supplier(BaseModel):
    """Who wrote the invoice."""

    name: str
    city: str | None = None


class Line(BaseModel):
    """One position of the invoice."""

    item: str
    count: int = 1
    price: Decimal | None = None


class Invoice(BaseModel):
    """An invoice."""

    number: str
    supplier: Supplier | None = None
    lines: list[Line] = []
    total: Decimal | None = None


def extract(model: ChatGLM, letter: str) -> Invoice | None:
    """Show the invoice as it grows, and give it whole; None where it did not become whole."""
    print(f"With max_tokens={model.max_tokens}:")
    invoice = None
    try:
        for grown in model.with_structured_output(Invoice).stream(f"Extract:\n{letter}"):
            invoice = cast("Invoice", grown)
            show(invoice)
    except OutputParserException as error:  # what was shown last is not the answer
        print(f"\n{type(error).__name__}: {str(error).splitlines()[0]}")
        print(f"{len(error.llm_output or '')} characters had come.\n")
        return None
    return invoice


def show(invoice: Invoice) -> None:
    """Print the fields that are set; on a terminal in one line, which ends with the newest."""
    line = invoice.model_dump_json(exclude_defaults=True)
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        print(f"\r\033[K{dim(line[-width:])}", end="", flush=True)
    else:
        print(line, flush=True)


ANSWER = Invoice(
    number="2026-0417",
    supplier=Supplier(name="Hofmann Buerotechnik", city="Hamburg"),
    lines=[
        Line(item="keyboard", count=4, price=Decimal("49.90")),
        Line(item="monitor", count=2, price=Decimal("219.00")),
        Line(item="docking station", price=Decimal("129.50")),
    ],
    total=Decimal("767.10"),
).model_dump_json()
SCRIPT = [Reply(text=ANSWER[:150], finish_reason="length"), Reply(text=ANSWER)]


def main() -> None:
    """Extract with too few tokens, and then with as many as it takes."""
    letter = Path(sys.argv[1]).read_text(encoding="utf-8") if sys.argv[1:] else LETTER
    with chat_model(SCRIPT, thinking=False) as model:
        short = model.model_copy(update={"max_tokens": 40})
        invoice = extract(short, letter) or extract(model, letter)
    if invoice:
        owed = sum((line.count * (line.price or 0) for line in invoice.lines), Decimal(0))
        print(f"\n{invoice!r}\nThe lines add up to {owed}; the invoice says {invoice.total}.")


if __name__ == "__main__":
    main()
