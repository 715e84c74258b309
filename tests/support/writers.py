"""Small models that write text, with random weights: decoders and encoder-decoders of several families."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

from harness.backbones import checkpoints, loading
from harness.jobs import BackboneSpec

WORDS = 60
END = 1


class WordTokenizer:
    """Splits at spaces; the word `w7` is the token 7. Encoders' texts end with the end of a text."""

    pad_token_id, eos_token_id, bos_token_id = 0, END, END

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends

    def __call__(self, texts: Any, *_: Any, **options: Any) -> dict[str, Any]:
        if isinstance(texts, str):
            ids = [int(w[1:]) if w[1:].isdecimal() else 2 for w in texts.split()]
            ids += [END] * (self.ends and options.get("add_special_tokens", True))
            return {"input_ids": ids, "attention_mask": [1] * len(ids)}
        rows = [self(text, **options) for text in texts]
        return {name: [row[name][: options.get("max_length")] for row in rows] for name in rows[0]}

    def batch_decode(self, rows: Any, *, skip_special_tokens: bool) -> list[str]:
        special = (0, END) if skip_special_tokens else ()
        return [" ".join(f"w{t}" for t in row.tolist() if t not in special) for row in rows]


SIZES = {"vocab_size": WORDS, "pad_token_id": 0, "eos_token_id": END, "bos_token_id": END}
DECODER = SIZES | {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 64,
}  # fmt: skip
ENCODER_DECODER = SIZES | {"decoder_start_token_id": 2}
CONFIGS: dict[str, Any] = {
    "gpt2": lambda: transformers.GPT2Config(**SIZES, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "llama": lambda: transformers.LlamaConfig(**DECODER),
    "qwen2": lambda: transformers.Qwen2Config(**DECODER),
    "gemma": lambda: transformers.GemmaConfig(**DECODER, head_dim=8),
    "bart": lambda: transformers.BartConfig(
        **ENCODER_DECODER, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
        forced_eos_token_id=None,
    ),
    "t5": lambda: transformers.T5Config(
        **ENCODER_DECODER, d_model=32, num_layers=2, num_decoder_layers=2, num_heads=4, d_kv=8, d_ff=48,
    ),
}  # fmt: skip


@cache
def writer(family: str) -> Any:
    """Return a backbone that writes; its weights are large enough that it writes different words."""
    config = CONFIGS[family]()
    inner = _random(config, END).double()
    made = loading.prepare(
        BackboneSpec(name=family, revision="0", dtype="float64"),
        inner,
        WordTokenizer(ends=config.is_encoder_decoder),
        writes=True,
    )
    return replace(made, outputs=1, max_length=40, target_length=12)


def save(family: str, folder: Path) -> None:
    """Write a model of a family with random weights to a folder, with the tokenizer of `tiny-gpt`."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints.locate("tiny-gpt", None))
    config = CONFIGS[family]()
    config.update(
        {"max_position_embeddings": 160, "vocab_size": len(tokenizer), "decoder_start_token_id": tokenizer.pad_token_id}
        | {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    )  # fmt: skip
    inner = _random(config, tokenizer.eos_token_id)
    with torch.no_grad():
        for name, parameter in inner.named_parameters():
            # Or else the text of BART would not depend on its source.
            parameter.mul_(6.0) if "encoder_attn" in name else None
    inner.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _random(config: Any, end: int) -> Any:
    torch.manual_seed(3)
    library = (
        transformers.AutoModelForSeq2SeqLM
        if config.is_encoder_decoder
        else transformers.AutoModelForCausalLM
    )
    inner = library.from_config(config)
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.mul_(3.0) if parameter.dim() > 1 else None
        for table in (inner.get_input_embeddings(), inner.get_output_embeddings()):
            table.weight[: end + 1] *= 0.01  # or else most texts would end at once
    return inner
