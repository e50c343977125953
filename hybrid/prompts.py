"""Prompts that the authors of well-known models publish, for models whose files declare none."""

from __future__ import annotations

import re

EVERY_OTHER = "*"
"""In a mapping of prompts: every role that has none of its own."""

_ENGLISH = "Represent this sentence for searching relevant passages: "

_FAMILIES: tuple[tuple[str, dict[str, str]], ...] = (
    # Wang et al., "Text Embeddings by Weakly-Supervised Contrastive Pre-training" (2022); model cards of intfloat/*e5*.
    # Not e5-*-instruct, whose prompt describes the user's own task.
    (
        r"(multilingual-)?e5-(small|base|large)(-v2)?(-unsupervised)?",
        {"query": "query: ", EVERY_OTHER: "passage: "},
    ),
    # Xiao et al., "C-Pack" (2023); model cards of BAAI/bge-*. bge-m3 has no prompts.
    (r"bge-(small|base|large)-en(-v1\.5)?", {"query": _ENGLISH}),
    (r"bge-(small|base|large)-zh(-v1\.5)?", {"query": "为这个句子生成表示以用于检索相关文章："}),
    # Model cards of nomic-ai/nomic-embed-text-v1 and v1.5.
    (r"nomic-embed-text-v1(\.5)?", {"query": "search_query: ", EVERY_OTHER: "search_document: "}),
)


def known_prompts(*names: str) -> dict[str, str]:
    """Prompts by role of the family that a model's names tell of; empty if none does.

    Parameters
    ----------
    *names : str
        On the hub ("intfloat/multilingual-e5-small"), or of a folder, also one in the hub's cache. Only whole names count: what a
        model that was trained further needs ("my-e5-small-shoes"), its trainer must say.

    Examples
    --------
    >>> known_prompts("intfloat/multilingual-e5-small")
    {'query': 'query: ', '*': 'passage: '}
    >>> known_prompts("/models/bge-m3")
    {}
    """
    for name in names:
        for part in re.split(r"[/\\]|--", name):
            for pattern, prompts in _FAMILIES:
                if re.fullmatch(pattern, part, re.IGNORECASE):
                    return dict(prompts)
    return {}
