"""Users' files for tasks that write text: sources and references."""

import json

import pytest
import transformers

from harness.backbones import checkpoints, loading
from harness.errors import UsageError
from harness.jobs import BackboneSpec, Recipe
from harness.study import request
from harness.study.grid_options import GridOptions
from harness.tasks import draws
from harness.tasks.user_files import from_options
from tests.support.user_files import examples, problems


def test_a_row_has_one_reference_for_each_column(write):
    """Blank cells are no references, equal ones count once, and a row without any is left out and counted."""
    path = write("t.csv", "table,first,second\nname : a,It is a.,This is a.\nname : b,It is b.,\nname : c,,\n"
                          "name : d,Same.,Same.\n")  # fmt: skip
    task = from_options(path, ["table"], ["first", "second"], kind="text")
    assert [(row.texts, row.references) for row in examples(task)] == [
        (("name : a",), ("It is a.", "This is a.")),
        (("name : b",), ("It is b.",)),
        (("name : d",), ("Same.",)),
    ]
    assert task.kind == "text"
    assert task.metrics == ("bleu",)
    assert task.other_metrics == ("chrf", "rougeL", "length-ratio", "repetition")
    assert any("1 without reference (row 3 (line 4))" in finding for finding in task.findings)
    assert "t.csv: 3 rows with 1 to 2 references of 1 to 3 words, median 3" in task.description


def test_lists_are_references_too(write):
    """A list in JSON holds the references of a row; an empty one, none."""
    lines = [{"s": "a", "r": ["x y", "z"]}, {"s": "b", "r": "w"}, {"s": "c", "r": []}]
    path = write("t.jsonl", "\n".join(map(json.dumps, lines)))
    task = from_options(path, ["s"], ["r"], kind="text")
    assert [row.references for row in examples(task)] == [("x y", "z"), ("w",)]


def test_what_is_not_a_reference_is_refused_by_row(write):
    """Numbers and objects are no texts; classes and metrics of classes do not fit."""
    path = write("t.jsonl", '{"s": "a", "r": 7}\n{"s": "b", "r": ["x", {"y": 1}]}\n')
    said = problems(path, ["s"], ["r"], kind="text")
    assert "row 1 (line 1), column 'r': '7' is not a text" in said
    assert "row 2 (line 2), column 'r'" in said
    good = write("u.csv", "s,r\na,x\nb,y\n")
    assert "texts have no classes" in problems(good, ["s"], ["r"], kind="text", positive="x")
    assert "bleu" in problems(good, ["s"], ["r"], kind="text", metrics=["accuracy"])
    assert "rougeL" in problems(good, ["s"], ["r"], metrics=["rougeL"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "s,r\na,x\nb,\nc,z\n"),
        ("t.csv", "s,r\na,\nb,\n"),
        ("t.jsonl", '{"s": "a", "r": []}\n{"s": "b", "r": ["x"]}\n'),
        ("t.jsonl", '{"s": "a", "r": null}\n{"s": "b", "r": [" ", ""]}\n'),
    ],
)
def test_a_row_without_a_reference_is_refused_with_strict_data(write, name, content):
    """An empty cell, an empty list, and where no row has a reference; also in a test file."""
    path = write(name, content)
    assert "no reference" in problems(path, ["s"], ["r"], kind="text", strict=True)
    good = write("good.csv", "s,r\na,x\nb,y\n")
    assert "no reference" in problems(good, ["s"], ["r"], test=path, kind="text", strict=True)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_model_that_cannot_write_is_refused_before_anything_runs(bench, tmp_path, command):
    """The tokenizer of `tiny`, an encoder, has no token that ends a text."""
    (tmp_path / "t.csv").write_text("s,r\n" + "".join(f"a {n},b {n}\n" for n in range(40)))
    ended = bench(
        tmp_path, command, "--data", "t.csv", "--text", "s", "--label", "r", "--kind", "text", "--model", "tiny",
        "--methods", "prefix", "--sizes", 10, "--draws", 1, "--db", "r.db",
    )  # fmt: skip
    assert ended.code == 2
    assert "tiny cannot write text: its tokenizer has no token that ends a text" in ended.err
    assert "--model tiny-gpt" in ended.err


def test_an_encoder_with_an_end_token_is_refused(tmp_path):
    """The library loads RoBERTa as a decoder whose tokens see the tokens that they are to predict."""
    config = transformers.RobertaConfig(
        vocab_size=480, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.RobertaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoints.locate("tiny-gpt", ""))
    tokenizer.save_pretrained(tmp_path)
    spec = BackboneSpec(name=str(tmp_path), revision="0" * 40)
    with pytest.raises(UsageError, match="its tokens see the tokens after them"):
        loading.load(spec, "cpu", writes=True)


def test_strict_data_does_not_change_the_rows_of_a_sound_file(write):
    """What is cached for one reading is right for the other."""
    path = write("t.csv", "s,r\na,x\nb,y\n")
    strict, plain = (
        from_options(path, ["s"], ["r"], kind="text", strict=strict) for strict in (True, False)
    )
    assert strict.reader.revision() == plain.reader.revision()
    assert examples(strict) == examples(plain)


def test_other_columns_of_references_are_another_revision(write):
    """So are references and classes in one column."""
    path = write("t.csv", "s,r,q\na,x,y\nb,z,w\n")
    made = [
        from_options(path, ["s"], columns, kind=kind).reader.revision()
        for columns, kind in ((["r"], "text"), (["r", "q"], "text"), (["r"], "classes"))
    ]
    assert len(set(made)) == 3


def test_the_command_line_takes_several_columns(write):
    """`--kind text --label first,second`."""
    path = write(
        "t.csv", "table,first,second\n" + "".join(f"t {n},a {n},b {n}\n" for n in range(60))
    )
    grid = GridOptions(
        data=path, text="table", label="first,second", kind="text", methods="prefix", sizes="20", draws="1",
        model="tiny-gpt",
    )  # fmt: skip
    checked, _ = request.read(grid)
    assert checked.tasks[0].text
    assert checked.tasks[0].reader.label == ("first", "second")


def test_test_rows_with_one_source_are_one_row_with_all_references(write):
    """In a test file and in held-out rows: one text is written for a source; training rows stay as they are."""
    lines = [f"source {n % 6},text {n}" for n in range(24)]
    path = write("t.csv", "\n".join(["s,r", *lines]))
    test = write("u.csv", "s,r\nsame,one\nother,two\nsame,three\nsame,one\n")
    recipe = Recipe(dev="extra", test_limit=0)
    task = from_options(path, ["s"], ["r"], kind="text", test=test)
    assert task.test_rows == 2
    draw = draws.draw(
        task, lambda split: task.reader.examples(split, task.reader.revision()), 8, 0, recipe
    )
    assert [row.references for row in draw.tests[""]] == [("one", "three"), ("two",)]
    assert all(len(row.references) == 1 for row in draw.train)
    held = from_options(path, ["s"], ["r"], kind="text")
    draw = draws.draw(
        held, lambda split: held.reader.examples(split, held.reader.revision()), 8, 0, recipe
    )
    tested = draw.tests[""]
    assert [len(row.references) for row in tested] == [4] * len(tested) == [4, 4]
    rows = examples(held)
    assert [rows[index].texts for index in draw.held_out] == [row.texts for row in tested]
    assert not {row.texts for row in tested} & {row.texts for row in (*draw.train, *draw.dev)}
