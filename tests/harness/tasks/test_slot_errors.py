"""Slot errors of E2E, by rules."""

import pytest

from harness.tasks import metrics, slot_errors, user_files
from harness.tasks.slot_errors import SlotError

SOURCE = (
    "name : The Mill | Type : pub | food : Italian | price : cheap | customer rating : low | area : riverside"
    " | family friendly : no | near : Raja Cuisine"
)
RIGHT = (
    "The Mill is a cheap Italian pub by the river near Raja Cuisine. It is not family-friendly and has a poor "
    "rating."
)


def errors(text, source=SOURCE):
    return {name: error.value for name, error in slot_errors.slot_errors(source, text).items()}


def test_a_text_that_says_everything_has_no_errors():
    """All eight attributes are found in the usual words."""
    assert errors(RIGHT) == {}


@pytest.mark.parametrize(
    ("old", "new", "name", "error"),
    [
        ("The Mill", "It", "name", "missing"),
        ("pub", "place", "type", "missing"),
        ("pub", "coffee shop", "type", "wrong"),
        ("Italian ", "", "food", "missing"),
        ("Italian", "Japanese", "food", "wrong"),
        ("cheap ", "", "price", "missing"),
        ("cheap", "pricey", "price", "wrong"),
        (" and has a poor rating", "", "customer rating", "missing"),
        ("a poor rating", "a rating of 5 out of 5", "customer rating", "wrong"),
        ("by the river ", "", "area", "missing"),
        ("by the river", "in the city centre", "area", "wrong"),
        ("is not family-friendly and ", "", "family friendly", "missing"),
        ("is not family-friendly", "welcomes children", "family friendly", "wrong"),
        (" near Raja Cuisine", "", "near", "missing"),
        ("near Raja Cuisine", "near Burger King", "near", "wrong"),
    ],
)
def test_one_change_is_one_error(old, new, name, error):
    """What a text leaves out is missing, and another value is wrong; nothing else is counted."""
    assert old in RIGHT
    assert errors(RIGHT.replace(old, new)) == {name: error}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The Mill is a pub that serves sushi.", "food"),
        ("The Mill is an inexpensive pub.", "price"),
        ("The Mill is a pub with a high customer rating.", "customer rating"),
        ("The Mill is a pub in the centre of the city.", "area"),
        ("The Mill is a child friendly pub.", "family friendly"),
        ("The Mill is a pub next to Raja Cuisine.", "near"),
    ],
)
def test_an_attribute_that_the_source_lacks_is_added(text, name):
    """A text that says something of its own has an added attribute."""
    assert errors(text, "name[The Mill], eatType[pub]") == {name: "added"}


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("The Mill is close to the river.", "name[The Mill], area[riverside]"),
        ("The Wrestlers Pub is a restaurant.", "name[The Wrestlers Pub], eatType[restaurant]"),
        ("Not only is The Mill child friendly.", "name[The Mill], familyFriendly[yes]"),
        ("At The Mill, kids are not welcome.", "name[The Mill], familyFriendly[no]"),
        ("The Mill has a rating that is average.", "name[The Mill], customer rating[3 out of 5]"),
        ("The Mill is a moderate rated pub.", "name[The Mill], customer rating[average]"),
        ("A meal at The Mill costs under £20.", "name[The Mill], priceRange[cheap]"),
        ("A meal at The Mill costs 20 to 25 pounds.", "name[The Mill], priceRange[£20-25]"),
    ],
)
def test_usual_ways_to_say_it_are_no_errors(text, source):
    """Negations, names that contain other words, and values that people use one for the other."""
    assert errors(text, source) == {}


def test_both_ways_to_write_a_source_are_read():
    """The attributes are those of the dataset and those that Li and Liang's code writes."""
    bracketed = "name[The Mill], eatType[pub], priceRange[£20-25], familyFriendly[no]"
    line = "name : The Mill | Type : pub | price : £20-25 | family friendly : no"
    assert slot_errors.slots_of(bracketed) == slot_errors.slots_of(line)
    assert list(slot_errors.slots_of(line)) == ["name", "type", "price", "family friendly"]


def test_the_metrics_divide_by_the_attributes_of_all_sources():
    """One missing and one wrong attribute of 8 + 2 are 10 % each, and 20 % together."""
    texts = [RIGHT.replace("Italian", "Japanese"), "The Mill."]
    sources = [SOURCE, "name[The Mill], eatType[pub]"]
    scored = metrics.Scored(texts, [("x",), ("y",)], sources)
    assert metrics.compute(list(slot_errors.METRICS), scored) == pytest.approx(
        {"slot-errors": 0.2, "missing-slots": 0.1, "added-slots": 0.0, "wrong-slots": 0.1}
    )


def test_a_source_of_another_kind_has_no_attributes():
    """Without attributes there is nothing to be wrong about."""
    assert slot_errors.rate(list(SlotError), ["A text."], ["Some news."]) == 0


def test_own_files_in_the_notation_of_e2e_have_slot_errors(tmp_path):
    """A file whose sources are all restaurants of E2E gets these metrics; one with another source does not."""
    lines = [
        "source,target",
        *(f'"name[Mill {n}], area[riverside]",Mill {n} is by the river.' for n in range(8)),
    ]
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    own.write_text("\n".join(lines))
    other.write_text("\n".join([*lines, '"name[Mill 9], stars[4]",Mill 9.']))
    task, plain = (
        user_files.from_options(path, ["source"], ["target"], kind="text") for path in (own, other)
    )
    assert set(task.other_metrics) >= set(slot_errors.METRICS)
    assert not set(plain.other_metrics) & set(slot_errors.METRICS)
