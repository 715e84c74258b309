"""Every method that classifies at its defaults, and with each option that changes its structure."""

import methods

VARIANTS = [
    *((name, {}) for name in methods.suitable(writes=False)),
    ("fine-tuning", {"layers": "none"}),
    ("fine-tuning", {"layers": "top-1"}),
    ("prompt", {"init": "random", "decoder": "mlp", "hidden": 16}),
    ("prompt", {"init": "words", "words": "a bb ccc"}),
    ("prompt", {"pool": "prompt"}),
    ("prefix", {"decoder": "per-layer", "hidden": 16}),
    ("prefix", {"decoder": "simple-share"}),
    ("prefix", {"decoder": "none"}),
    ("prefix", {"positions": "kept"}),
    ("prefix", {"depth": "first"}),
    ("prefix", {"gate": "input"}),
    ("prefix", {"gate": "zero"}),
    ("prefix", {"init": "words", "words": "a bb ccc"}),
    ("lora", {"rslora": True, "gate": True}),
    ("adapter", {"placement": "both", "gate": True}),
    ("unipelt", {"parts": "prefix+adapter"}),
    ("unipelt", {"gates": False}),
    ("simplex-lora", {}),
    ("simplex-lora", {"mix": "product"}),
    ("simplex-adapter", {"head": False}),
    ("simplex-prompt", {}),
    ("simplex-head", {}),
    ("simplex-unipelt", {}),
    ("simplex", {"decoder": "per-layer", "hidden": 16, "granularity": "batch"}),
    ("simplex", {"decoders": "per-vertex", "hidden": 16, "concentration": 0.5}),
]
