"""The scripted model: what it says to the suggestions of the page, in English and in Chinese.

Only the model is scripted. The tools, the files, the errors and the pauses are real: the program
that it writes has a bracket too few, `check_python` says so, and it mends the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from agent_tools import REFUSED

from langchain_glm.testing import Call, Cut, Received, Reply

_CHINESE = re.compile("[\u4e00-\u9fff]")

_BROKEN = """\
        print(f"{month}  {total:>10.2f}  {bar(total, most)}"
"""
_MENDED = """\
        print(f"{month}  {total:>10.2f}  {bar(total, most)}")
"""

_PROGRAM = '''\
"""{title}

{usage}: python spending.py bank.csv
"""

import argparse
import csv
from collections import Counter
from datetime import date
from decimal import Decimal
from pathlib import Path

WIDTH = 40


def by_month(file: Path) -> Counter[str]:
    """{by_month}"""
    totals: Counter[str] = Counter()
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            day = date.fromisoformat(row["date"])
            totals[f"{{day:%Y-%m}}"] += Decimal(row["amount"])
    return totals


def bar(total: Decimal, most: Decimal) -> str:
    """{bar}"""
    return "█" * round(WIDTH * total / most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    totals = by_month(parser.parse_args().file)
    most = max(totals.values(), default=Decimal(1))
    for month, total in sorted(totals.items()):
{broken}

if __name__ == "__main__":
    main()
'''

_ENGLISH = {
    "title": "Add up what was spent, month by month.",
    "usage": "Usage",
    "by_month": "Sum the amounts of a bank's CSV file by month.",
    "bar": "Draw a bar, as long as its share of the largest.",
}
_IN_CHINESE = {
    "title": "按月汇总支出。",
    "usage": "用法",
    "by_month": "读取银行的 CSV 文件，按月累加金额。",
    "bar": "画一条横条，长度与最大值成比例。",
}

_ENDS: dict[str, dict[bool, str]] = {
    "refused": {
        False: "All right, I have not written it. Tell me what should be different.",
        True: "好的，我没有写入文件。请告诉我需要改哪里。",
    },
    "other": {
        False: (
            "This is a **scripted demonstration**: nobody reads what you type. Pick one of the "
            "suggestions of a new conversation, or set `ZAI_API_KEY` and start the server again "
            "to talk to GLM."
        ),
        True: (
            "这是一个**预先写好的演示**，没有真正的模型在回答。请新建对话并选择一个建议，"
            "或者设置 `ZAI_API_KEY` 后重新启动服务器，与 GLM 对话。"
        ),
    },
}


def answer(received: Received) -> Any:
    """Answer a request: the next step of the story that the user's last message began."""
    messages = received.body.get("messages", [])
    said = [message for message in messages if message["role"] == "user"]
    text = _text(said[-1]) if said else ""
    chinese = bool(_CHINESE.search(text))
    since = messages[messages.index(said[-1]) + 1 :] if said else []
    if any(message["role"] == "tool" and REFUSED in _text(message) for message in since):
        return Reply(text=_ENDS["refused"][chinese])
    steps = next((story for words, story in _STORIES if words.search(text)), None)
    if steps is None:
        return Reply(text=_ENDS["other"][chinese])
    told = steps(chinese)
    return told[min(sum(m["role"] == "assistant" for m in since), len(told) - 1)]


def _spending(chinese: bool) -> Sequence[Reply]:
    return _spending_in_chinese() if chinese else _spending_in_english()


def _program(words: dict[str, str]) -> str:
    return _PROGRAM.format(broken=_BROKEN, **words)


def _searches() -> list[Call]:
    queries = ("csv reader rows", "count hashable items", "date object")
    return [Call("search_docs", {"query": query}) for query in queries]


def _write(words: dict[str, str]) -> Call:
    return Call("write_file", {"path": "spending.py", "content": _program(words)})


_CHECK = Call("check_python", {"path": "spending.py"})
_MEND = Call("edit_file", {"path": "spending.py", "old": _BROKEN, "new": _MENDED})


def _spending_in_english() -> Sequence[Reply]:
    return (
        Reply(
            reasoning=(
                "A bank's export is a CSV file with a date and an amount in each line. Money must "
                "not be rounded, so Decimal and not float. Before I write, I should see what the "
                "standard library has for reading CSV, for adding up by key and for dates. These "
                "questions do not depend on each other: I ask them at once."
            ),
            text="I'll look up three things first.",
            tool_calls=_searches(),
        ),
        Reply(
            reasoning=(
                "csv.DictReader, Counter and date.fromisoformat are all that is needed. A bar for "
                "each month makes it easy to read."
            ),
            text="The standard library has everything. Now the program.",
            tool_calls=[_write(_ENGLISH)],
        ),
        Reply(reasoning="Let me check the syntax.", tool_calls=[_CHECK]),
        Reply(
            reasoning="The call of print in main has no closing bracket. I only change that line.",
            text="I left out a bracket. Let me mend that line.",
            tool_calls=[_MEND],
        ),
        Reply(tool_calls=[_CHECK]),
        Reply(
            text=(
                "`spending.py` is ready, and its syntax is checked.\n\n"
                "- It reads the columns `date` and `amount`,\n"
                "- adds them up by month **without rounding errors**,\n"
                "- and draws a bar for each month.\n\n"
                "Run it with:\n\n```\npython spending.py bank.csv\n```"
            )
        ),
    )


def _spending_in_chinese() -> Sequence[Reply]:
    return (
        Reply(
            reasoning=(
                "银行导出的是 CSV 文件，每行有日期和金额。金额不能有舍入误差，所以用 Decimal，"
                "不用 float。动手之前先查一下标准库：怎样读 CSV、怎样按键累加、怎样解析日期。"
                "这三个问题互不依赖，可以同时查。"
            ),
            text="我先查三件事。",
            tool_calls=_searches(),
        ),
        Reply(
            reasoning="csv.DictReader、Counter 和 date.fromisoformat 就够了。每月再画一条横条。",
            text="标准库里都有。现在来写程序。",
            tool_calls=[_write(_IN_CHINESE)],
        ),
        Reply(reasoning="检查一下语法。", tool_calls=[_CHECK]),
        Reply(
            reasoning="main 里的 print 少了右括号，只改这一行。",
            text="少了一个括号，我来改这一行。",
            tool_calls=[_MEND],
        ),
        Reply(tool_calls=[_CHECK]),
        Reply(
            text=(
                "`spending.py` 写好了，语法也检查过了。\n\n"
                "- 读取 `date` 和 `amount` 两列，\n"
                "- 按月累加，**没有舍入误差**，\n"
                "- 每个月画一条横条。\n\n"
                "运行方法：\n\n```\npython spending.py bank.csv\n```"
            )
        ),
    )


def _dates(chinese: bool) -> Sequence[Reply]:
    queries = ("date object", "difference datetime values", "calendar month", "time zone info")
    calls = [Call("search_docs", {"query": query}) for query in queries]
    if chinese:
        return (
            Reply(reasoning="可以同时查四个方面。", text="我同时查四个方面。", tool_calls=calls),
            Reply(text="日期用 `datetime`，日历用 `calendar`。**时区**请用标准库里的 `zoneinfo`。"),
        )
    return (
        Reply(
            reasoning="Four sides of it, and none needs the answer to another.",
            text="I'll search four things at once.",
            tool_calls=calls,
        ),
        Reply(
            text=(
                "Use `datetime` for points and spans of time, `calendar` for months and weeks. "
                "For **time zones** take `zoneinfo`, which is in the standard library too."
            )
        ),
    )


def _broken(chinese: bool) -> Sequence[Any]:
    words = _IN_CHINESE if chinese else _ENGLISH
    text = (
        "我马上写，但是连接会断开。" if chinese else "I begin to write, and then the line breaks."
    )
    # Where nothing is streamed, the whole answer is shorter than that: then the story ends.
    cut = Cut(Reply(text=text, tool_calls=[_write(words)]), after=22_000)
    return (cut, Reply(text=_ENDS["other"][chinese]))


_STORIES: tuple[tuple[re.Pattern[str], Callable[[bool], Sequence[Any]]], ...] = (
    (re.compile("spending|支出"), _spending),
    (re.compile("dates|日期"), _dates),
    (re.compile("breaks|断"), _broken),
)


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())
