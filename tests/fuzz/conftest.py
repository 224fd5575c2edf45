"""The fuzz tests use the helpers of the other tests; here they are found."""

import sys
from pathlib import Path

_UNIT_TESTS = Path(__file__).parents[1] / "unit_tests"

for _folder in (_UNIT_TESTS / "chat_models", _UNIT_TESTS / "streaming"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))
