"""Few-shot draws: the same for all methods, disjoint, as large and as mixed as asked for."""

from collections import Counter
from dataclasses import replace

import pytest

from harness.jobs import Recipe
from harness.tasks import REGISTRY
from harness.tasks.base import Example, Task
from harness.tasks.draws import Infeasible, counts, draw, infeasible_reason


class Rows:
    """A reader of made-up rows: class `i % classes`, with class 0 rare if asked for."""

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
        reader=Rows(count, classes, rare),
        labels=labels,
        metrics=("accuracy",),
        pair=False,
        **more,
    )


def drawn(of, size, number=0, **recipe):
    return draw(of, lambda split: of.reader.examples(split, "1"), size, number, Recipe(**recipe))


def test_training_and_dev_rows_are_disjoint_and_as_many_as_asked():
    """50 rows come with 15 further dev rows; none stands in both."""
    one = drawn(task(), 50)
    assert (len(one.train), len(one.dev), len(one.tests[""])) == (50, 15, 40)
    assert len({*one.train, *one.dev}) == 65


@pytest.mark.parametrize(
    ("dev", "expected"), [("extra", (100, 30)), ("carved", (70, 30)), ("7", (100, 7))]
)
def test_dev_rules(dev, expected):
    """Extra rows, a part of the size itself, or a number of rows."""
    one = drawn(task(), 100, dev=dev)
    assert (len(one.train), len(one.dev)) == expected


def test_draws_differ_from_each_other_and_not_from_themselves():
    """A draw's number decides its rows; sizes are drawn apart, so none contains another."""
    assert drawn(task(), 50).fingerprint == drawn(task(), 50).fingerprint
    assert drawn(task(), 50, 0).fingerprint != drawn(task(), 50, 1).fingerprint
    assert not set(drawn(task(5000), 50).train) <= set(drawn(task(5000), 100).train)


def test_more_draws_leave_the_first_ones_alone():
    """Draws 0 to 4 are the same whether ten or five are asked for, and whatever the recipe's steps."""
    first = [drawn(task(), 50, number).fingerprint for number in range(5)]
    assert [drawn(task(), 50, number, steps=7, batch_size=3).fingerprint for number in range(10)][
        :5
    ] == first


def test_a_draw_that_misses_a_class_is_drawn_again_and_says_so():
    """With a rare class, every draw still holds it, and counts what was thrown away."""
    many = [drawn(task(500, 2, rare=5), 50, number) for number in range(20)]
    assert all({row.label for row in one.train} == {0, 1} for one in many)
    assert sum(one.redrawn for one in many) > 0


def test_stratified_draws_keep_the_shares_of_the_pool():
    """Class 0 holds a tenth of the pool and of each draw."""
    one = drawn(task(500, 2, rare=50), 100, sampling="stratified")
    assert Counter(row.label for row in one.train) == {0: 10, 1: 90}
    assert Counter(row.label for row in one.dev) == {0: 3, 1: 27}


def test_sizes_may_count_rows_of_each_class():
    """`--per-class` with 8 and three classes gives 24 rows, 8 of each."""
    one = drawn(task(500, 3), 8, per_class=True)
    assert Counter(row.label for row in one.train) == {0: 8, 1: 8, 2: 8}


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
            "class 0 has 5 rows",
        ),
    ],
)
def test_what_cannot_be_drawn_says_why(made, size, recipe, reason):
    """A cell that its task cannot give is named, with the numbers."""
    with pytest.raises(Infeasible, match=reason):
        drawn(made, size, **recipe)


def test_known_sizes_refuse_before_anything_is_read():
    """GLUE's RTE has 2,490 training rows; 2,000 with 600 dev rows are too many, and no row is looked at."""
    assert (
        infeasible_reason(REGISTRY["rte"], 2000, Recipe())
        == "2000 training and 600 dev rows of 2490"
    )
    assert infeasible_reason(REGISTRY["rte"], 500, Recipe()) == ""
    assert counts(REGISTRY["rte"], 500, Recipe()) == (500, 150)


def test_the_test_limit_takes_a_fixed_subset():
    """The same rows for every draw, in their own order; 0 takes all."""
    made = task()
    some = drawn(made, 50, 0, test_limit=10).tests[""]
    assert some == drawn(made, 50, 3, test_limit=10).tests[""]
    assert [row.texts for row in some] == sorted(
        (row.texts for row in some), key=lambda t: int(t[0].split()[1])
    )
    assert len(drawn(made, 50, 0, test_limit=0).tests[""]) == 40


def test_held_out_rows_never_stand_in_training():
    """Without a test split a quarter of the rows is held out, another one for every draw, and never trained on."""
    made = replace(task(400), holdout=True)
    one, two = drawn(made, 50, 0), drawn(made, 50, 1)
    assert len(one.tests[""]) == 100
    assert not {*one.train, *one.dev} & {*one.tests[""]}
    assert one.tests[""] != two.tests[""]


def test_the_fingerprint_follows_the_contents():
    """A changed letter, a changed label or a row moved from train to dev changes it."""
    one = drawn(task(), 50)
    altered = Example(("other",), one.train[0].label)
    relabelled = Example(one.train[0].texts, 1 - one.train[0].label)
    for train in ((altered, *one.train[1:]), (relabelled, *one.train[1:]), one.train[1:]):
        assert replace(one, train=train).fingerprint != one.fingerprint
    assert (
        replace(one, train=one.train[:-1], dev=(one.train[-1], *one.dev)).fingerprint
        != one.fingerprint
    )


@pytest.mark.parametrize("name", [name for name in REGISTRY if name.startswith("toy")])
def test_toy_draws_are_what_they_were(name):
    """Every toy task gives a draw of 500 rows, and no training row stands in its test split."""
    made = REGISTRY[name]
    one = draw(
        made, lambda split: made.reader.examples(split, made.reader.revision()), 500, 0, Recipe()
    )
    assert len(one.train) == 500
    assert not {row.texts for row in (*one.train, *one.dev)} & {row.texts for row in one.tests[""]}
