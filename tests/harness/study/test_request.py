"""Options as they are typed, read into a request."""

import pytest

import methods
from harness.errors import UsageError
from harness.study import request
from harness.study.grid_options import GridOptions


def labels(**typed):
    """The methods that a command line means, by their labels."""
    read, _ = request.read(GridOptions(model="tiny", tasks="toy-sentiment", sizes="20", **typed))
    return [methods.label(method) for method in read.methods]


def test_short_names_are_methods_of_their_own():
    """A simplex and a simplex over LoRA stand side by side; the plain name sets options of both, a short one its own."""
    assert labels(methods="simplex,simplex-lora") == ["simplex", "simplex(base=lora)"]
    both = labels(methods="simplex,simplex-lora", set_=["simplex.vertices=2"])
    assert both == ["simplex(vertices=2)", "simplex(base=lora, vertices=2)"]
    one = labels(methods="simplex,simplex-lora", set_=["simplex-lora.mix=factors,product"])
    assert one == ["simplex", "simplex(base=lora)", "simplex(base=lora, mix=product)"]


def test_names_that_mean_the_same_are_counted_once():
    """`prefix-tuning` is `prefix`; asking twice is noticed."""
    read, notices = request.read(
        GridOptions(model="tiny", tasks="toy-sentiment", sizes="20", methods="prefix,prefix-tuning")
    )
    assert [method.name for method in read.methods] == ["prefix"]
    assert notices


def test_words_stand_in_quotes():
    """Commas and spaces inside quotes belong to a value; values are still several."""
    found = labels(
        methods="prefix", set_=["prefix.init=words", 'prefix.words="good, bad film",topic']
    )
    assert found == ["prefix(init=words, words=good, bad film)", "prefix(init=words, words=topic)"]
    assert request.split("prefix,simplex(vertices=2, length=5) lora") == [
        "prefix",
        "simplex(vertices=2, length=5)",
        "lora",
    ]


def test_a_budget_is_a_share():
    """`0.1%` and `.001` are the same."""
    assert labels(methods="prefix", set_=["budget=0.1%"]) == labels(
        methods="prefix", set_=["budget=.001"]
    )


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("m", "m"),
        ("./m", "m"),
        ("m/", "m"),
        (".//m/.", "m"),
        ("tiny", "tiny"),
        ("./tiny", "./tiny"),
        ("a/b", "a/b"),
    ],
)
def test_a_folder_has_one_name(typed, name, tmp_path, monkeypatch):
    """However it is typed, its jobs are the same; a folder called like the embedded model is not taken for it."""
    monkeypatch.chdir(tmp_path)
    for folder in ("m", "tiny"):
        (tmp_path / folder).mkdir()
    read, _ = request.read(
        GridOptions(model=typed, methods="lora", tasks="toy-sentiment", sizes="20")
    )
    assert read.model == name


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            {"methods": "lora", "set_": ["simplex-lora.mix=product"]},
            "simplex-lora is not among --methods",
        ),
        (
            {"methods": "simplex-lora", "set_": ["length=5"]},
            "none of the methods has such an option",
        ),
        ({"methods": "simplex-lora", "set_": ["mix=both"]}, "mix must be one of factors, product"),
        ({"methods": "simplex-ia3"}, "no method 'simplex-ia3'"),
        (
            {"methods": "prefix", "set_": ["prefix.words=caf\udce9"]},
            "--set: 'prefix.words=caf\\udce9' is no text in UTF-8",
        ),
    ],
)
def test_what_is_wrong_is_said(typed, words):
    """Each with what was typed and what is known."""
    with pytest.raises(UsageError) as caught:
        labels(**typed)
    assert words in str(caught.value)
