"""`zai:glm-4.7` as a model's name: in LangChain on request, in deepagents without a word."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from langchain_glm._message import PROVIDER
from langchain_glm.chat_models import ChatGLM

_ENTRY = ("langchain_glm", "ChatGLM")


def register() -> None:
    """Make `init_chat_model("zai:glm-4.7")` and `create_agent("zai:glm-4.7")` work.

    Opt-in, and once is enough; again does no harm. LangChain has no public way to add a provider:
    this adds one line to the dict that it looks providers up in,
    `langchain.chat_models.base._BUILTIN_PROVIDERS`. A provider that is already there as `zai` is
    replaced.

    Raises:
        ImportError: `langchain` is not installed.
        RuntimeError: This version of `langchain` keeps its providers elsewhere.
    """
    base = _langchain_base()
    providers = _providers(base)
    if providers.get(PROVIDER, ())[:2] != _ENTRY:
        providers[PROVIDER] = (*_ENTRY, _create)
        _forget_lookups(base)


def register_deepagents() -> None:
    """Make `create_deep_agent("zai:glm-4.7")` work; deepagents calls this through an entry point.

    What LangChain knows is changed only when such a name is first looked up, and not where it has
    a provider `zai` of its own.
    """
    profiles = import_module("deepagents.profiles")  # deepagents itself is the caller
    profile = profiles.ProviderProfile(pre_init=_register_if_unknown)
    profiles.register_provider_profile(PROVIDER, profile)


def _register_if_unknown(_spec: str) -> None:
    if PROVIDER not in _providers(_langchain_base()):
        register()


def _langchain_base() -> Any:
    try:
        return import_module("langchain.chat_models.base")
    except ModuleNotFoundError as error:
        msg = 'register() needs LangChain 1: pip install "langchain-glm-zai[langchain]"'
        raise ImportError(msg) from error


def _providers(base: Any) -> dict[str, tuple[Any, ...]]:
    providers = getattr(base, "_BUILTIN_PROVIDERS", None)
    if not (isinstance(providers, dict) and _is_entry(providers.get("openai"))):
        msg = (
            f"langchain {version('langchain')} does not keep its providers where register() "
            "looks for them (langchain.chat_models.base._BUILTIN_PROVIDERS). Use ChatGLM itself "
            "in place of a name: create_agent(ChatGLM(model=...))."
        )
        raise RuntimeError(msg)
    return providers


def _is_entry(entry: object) -> bool:
    match entry:
        case (str(), str(), create):
            return callable(create)
        case _:
            return False


def _forget_lookups(base: Any) -> None:
    lookup: Any = getattr(base, "_get_chat_model_creator", None)
    if hasattr(lookup, "cache_clear"):  # it may hold another `zai`
        lookup.cache_clear()


def _create(cls: type[ChatGLM], **fields: Any) -> ChatGLM:
    return cls(**fields)
