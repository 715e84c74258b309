"""Methods by name: options as text, aliases, labels, and the identity of a job."""

from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import methods
from methods import ALIASES, BASES, REGISTRY

# Values other than the default that some method accepts for an option.
OTHERS = {
    "lr": ["3e-4"],
    "weight_decay": ["0.1"], "dropout": ["on", "off"], "layers": ["none", "top-2"], "length": ["3", "7"],
    "hidden": ["16"], "decoder": ["none", "per-layer", "simple-share", "no-share", "deep-share", "mlp"],
    "positions": ["kept"], "budget": ["0.1%", "0.02"], "init": ["random", "words"], "words": ["some words"],
    "depth": ["first"], "prefix_dropout": ["0.1"], "gate": ["input", "zero", "true"], "rank": ["4"], "alpha": ["8"],
    "targets": ["dense"], "lora_dropout": ["0.1"], "rslora": ["true"], "bottleneck": ["6"], "placement": ["both"],
    "parts": ["prefix+lora"],
    "gates": ["false"], "pooling": ["cls"], "pairs": ["apart"], "c": ["1"], "pool": ["prompt"], "vertices": ["1", "2"],
    "granularity": ["row", "batch"], "validation": ["centroid"], "copies": ["3"], "concentration": ["0.5"],
    "diversity": ["1"], "decoders": ["per-vertex"], "head": ["false"], "mix": ["product"], "test": ["mean-of-samples"],
    "samples": ["3"], "base": list(BASES), "attention": ["decoder+cross"],
    "position": ["infix"],
}  # fmt: skip


def test_every_option_is_tested_here():
    """The values above cover every option of every method."""
    assert {field.name for cls in REGISTRY.values() for field in fields(cls)} == set(OTHERS)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_method_can_be_rebuilt_from_its_identity(data):
    """A method that is built from the options in a job's identity has the same options in use."""
    name = data.draw(st.sampled_from([*REGISTRY, *ALIASES]))
    base = (
        data.draw(st.sampled_from(BASES))
        if name == "simplex"
        else ALIASES.get(name, ("", {}))[1].get("base", "prefix")
    )
    known = sorted(methods.options_of(name, base) - {"base"})
    chosen = data.draw(st.lists(st.sampled_from(known), unique=True, max_size=5))
    options = {option: data.draw(st.sampled_from(OTHERS[option])) for option in chosen}
    options |= {"base": base} if name == "simplex" else {}
    try:
        method = methods.build(name, options)
    except ValueError:
        return  # options that exclude each other; another test covers the messages
    rebuilt = methods.build(method.name, method.resolved())
    assert rebuilt.resolved() == method.resolved()
    assert rebuilt.options() == method.options()
    assert methods.label(rebuilt) == methods.label(method)
    assert set(method.resolved()) <= set(method.options())


@given(st.sampled_from(sorted(REGISTRY)), st.data())
@settings(max_examples=200, deadline=None)
def test_every_option_in_use_changes_the_identity(name, data):
    """Two methods that differ in an option in use never share a job."""
    option = data.draw(st.sampled_from(sorted(methods.options_of(name) - {"base"})))
    value = data.draw(st.sampled_from(OTHERS[option]))
    plain = methods.build(name)
    try:
        other = methods.build(name, {option: value})
    except ValueError:
        return
    assert (other.options() == plain.options()) == (other.resolved() == plain.resolved())


def test_added_options_are_left_out_at_their_defaults():
    """Results from before an option was added remain results of the same job."""
    assert set(methods.build("lora").resolved()) == {
        "lr",
        "weight_decay",
        "dropout",
        "rank",
        "alpha",
        "targets",
    }
    assert "rslora" in methods.build("lora", {"rslora": True}).resolved()
    assert "rslora" in methods.build("lora").options()


@pytest.mark.parametrize(("typed", "value"), [("deep-share", "one"), ("no-share", "none")])
def test_names_of_the_paper_are_accepted(typed, value):
    """The name of a structure in the paper gives the same method as ours."""
    assert methods.build("prefix", {"decoder": typed}) == methods.build(
        "prefix", {"decoder": value}
    )


def test_aliases_set_the_base():
    """`simplex-lora` is a simplex over LoRA, `head` a head alone."""
    assert methods.build("simplex-lora") == methods.build("simplex", {"base": "lora"})
    assert methods.build("head") == methods.build("fine-tuning", {"layers": "none"})
    assert methods.label(methods.build("simplex-head")) == "simplex(base=head)"


def test_decoder_of_a_simplex_may_mean_decoders():
    """`decoder=per-vertex` sets the simplex's option `decoders`; other values set the base's `decoder`."""
    assert methods.build("simplex", {"decoder": "per-vertex"}) == methods.build(
        "simplex", {"decoders": "per-vertex"}
    )
    both = methods.build("simplex", {"decoder": "per-layer", "decoders": "per-vertex"})
    assert (both.base.decoder, both.decoders) == ("per-layer", "per-vertex")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("prefix", {"decoder": "two"}, "decoder must be one of one, per-layer, simple-share, none"),
        ("prefix", {"init": "words"}, "init=words needs the words"),
        ("prefix", {"words": "a film"}, "words requires init=words"),
        (
            "prefix",
            {"init": "words", "words": "a", "decoder": "simple-share"},
            "choose another decoder",
        ),
        ("prefix", {"budget": "150%"}, "budget must be a share"),
        ("unipelt", {"parts": "prefix+prefix"}, "parts must be some of"),
        ("prompt", {"decoder": "mlp"}, "it requires init=random"),
        ("adapter", {"placement": "attention"}, "placement must be one of feed-forward, both"),
        ("unipelt", {"parts": "prefix+ia3"}, "parts must be some of prefix, adapter and lora"),
        ("features", {"lr": "1e-3"}, "closed form"),
        (
            "simplex",
            {"base": "nothing"},
            "base must be one of prefix, lora, adapter, prompt, head, unipelt",
        ),
        ("simplex", {"base": "fine-tuning"}, "its initial values are not random"),
        ("simplex-head", {"head": "false"}, "without vertices"),
        ("simplex", {"mix": "product"}, "it requires base=lora"),
        ("lora", {"lora_dropout": "1"}, "from 0 to below 1"),
        ("lorra", {}, "did you mean 'lora'"),
        ("lora", {"ranks": "4"}, "did you mean 'rank'"),
    ],
)
def test_invalid_options_are_refused(name, options, message):
    """The message names the option and its valid values, or an alternative."""
    with pytest.raises(ValueError, match=r".*") as caught:
        methods.build(name, options)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", REGISTRY)
def test_every_option_has_a_line_of_help(name):
    """`bench list methods NAME` can explain each option in one sentence."""
    lines = methods.option_help(name)
    assert set(lines) == methods.options_of(name)
    for option, line in lines.items():
        assert 0 < len(line) <= 160, option
        assert "\n" not in line
        assert line.endswith(".")
