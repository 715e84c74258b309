"""Few-shot draws: equal for all methods, disjoint, of the requested size and class balance."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest

from harness.jobs import Recipe
from harness.streams import shuffled, stream_seed
from harness.tasks import REGISTRY
from harness.tasks.base import Example, Task
from harness.tasks.draws import Draw, Infeasible, counts, draw, infeasible_reason, largest_size


class FakeReader:
    """Generates examples of class `i % classes`, with class 0 rare on request."""

    def __init__(self, count, classes=2, rare=0):
        labels = (
            [0] * rare + [1 + i % (classes - 1) for i in range(count - rare)]
            if rare
            else [i % classes for i in range(count)]
        )
        self.made = [Example((f"text {i}",), label) for i, label in enumerate(labels)]

    def revision(self):
        return "1"

    def examples(self, split, revision):
        assert revision == "1"
        return (
            self.made if split == "train" else [Example((f"test {i}",), i % 2) for i in range(40)]
        )


def task(count=500, classes=2, rare=0, **more):
    labels = tuple(str(i) for i in range(classes))
    return Task(
        name="made",
        title="",
        reader=FakeReader(count, classes, rare),
        labels=labels,
        metrics=("accuracy",),
        pair=False,
        **more,
    )


def drawn(of, size, number=0, **recipe):
    return draw(of, lambda split: of.reader.examples(split, "1"), size, number, Recipe(**recipe))


def test_training_and_dev_examples_are_disjoint():
    """A draw of 50 examples has 15 more dev examples, and none is in both."""
    actual = drawn(task(), 50)
    assert (len(actual.train), len(actual.dev), len(actual.tests[""])) == (50, 15, 40)
    assert len({*actual.train, *actual.dev}) == 65


@pytest.mark.parametrize(
    ("dev", "expected"), [("extra", (100, 30)), ("carved", (70, 30)), ("7", (100, 7))]
)
def test_dev_rules(dev, expected):
    """`--dev` adds examples, takes a part of the size, or is a number of examples."""
    actual = drawn(task(), 100, dev=dev)
    assert (len(actual.train), len(actual.dev)) == expected


def test_draws_differ_and_are_reproducible():
    """A draw depends on its number and its size; the draw of one size does not contain that of another."""
    assert drawn(task(), 50).fingerprint == drawn(task(), 50).fingerprint
    assert drawn(task(), 50, 0).fingerprint != drawn(task(), 50, 1).fingerprint
    assert not set(drawn(task(5000), 50).train) <= set(drawn(task(5000), 100).train)


def test_more_draws_do_not_change_the_first_ones():
    """Draws 0 to 4 depend neither on the number of draws nor on the recipe's steps."""
    first = [drawn(task(), 50, number).fingerprint for number in range(5)]
    assert [drawn(task(), 50, number, steps=7, batch_size=3).fingerprint for number in range(10)][
        :5
    ] == first


def test_a_draw_without_all_classes_is_repeated():
    """Every draw contains a rare class and counts the discarded draws."""
    many = [drawn(task(500, 2, rare=5), 50, number) for number in range(20)]
    assert all({row.label for row in single.train} == {0, 1} for single in many)
    assert sum(single.redrawn for single in many) > 0


def test_stratified_draws_keep_the_class_proportions():
    """Class 0 is a tenth of the pool and of each draw."""
    actual = drawn(task(500, 2, rare=50), 100, sampling="stratified")
    assert Counter(row.label for row in actual.train) == {0: 10, 1: 90}
    assert Counter(row.label for row in actual.dev) == {0: 3, 1: 27}


def test_sizes_can_count_examples_per_class():
    """`--per-class` with 8 and three classes gives 24 examples, 8 of each."""
    actual = drawn(task(500, 3), 8, per_class=True)
    assert Counter(row.label for row in actual.train) == {0: 8, 1: 8, 2: 8}


@pytest.mark.parametrize(
    ("made", "size", "recipe", "reason"),
    [
        (task(60), 50, {}, "50 training and 15 dev rows of 60"),
        (task(60, 3), 2, {}, "cannot hold all 3 classes"),
        (task(), 1, {}, "dev rows"),
        (
            task(500, 2, rare=5),
            100,
            {"sampling": "stratified", "per_class": True},
            "class '0' has 5 rows",
        ),
    ],
)
def test_an_infeasible_draw_states_the_reason(made, size, recipe, reason):
    """The reason contains the numbers of examples."""
    with pytest.raises(Infeasible, match=reason):
        drawn(made, size, **recipe)


def test_a_known_size_is_checked_before_reading():
    """2,000 training and 600 dev examples of RTE, which has 2,490, are refused without reading it."""
    assert (
        infeasible_reason(REGISTRY["rte"], 2000, Recipe())
        == "2000 training and 600 dev rows of 2490"
    )
    assert infeasible_reason(REGISTRY["rte"], 500, Recipe()) == ""
    assert counts(REGISTRY["rte"], 500, Recipe()) == (500, 150)


def test_the_test_limit_takes_a_fixed_subset():
    """All draws have the same test examples in their original order; 0 takes all."""
    made = task()
    some = drawn(made, 50, 0, test_limit=10).tests[""]
    assert some == drawn(made, 50, 3, test_limit=10).tests[""]
    assert [row.texts for row in some] == sorted(
        (row.texts for row in some), key=lambda t: int(t[0].split()[1])
    )
    assert len(drawn(made, 50, 0, test_limit=0).tests[""]) == 40


def test_held_out_examples_are_not_trained_on():
    """Without a test split each draw holds out another quarter of the examples."""
    made = replace(task(400), holdout=True)
    first, second = drawn(made, 50, 0), drawn(made, 50, 1)
    assert len(first.tests[""]) == 100
    assert not {*first.train, *first.dev} & {*first.tests[""]}
    assert first.tests[""] != second.tests[""]


def test_the_fingerprint_depends_on_the_contents():
    """A changed letter, a changed label or an example moved from train to dev changes the fingerprint."""
    actual = drawn(task(), 50)
    altered = Example(("other",), actual.train[0].label)
    relabelled = Example(actual.train[0].texts, 1 - actual.train[0].label)
    for train in ((altered, *actual.train[1:]), (relabelled, *actual.train[1:]), actual.train[1:]):
        assert replace(actual, train=train).fingerprint != actual.fingerprint
    assert (
        replace(actual, train=actual.train[:-1], dev=(actual.train[-1], *actual.dev)).fingerprint
        != actual.fingerprint
    )


@pytest.mark.parametrize("name", [name for name in REGISTRY if name.startswith("toy")])
def test_toy_tasks_have_draws_of_500(name):
    """Every toy task has a draw of 500 examples, none of which is in its test split."""
    made = REGISTRY[name]
    actual = draw(
        made, lambda split: made.reader.examples(split, made.reader.revision()), 500, 0, Recipe()
    )
    assert len(actual.train) == 500
    assert not {row.texts for row in (*actual.train, *actual.dev)} & {
        row.texts for row in actual.tests[""]
    }


class GivenReader(FakeReader):
    """Returns examples that the test made."""

    def __init__(self, examples):
        self.made = examples


def given(examples, **more):
    return replace(task(), reader=GivenReader(examples), **more)


def test_a_holdout_never_separates_rows_with_equal_texts():
    """Rows that are equal but for case, width and spacing are held out together, whatever their labels."""
    texts = [
        f"{form} {i}" for i in range(60) for form in ("Good film", "good  FILM", "ｇｏｏｄ film")
    ]
    made = given([Example((text,), i % 2) for i, text in enumerate(texts)], holdout=True)
    for number in range(10):
        actual = drawn(made, 40, number)
        trained = {row.group_key for row in (*actual.train, *actual.dev)}
        assert not trained & {row.group_key for row in actual.tests[""]}
        assert len(actual.tests[""]) == 45
        assert actual.shared == 0
        assert actual.repeated() == {"": []}


def test_a_holdout_respects_groups():
    """Rows of one author are never on both sides."""
    rows = [Example((f"text {i}",), i % 2, f"author {i % 30}") for i in range(300)]
    actual = drawn(given(rows, holdout=True), 50)
    assert not {row.group for row in actual.train} & {row.group for row in actual.tests[""]}


def test_a_group_that_takes_most_rows_is_named():
    """If too few rows are left because a large group is held out, the message names it."""
    rows = [Example((f"row {n}",), n % 2, group="zoe" if n < 80 else f"g{n}") for n in range(100)]
    of, messages = replace(task(), holdout=True), []
    for number in range(10):
        try:
            draw(of, lambda _: rows, 40, number, Recipe())
        except Infeasible as problem:
            messages.append(str(problem))
    assert messages
    assert all(
        "80 rows are held out for testing because they are of one group, 'zoe'" in m
        for m in messages
    )


def test_distinct_rows_are_held_out_as_before_groups():
    """Without equal texts each row is a group, and the held-out rows are those that the stream names."""
    made = replace(task(400), holdout=True)
    actual = drawn(made, 50, 3)
    order = shuffled(stream_seed("holdout", "made", 3), 400)
    assert list(actual.held_out) == sorted(islice(order, 100))
    rows = made.reader.examples("train", "1")
    assert actual.tests[""] == tuple(rows[number] for number in actual.held_out)


def test_groups_are_numbered_over_all_test_sets():
    """Rows of a group have one number, also in two test sets; without groups there are no numbers."""
    made = Draw((), (), {
        "": (Example(("a",), 0, "x"), Example(("b",), 1, "y")),
        "other": (Example(("c",), 0, "x"),),
    }, 0)  # fmt: skip
    assert made.groups() == {"": [0, 1], "other": [0]}
    alone = Draw((), (), {"": (Example(("a",), 0), Example(("b",), 1))}, 0)
    assert alone.groups() == {"": []}


def test_repeated_test_rows_are_numbered():
    """A test row whose text is also trained on is named, case and spacing aside."""
    made = Draw(
        (Example(("A  film",), 0),),
        (Example(("another",), 1),),
        {"": (Example(("new",), 0), Example(("a film",), 1), Example(("Another ",), 1))},
        0,
    )
    assert made.repeated() == {"": [1, 2]}


def test_the_largest_size_can_be_drawn():
    """It is feasible, and the next larger size in its steps is not, whatever the dev rows and the held-out rows."""
    for rows in (5, 17, 40, 120, 1003):
        for recipe in (Recipe(), Recipe(dev="carved"), Recipe(dev="7"), Recipe(test_limit=4)):
            made = replace(task(), holdout=True, train_rows=rows)
            size = largest_size(made, 10_000, recipe)
            if size:
                assert infeasible_reason(made, size, recipe) == ""
                assert (
                    infeasible_reason(made, size + (10 if size >= 20 else 1), recipe) or size < 20
                )
            else:
                assert all(infeasible_reason(made, n, recipe) for n in range(1, rows + 1))


def test_the_largest_size_is_rounded_down_only_where_that_is_feasible():
    """8 rows of two classes: 6; 24 rows of twelve classes: 18, because 10 training rows cannot hold them all."""
    for rows, classes, largest in ((8, 2, 6), (12, 2, 9), (24, 12, 18), (200, 2, 150)):
        labels = tuple(map(str, range(classes)))
        made = replace(task(), labels=labels, train_rows=rows)
        assert largest_size(made, 10_000, Recipe()) == largest


def test_stratified_rows_hold_every_class():
    """A class of 2 % has one of 10 training rows, which the largest class gives up."""
    rows = [Example((f"text {n}",), 0) for n in range(900)]
    rows += [Example((f"rare {label} {n}",), label) for label in range(1, 6) for n in range(20)]
    made = replace(task(), labels=tuple("abcdef"), train_rows=len(rows))
    found = draw(made, lambda _: rows, 10, 0, Recipe(sampling="stratified"))
    assert Counter(row.label for row in found.train) == {0: 5, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}
