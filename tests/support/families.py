"""Small random models of every family, as the library makes them, and which methods each cannot serve."""

from dataclasses import replace
from functools import cache

import torch

from harness.backbones import loading
from harness.jobs import BackboneSpec
from tests.support.models import NoTokenizer

SMALL = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 64, "initializer_range": 0.2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
WINDOW = {"sliding_window": 8}
LOCAL = {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 8}
DISTANCES = {"relative_attention": True, "pos_att_type": "c2p|p2c"}

FAMILIES = {
    "Bert": SMALL,
    "Roberta": SMALL | {"pad_token_id": 1, "max_position_embeddings": 66},
    "XLMRoberta": SMALL | {"pad_token_id": 1, "max_position_embeddings": 66},
    "Electra": SMALL | {"embedding_size": 16},
    "DistilBert": {
        "vocab_size": 99, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64,
        "initializer_range": 0.2,
    },
    "Albert": SMALL | {"embedding_size": 16},
    "ModernBert": SMALL | {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2},
    "GPT2": {
        "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    },
    "Llama": GROUPED,
    "Qwen2": GROUPED | LOCAL,
    "Qwen3": GROUPED | LOCAL,
    "Gemma": GROUPED,
    "Gemma2": GROUPED | WINDOW,
    "Gemma3Text": GROUPED | WINDOW,
    "MPNet": SMALL | {"pad_token_id": 1, "max_position_embeddings": 66},
    "DebertaV2": SMALL | DISTANCES | {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "OPT": SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "GPTNeoX": SMALL,
}  # fmt: skip
CAUSAL = ("GPT2", "Llama", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Gemma3Text", "OPT", "GPTNeoX")
WINDOWED = (
    "ModernBert",
    "Qwen2",
    "Qwen3",
    "Gemma2",
    "Gemma3Text",
)  # some of whose layers see a window only

NO_PREFIX, NO_BIAS, NO_ROWS, NO_POOL = (
    "no prefix can be added",
    "has no biases",
    "granularity=batch-layer",
    "use pool=text",
)


def refusal(family, name, options):
    """Why a family cannot serve a method: a part of the message; None if it can."""
    base = options.get("base", name.removeprefix("simplex-").replace("simplex", "prefix"))
    if family in ("MPNet", "DebertaV2") and (
        base == "prefix" or (base == "unipelt" and "prefix" in options.get("parts", "prefix"))
    ):
        return NO_PREFIX
    if name == "bitfit" and family in (
        "ModernBert",
        "Llama",
        "Qwen3",
        "Gemma",
        "Gemma2",
        "Gemma3Text",
    ):
        return NO_BIAS
    if family in CAUSAL and options.get("pool") == "prompt":
        return NO_POOL
    rows = options.get("granularity", "row-layer").startswith("row")
    if (
        family == "DebertaV2" and name == "simplex-lora" and rows
    ):  # its projections also read the distances, which rows share
        return NO_ROWS
    return None


def stock_model(family, **more):
    """The library's own classifier."""
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**(FAMILIES[family] | more), num_labels=3)
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def family_backbone(family, dtype="float64", max_length=20, **more):
    """The same as a backbone."""
    spec = BackboneSpec(name=family, revision="0", dtype=dtype)
    made = loading.prepare(spec, stock_model(family, **more), NoTokenizer())
    return replace(made, outputs=3, max_length=max_length)


cached_backbone = cache(family_backbone)  # one of each family for tests that leave it as it was


def family_batch(family, rows=4, tokens=9, seed=1):
    """Rows of tokens, the second of them shorter."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 99, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    if rows > 1:
        mask[1, 6:] = 0
    pad = FAMILIES[family].get("pad_token_id", 0)
    return {"input_ids": ids.masked_fill(mask == 0, pad), "attention_mask": mask}
