"""The values of options that the command line does not set: those of a preset, and the defaults."""

from types import MappingProxyType
from typing import Final

# The value of an option that neither the command line nor a preset sets.
DEFAULTS: Final = MappingProxyType(
    {
        "methods": "fine-tuning,prefix,lora,adapter,simplex",
        "tasks": "glue",
        "sizes": "50,100,200,500",
        "draws": "10",
        "seeds": "1",
        "model": "google-bert/bert-base-cased",
        "pooling": "model",
        "dtype": "float32",
        "steps": "500",
        "batch_size": "16",
        "eval_every": "50",
        "patience": "0",
        "max_length": "128",
        "truncate": "head",
        "class_weights": "none",
        "dev": "extra",
        "sampling": "random",
        "test_limit": "2000",
        "target_length": "64",
        "beams": "1",
        "length_penalty": "1",
        "dev_score": "loss",
    }
)
PRESETS: Final = MappingProxyType(
    {
        # Check an installation: every method once on two tasks, with the embedded model.
        "smoke": {
            "methods": "all",
            "tasks": "toy-sentiment,toy-entailment",
            "sizes": "50",
            "draws": "1",
            "model": "tiny",
            "steps": "20",
            "eval_every": "10",
            "test_limit": "100",
        },
        # The first answer on a file: minutes on two slow cores, and as few draws as a claim takes.
        "quick": {
            "methods": "features,lora",
            "sizes": "100",
            "draws": "4",
            "model": "sentence-transformers/all-MiniLM-L6-v2",
            "pooling": "mean",
            "steps": "100",
            "eval_every": "25",
        },
        # Five draws with two seeds each, as in Li & Liang 2021, section 6.3.
        "low-data": {"draws": "5", "seeds": "2"},
    }
)
