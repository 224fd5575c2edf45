"""Ask a model about every row of a dataset, on as many machines as a Ray cluster has.

Run it with `python examples/ray_batch.py`: against Z.ai when ZAI_API_KEY is set, else against the
bundled GLM server. It needs `pip install 'ray[data]'`. It starts two workers on this machine, or,
with RAY_ADDRESS set, uses that cluster.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: it tells nobody

import ray
from keyless import chat_model
from langchain_core.messages import AIMessage

from langchain_glm import ChatGLM
from langchain_glm.testing import Received, Reply

WORKERS = 2
AT_ONCE = 8  # requests of one worker; WORKERS * AT_ONCE has to stay within the key's limit
PROMPT = "In one word, is this praise or a complaint? {}"
REVIEWS = [
    "The battery lasts for two days.",
    "It broke after a week, and nobody answered.",
    "Good value, and it looks nice.",
    "The screen was dim from the start.",
] * 4


class Ask:
    """A worker: Ray makes one in each of its processes, and hands it batch after batch."""

    def __init__(self, model: ChatGLM) -> None:
        self.model = model

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the answers to a batch; a row that fails does not take the others along."""
        prompts = [PROMPT.format(text) for text in batch["text"]]
        limit = {"max_concurrency": AT_ONCE}
        came = self.model.batch(prompts, limit, return_exceptions=True)
        return {
            **batch,
            "answer": [one.text if isinstance(one, AIMessage) else "" for one in came],
            "error": ["" if isinstance(one, AIMessage) else str(one) for one in came],
            "worker": [os.getpid()] * len(came),
        }


def ask_all(rows: list[dict[str, Any]], model: ChatGLM, worker: type = Ask) -> list[dict[str, Any]]:
    """Ask for each row. The model is pickled into each worker, and its key with it."""
    blocks = 8 * WORKERS  # more than one worker takes in advance: each gets its share
    answered = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
        worker,
        fn_constructor_kwargs={"model": model},
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
        batch_size=4,
    )
    return list(answered.iter_rows())


def start_ray() -> None:
    """Join the cluster of RAY_ADDRESS, or start a small one here."""
    if os.environ.get("RAY_ADDRESS"):
        ray.init()
        return
    ray.init(
        "local",
        num_cpus=WORKERS,
        object_store_memory=100 * 1024**2,
        include_dashboard=False,
    )


def script(received: Received) -> Reply:
    """Tell praise from complaints."""
    review = received.body["messages"][-1]["content"]
    complains = "broke" in review or "dim" in review
    return Reply(text="complaint" if complains else "praise")


def main() -> None:
    """Ask about each review, and print the answers."""
    start_ray()
    with chat_model(script, pace=0) as model:
        for row in ask_all([{"text": text} for text in REVIEWS], model):
            print(f"{row['worker']}  {row['answer'] or row['error']:<10}  {row['text']}")


if __name__ == "__main__":
    main()
