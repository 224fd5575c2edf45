"""`GLMServer`: a scripted GLM chat-completions endpoint on loopback, standard library only.

It runs no model. It says what its script says, in GLM's shapes, at a pace of your choosing,
so that a test can watch fragments arrive one by one, see a connection break in the middle of a
tool call, or assert the bytes of a request. `GLMServer()` without a script, and
`python -m langchain_glm.testing`, give a demonstration that calls the tools of the request.

```python
with GLMServer([Fail(429, "1302", "slow down"), Reply(text="Hello")], pace=0.01) as server:
    ...  # a client with base_url=server.base_url; then look at server.requests
```

Where the shapes come from:

- Recorded traffic of Z.ai: the chunks of reasoning and text, tool calls that arrive whole, the
  finishing chunk with its usage, the whole body, the errors and the texts of code 1214.
- Its documentation: `web_search` at the top level (and there only that, not on which chunk),
  the other codes of refused requests, that a body without `stream` comes whole.
- A reseller's recording: the fragments under `tool_stream: true`. No first-party recording of
  these is public, so Z.ai's own may differ.
- Nobody: ids, times and token counts are made up, deterministic, and plausible at most.
"""

from langchain_glm.testing._answers import Answer, Call, Cut, Fail, Raw, Reply
from langchain_glm.testing._received import Received
from langchain_glm.testing._server import GLMServer

__all__ = ["Answer", "Call", "Cut", "Fail", "GLMServer", "Raw", "Received", "Reply"]
