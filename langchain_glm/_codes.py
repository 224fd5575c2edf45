"""GLM's error codes: what kind of error each is, and what to do about it.

Pure data, from the table of https://docs.z.ai/api-reference/api-code, with what probes and
recordings added (1113 and 1210 as HTTP 429 and 400 are recorded; 1305 has been seen under HTTP
200). `errors.py` gives each kind its class.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What is known of an error: its kind, and the sentence that says what to do."""

    kind: str
    remedy: str


_KEY = Row(
    "authentication",
    "Check the key (ZAI_API_KEY, or api_key=...): keys of Z.ai and of BigModel are not "
    "interchangeable.",
)
_FORBIDDEN = Row(
    "permission", "The account or its plan does not allow this: look at its page on the platform."
)
_RATE = Row(
    "rate limit", "Send fewer requests at once, or set max_retries, or give a rate_limiter."
)
_BUSY = Row("overloaded", "The model is busy: try again in a while, or use another model.")
_CAP = Row("quota", "A usage cap is reached: wait until it is reset.")
_INVALID = Row(
    "invalid request", "Change the request: the text above says which part of it was refused."
)
_UNKNOWN = Row("not found", "Check the model's name, and that this endpoint serves it.")
_TOO_LONG = Row("context overflow", "Shorten the conversation, or trim its messages.")
_FILTERED = Row("content filter", "Rephrase what was asked.")
_SERVER = Row("server", "Try again in a while.")

CODES = {
    **dict.fromkeys(("401", "1000", "1001", "1002", "1004"), _KEY),
    "1003": Row("authentication", "The key has expired: make a new one on the platform."),
    **dict.fromkeys(("1110", "1111", "1112", "1121", "1220"), _FORBIDDEN),
    "1309": Row("permission", "The Coding Plan has expired: renew it, or use another key."),
    "1311": Row(
        "permission",
        "The Coding Plan does not include this model: choose another one, or a pay-as-you-go key "
        'with endpoint="zai" or "bigmodel".',
    ),
    "1313": Row(
        "permission",
        "The platform's fair-use policy restricts this account: look at its page there.",
    ),
    "1113": Row(
        "quota",
        'Recharge the account; a Coding Plan key needs endpoint="zai-coding" or "bigmodel-coding", '
        'any other key "zai" or "bigmodel".',
    ),
    **dict.fromkeys(("1304", "1310"), _CAP),
    "1308": Row("quota", "A usage cap is reached; the text above names the time when it is reset."),
    **dict.fromkeys(("1302", "1303"), _RATE),
    **dict.fromkeys(("1305", "1312"), _BUSY),
    # What the causes have been, where a request of ours is refused [P]: a temperature of 2,
    # thinking switched off on the 5.3 family, a tool_choice that is not "auto" on 5.3.
    "1210": Row(
        "invalid request",
        "Change the request; where the text above does not say which part was refused, look at "
        "temperature (0 to 1) and top_p (0.01 to 1), at thinking (the GLM-5.3 family cannot switch "
        'it off) and at tool_choice ("auto" is the only documented one).',
    ),
    "1213": Row("invalid request", "Give the parameter that the text above names."),
    # [R]: roles system and assistant alone, an empty list, and `content: null` have been 1214;
    # [P]: so has a model that the endpoint does not know ("modelCode: does not exist").
    "1214": Row(
        "invalid request",
        "Change the parameter that the text above names: messages need one of the user or of a "
        "tool, none may be empty, and modelCode is the model's name, unknown to this endpoint.",
    ),
    "1215": Row(
        "invalid request", "Leave out one of the two parameters that the text above names."
    ),
    "1231": Row("invalid request", "Give every request another request_id, or none."),
    **dict.fromkeys(("1211", "1212", "1221", "1222"), _UNKNOWN),
    # The second is OpenAI's, which gateways use.
    **dict.fromkeys(("1261", "context_length_exceeded"), _TOO_LONG),
    **dict.fromkeys(("1300", "1301"), _FILTERED),
    **dict.fromkeys(("500", "1120", "1200", "1230", "1234"), _SERVER),
}

_STATUSES = {
    401: _KEY,
    402: Row("quota", "Recharge the account."),
    403: _FORBIDDEN,
    404: _UNKNOWN,
    408: _SERVER,
    409: _SERVER,
    429: _RATE,
}

# vLLM and SGLang have no code for a prompt that is too long: these are in their errors' texts.
_SAY_TOO_LONG = ("maximum context length", "longer than the model's context length")


def row_of(code: str | None, status: int, text: str = "") -> Row:
    """Look an error up: by its code where the table has it, else by the HTTP status.

    Args:
        code: The server's, as text.
        status: The HTTP status.
        text: The server's message. It decides only of a 400 whose code the table has not.
    """
    if code in CODES:
        return CODES[code]
    # vLLM and SGLang put the HTTP status that they mean into `code` when the stream has begun.
    if code and code.isdecimal() and len(code) == len("500"):
        status = int(code)
    if status == 400 and any(words in text for words in _SAY_TOO_LONG):
        return _TOO_LONG
    return _STATUSES.get(status, _INVALID if 300 <= status < 500 else _SERVER)
