"""Options as typed are read into a request."""

from dataclasses import replace

import pytest

import methods
from harness.commands.plan import remarks
from harness.errors import UsageError
from harness.study import option_reader, planning, request
from harness.study.grid_options import GridOptions


def labels(**typed):
    """Return the labels of the methods that a command line names."""
    options = {"model": "tiny", "tasks": "toy-sentiment", "sizes": "20"} | typed
    read, _ = request.read(GridOptions(**options))
    return [methods.label(method) for method in read.methods]


def test_short_names_are_methods_of_their_own():
    """`simplex` and `simplex-lora` are separate methods.

    `simplex` sets options of both, `simplex-lora` only its own.
    """
    assert labels(methods="simplex,simplex-lora") == ["simplex", "simplex(base=lora)"]
    variants = labels(methods="simplex,simplex-lora", set_=["simplex.vertices=2"])
    assert variants == ["simplex(vertices=2)", "simplex(base=lora, vertices=2)"]
    variants = labels(methods="simplex,simplex-lora", set_=["simplex-lora.mix=factors,product"])
    assert variants == ["simplex", "simplex(base=lora)", "simplex(base=lora, mix=product)"]


def test_a_test_file_above_the_limit_is_said_to_be_tested_in_part(tmp_path):
    """How many of the test file's rows are tested on is a notice; with --test-limit 0 all of them are."""
    for name, count in (("train.csv", 40), ("test.csv", 30)):
        rows = "".join(f"{name} {number},{number % 2}\n" for number in range(count))
        (tmp_path / name).write_text(f"text,label\n{rows}")
    said = {}
    for limit in ("0", "20", "30"):
        _, said[limit] = request.read(
            GridOptions(
                model="tiny",
                sizes="8",
                methods="head",
                data=tmp_path / "train.csv",
                test=tmp_path / "test.csv",
                text="text",
                label="label",
                test_limit=limit,
            )
        )
    assert any("20 of the 30 test rows are tested on" in one for one in said["20"])
    assert not any("tested on" in one for one in said["0"] + said["30"])


def test_names_that_mean_the_same_are_counted_once():
    """`prefix-tuning` is `prefix`; naming both counts once, with a notice."""
    read, notices = request.read(
        GridOptions(model="tiny", tasks="toy-sentiment", sizes="20", methods="prefix,prefix-tuning")
    )
    assert [method.name for method in read.methods] == ["prefix"]
    assert notices


def test_quotes_protect_commas_and_spaces():
    """Commas and spaces inside quotes belong to a value, which may be one of several."""
    variants = labels(
        methods="prefix", set_=["prefix.init=words", 'prefix.words="good, bad film",topic']
    )
    assert variants == [
        "prefix(init=words, words=good, bad film)",
        "prefix(init=words, words=topic)",
    ]
    assert option_reader.split("prefix,simplex(vertices=2, length=5) lora") == [
        "prefix",
        "simplex(vertices=2, length=5)",
        "lora",
    ]


def test_a_budget_may_be_a_percentage():
    """`0.1%` and `.001` give the same method."""
    assert labels(methods="prefix", set_=["budget=0.1%"]) == labels(
        methods="prefix", set_=["budget=.001"]
    )


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("m", "FOLDER/m"),
        ("./m", "FOLDER/m"),
        ("m/", "FOLDER/m"),
        (".//m/.", "FOLDER/m"),
        ("link", "FOLDER/m"),
        ("tiny", "tiny"),
        ("./tiny", "FOLDER/tiny"),
        ("a/b", "a/b"),
    ],
)
def test_a_folder_has_one_name(typed, name, tmp_path, monkeypatch):
    """All spellings of a folder, and links to it, give the same jobs, from any folder.

    A folder with the name of the embedded model is not confused with it.
    """
    monkeypatch.chdir(tmp_path)
    for folder in ("m", "tiny"):
        (tmp_path / folder).mkdir()
    (tmp_path / "link").symlink_to("m")
    read, _ = request.read(
        GridOptions(model=typed, methods="lora", tasks="toy-sentiment", sizes="20")
    )
    assert read.model == name.replace("FOLDER", str(tmp_path.resolve()))


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
        ({"methods": "LoRA"}, "no method 'LoRA' (did you mean 'lora'?)"),
        ({"methods": "lora", "set_": ["lora.r=4"]}, "did you mean 'rank'?"),
        ({"methods": "lora", "tasks": "SST-2"}, "no task 'SST-2' (did you mean 'sst2'?)"),
        ({"methods": "lora", "sampling": "Stratified"}, "(did you mean 'stratified'?)"),
        (
            {"methods": "prefix", "set_": ["prefix.words=caf\udce9"]},
            "--set: 'prefix.words=caf\\udce9' is not valid UTF-8",
        ),
    ],
)
def test_problems_name_the_text_and_the_alternatives(typed, words):
    """A problem contains what was typed and what is known."""
    with pytest.raises(UsageError) as caught:
        labels(**typed)
    assert words in str(caught.value)


def test_two_own_tasks_with_one_name_are_refused(tmp_path):
    """One of them would be dropped: the message says how to tell them apart."""
    (tmp_path / "f.csv").write_text("text,label,other\n" + "a,x,1\nb,y,0\n" * 40)
    toml = tmp_path / "t.toml"
    toml.write_text(
        'name = "f"\ndata = "f.csv"\ntext = "text"\nlabel = "other"\nkind = "classes"\n'
    )
    grid = GridOptions(
        data=tmp_path / "f.csv",
        text="text",
        label="label",
        task_file=[toml],
        model="tiny",
        sizes="16",
    )
    with pytest.raises(UsageError, match="two of your tasks are named 'f'"):
        request.read(grid)
    assert len(request.read(replace(grid, name="g"))[0].tasks) == 2


def test_a_size_that_a_file_cannot_give_is_replaced(tmp_path):
    """The largest size that the file gives takes its place, which is said; GLUE's sizes are not replaced."""
    (tmp_path / "f.csv").write_text("text,label\n" + "".join(f"a{n},{n % 2}\n" for n in range(120)))
    grid = GridOptions(
        data=tmp_path / "f.csv", text="text", label="label", model="tiny", sizes="20,200,500"
    )
    found, notices = request.read(grid)
    assert found.sizes == (20, 60)  # 90 rows are not held out, and 60 of them need 18 dev rows
    assert "--sizes: 60 instead of 200 (f: 200 training and 60 dev rows of 90)" in notices
    with pytest.raises(UsageError, match="--sizes: 9000 is too large or too small: rte"):
        request.read(GridOptions(tasks="rte", model="tiny", sizes="9000"))
    (tmp_path / "f.csv").write_text("text,label\na,0\nb,1\n")
    with pytest.raises(UsageError, match="too large or too small: f"):
        request.read(grid)


def test_a_class_without_a_test_row_is_named(tmp_path):
    """Two rows of a class are in no test set of some draws: the plan names class and number of draws."""
    labels = ["a"] * 40 + ["b"] * 40 + ["rare"] * 2
    rows = "".join(f"text {n},{label}\n" for n, label in enumerate(labels))
    (tmp_path / "f.csv").write_text(f"text,label\n{rows}")
    grid = GridOptions(
        data=tmp_path / "f.csv", text="text", label="label", model="tiny", sizes="40", draws="6"
    )
    plan = planning.plan(request.read(grid)[0])
    lacking = [job.draw for job in plan.jobs if job.draw.absent]
    assert lacking
    assert {draw.absent for draw in lacking} == {("rare",)}
    count = len({draw.number for draw in lacking})
    assert f"no test row of 'rare' in {count} draw" in " ".join(remarks(plan))
