"""What the labels of a file are taken for, and what is asked or refused."""

import json

import pytest
from sklearn.metrics import f1_score

from harness.tasks.metrics import Scored, compute
from harness.tasks.user_files import from_options
from tests.support.user_files import problems


def test_many_distinct_numbers_are_ambiguous(write):
    """More than 20 distinct numbers are refused until the user names the kind of label."""
    path = write("d.csv", "text,label\n" + "".join(f"t{number},{number}\n" for number in range(21)))
    assert "pass `--kind number` or `--kind classes`" in problems(path, ["text"], ["label"])
    assert from_options(path, ["text"], ["label"], kind="number").outputs == 1
    assert from_options(path, ["text"], ["label"], kind="classes").outputs == 21


def test_labels_that_are_not_numbers_are_refused(write):
    """Texts, NaN and infinities are refused as labels of a regression."""
    text = problems(
        write("d.csv", "text,label\na,1\nb,x\nc,nan\nd,inf\n"), ["text"], ["label"], kind="number"
    )
    assert [line.count("is not a finite number") for line in text.splitlines()] == [1, 1, 1]


MAIL = "text,label\na,spam\nb,ham\nc,spam\nd,ham\n"


def test_the_positive_class_is_the_second(write):
    """`positive` puts a class second, where F1 looks for it; naming the class that is second changes nothing."""
    path = write("mail.csv", MAIL)
    plain, same, other = (
        from_options(path, ["text"], ["label"], metrics=["f1"], positive=positive)
        for positive in (None, "spam", "ham")
    )
    assert (plain.labels, same, other.labels) == (("ham", "spam"), plain, ("spam", "ham"))
    assert same.reader.revision() == plain.reader.revision() != other.reader.revision()
    predicted = ["spam", "spam", "spam", "ham"]
    for task, positive in ((plain, "spam"), (other, "ham")):
        rows = task.reader.examples("train", task.reader.revision())
        expected = f1_score(["spam", "ham", "spam", "ham"], predicted, pos_label=positive)
        found = compute(
            task.metrics,
            Scored([task.labels.index(one) for one in predicted], [one.label for one in rows]),
        )
        assert found == {"f1": pytest.approx(expected)}


def test_a_positive_class_that_is_not_one_of_two_is_refused(write):
    """A misspelt label is answered with the nearest; three classes and numbers have no positive class."""
    path = write("mail.csv", MAIL)
    assert "positive: 'spma' is not a label (did you mean 'spam'?); there are 'ham', 'spam'" in (
        problems(path, ["text"], ["label"], positive="spma")
    )
    three = write("three.csv", "text,label\na,x\nb,y\nc,z\n")
    assert "there are 3 classes" in problems(three, ["text"], ["label"], positive="x")
    numbers = write("numbers.csv", "text,label\na,1\nb,2.5\n")
    assert "the label is not a class" in problems(
        numbers, ["text"], ["label"], kind="number", positive="1"
    )


def test_classes_that_look_alike_are_named(write):
    """Case, width, spaces and invisible characters make classes that a reader takes for one."""
    lines = ["Spam", "spam", "yes", "yes\u200b", "caf\u00e9", "cafe\u0301", "other"]
    path = write("d.csv", "text,label\n" + "".join(f"t{label},{label}\n" for label in lines))
    alike = [one for one in from_options(path, ["text"], ["label"]).findings if "look alike" in one]
    assert len(alike) == 3
    assert "'Spam' and 'spam'" in alike[0]
    assert any(r"'yes' and 'yes\u200b'" in one for one in alike)


def test_one_number_is_one_class(write):
    """`1` and `1.0` are one class; decimal numbers need --kind; whole numbers are said to be classes."""
    path = write("d.csv", "text,label\na,1\nb,1.0\nc,2\nd,3.0\n")
    task = from_options(path, ["text"], ["label"])
    assert task.labels == ("1", "2", "3.0")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.label for row in rows] == [0, 0, 1, 2]
    assert any("the numbers are taken as classes" in finding for finding in task.findings)
    stars = write("s.csv", "text,label\na,1.5\nb,2.5\nc,3.5\n")
    assert "pass `--kind number` or `--kind classes`" in problems(stars, ["text"], ["label"])
    assert from_options(stars, ["text"], ["label"], kind="classes").labels == ("1.5", "2.5", "3.5")


def test_numbers_may_have_a_decimal_comma(write):
    """In a file of semicolons, `1,5` is one and a half, and the task says so."""
    path = write("d.csv", "text;label\na;1,5\nb;2\nc;-0,25\n")
    task = from_options(path, ["text"], ["label"], kind="number")
    rows = task.reader.examples("train", task.reader.revision())
    assert [row.label for row in rows] == [1.5, 2.0, -0.25]
    assert any("decimal comma" in finding for finding in task.findings)


@pytest.mark.parametrize(
    ("label", "kind"), [(["a", "b"], "a list"), ({"a": 1}, "an object")], ids=["list", "object"]
)
def test_a_list_or_an_object_is_not_a_label(write, label, kind):
    """It is refused by row, and does not become a class."""
    lines = [
        json.dumps({"text": str(n), "label": value}) for n, value in enumerate(["a", "b", label])
    ]
    message = problems(write("d.jsonl", "\n".join(lines)), ["text"], ["label"])
    assert f"row 3 (line 3), column 'label': {kind} is not a label" in message


def test_a_file_without_a_usable_label_is_refused(write):
    """A column of lists, or without a single label, gets one message."""
    lists = write("l.jsonl", '{"text": "a", "label": ["x"]}\n{"text": "b", "label": []}\n')
    assert "column 'label': a list is not a label" in problems(lists, ["text"], ["label"])
    assert "no row has a label" in problems(
        write("d.csv", "text,label\na,\nb,\n"), ["text"], ["label"]
    )


def test_only_a_whole_number_and_its_decimal_form_are_one_class(write):
    """Leading zeros, signs, versions and long numbers keep their digits; what is merged is said."""
    labels = [
        "007",
        "7",
        "+7",
        "12345678901234567890",
        "12345678901234567891",
        "1.10",
        "1.1",
        "2",
        "2.0",
    ]
    path = write(
        "d.csv", "text,label\n" + "".join(f"t{n},{label}\n" for n, label in enumerate(labels))
    )
    task = from_options(path, ["text"], ["label"], kind="classes")
    assert set(task.labels) == set(labels) - {"2.0"}
    assert any("'2.0' and the whole number are taken as one class" in one for one in task.findings)
    one = write("one.csv", "text,label\na,1\nb,1.0\n")
    assert "every row is of one class ('1')" in problems(one, ["text"], ["label"])
    same = "every row is the same number"
    assert same in problems(one, ["text"], ["label"], kind="number")


@pytest.mark.parametrize("others", [[], ["foo", "NA"]])
def test_measurements_with_a_few_other_cells_need_the_kind(write, others):
    """A bad cell does not turn a column of measurements into classes."""
    labels = [f"{n / 7:.2f}" for n in range(30)] + others
    path = write(
        "d.csv", "text,label\n" + "".join(f"t{n},{label}\n" for n, label in enumerate(labels))
    )
    message = problems(path, ["text"], ["label"])
    assert "may be classes or measurements; pass `--kind number`" in message
    assert all(repr(text) in message for text in others)
    words = write("w.csv", "text,label\na,yes\nb,no\nc,nan\n")
    assert any(
        "'nan' is taken as a class" in one
        for one in from_options(words, ["text"], ["label"]).findings
    )


def test_thousands_separators_are_not_decimal_commas(write):
    """`1,200` is refused; `1,5` beside `1,250` is a decimal comma."""
    path = write("d.tsv", "text\tlabel\na\t1,200\nb\t950\nc\t12,500\n")
    assert "write numbers without thousands separators" in problems(
        path, ["text"], ["label"], kind="number"
    )
    mixed = write("m.tsv", "text\tlabel\na\t1,250\nb\t1,5\n")
    assert from_options(mixed, ["text"], ["label"], kind="number").findings


def test_a_number_with_thousands_points_is_said_to_be_a_decimal(write):
    """`1.250` beside `2.500` is read with a decimal point, and the task says so; `0.125` needs no remark."""
    path = write("d.csv", "text,label\na,1.250\nb,2.500\n")
    task = from_options(path, ["text"], ["label"], kind="number")
    assert any("'1.250' is read as 1.25, with a decimal point" in one for one in task.findings)
    small = write("s.csv", "text,label\na,0.125\nb,2.500\n")
    assert not from_options(small, ["text"], ["label"], kind="number").findings


def test_a_decimal_comma_in_the_test_file_only_is_named(write):
    """The message says why `1,5` is not a number where the training file has none of its kind."""
    train = write("d.csv", "text;label\na;1.5\nb;2\n")
    message = problems(
        train, ["text"], ["label"], test=write("t.csv", "text;label\na;1,5\n"), kind="number"
    )
    assert (
        "'1,5' is not a finite number: write numbers with a decimal point, never a comma" in message
    )


def test_a_label_that_only_looks_like_a_class_is_shown_escaped(write):
    """Composed and decomposed letters, or an invisible character, are distinguished in the message."""
    train = write("d.csv", "text,label\na,caf\u00e9\nb,th\u00e9\n")
    test = write("t.csv", "text,label\na,cafe\u0301\n")
    assert r"'cafe\u0301' only looks like the class 'caf\xe9'" in problems(
        train, ["text"], ["label"], test=test
    )


def test_the_positive_class_may_be_written_as_a_whole_number(write):
    """`--positive 1` finds the class `1.0`, as rows do."""
    path = write("d.csv", "text,label\na,1.0\nb,0.0\n")
    task = from_options(path, ["text"], ["label"], positive="0")
    assert task.labels == ("1.0", "0.0")
