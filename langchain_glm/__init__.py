"""LangChain integration for Z.ai's GLM models."""

from langchain_glm._delta import raw_deltas
from langchain_glm._registry import register
from langchain_glm._version import __version__
from langchain_glm.chat_models import ChatGLM

__all__ = ["ChatGLM", "__version__", "raw_deltas", "register"]
