"""Tasks that a TOML file describes."""

import pytest

from harness.errors import UsageError
from harness.tasks import task_file
from tests.support.user_files import GOOD

MAIL = "text,label\na,spam\nb,ham\nc,spam\nd,ham\n"


def test_paths_in_a_task_file_are_relative_to_it(write):
    """A TOML file names its data relative to its folder, and can set the order of the classes."""
    write("a.csv", GOOD)
    task = task_file.read(
        write(
            "t.toml",
            'name = "mine"\ndata = "a.csv"\ntext = "text"\nlabel = "label"\nlabels = ["pos", "neg"]\n',
        )
    )
    assert (task.name, task.labels) == ("mine", ("pos", "neg"))
    assert task.reader.examples("train", task.reader.revision())[0].label == 0


def test_all_problems_of_a_task_file_are_reported(write):
    """Unknown keys, with suggestions, missing keys and wrong types are in one message."""
    with pytest.raises(UsageError) as caught:
        task_file.read(write("t.toml", 'dat = "a.csv"\ntext = ["text"]\nkind = "many"\n'))
    text = str(caught.value)
    for part in (
        "unknown key 'dat' (did you mean 'data'?)",
        "the key 'data' is missing",
        "the key 'label' is missing",
        "'kind' must be",
    ):
        assert part in text
    with pytest.raises(UsageError, match="not valid TOML"):
        task_file.read(write("u.toml", "data = \n"))


def test_a_task_file_can_name_the_group_column(write):
    """The key `group` is the option --group."""
    write("g.csv", "text,label,author\na,1,x\nb,0,y\n")
    path = write("g.toml", 'data = "g.csv"\ntext = "text"\nlabel = "label"\ngroup = "author"\n')
    reader = task_file.read(path).reader
    assert [row.group for row in reader.examples("train", reader.revision())] == ["x", "y"]


def test_a_task_file_can_name_the_positive_class(write):
    """The key `positive` is the option --positive; it changes the order of `labels`."""
    write("mail.csv", MAIL.replace("spam", "1").replace("ham", "0"))
    lines = 'data = "mail.csv"\ntext = "text"\nlabel = "label"\nlabels = [0, 1]\npositive = 0\n'
    assert task_file.read(write("m.toml", lines)).labels == ("1", "0")
    with pytest.raises(UsageError, match="'positive' must be one label, got 0, 1"):
        task_file.read(write("n.toml", lines.replace("positive = 0", "positive = [0, 1]")))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (r"data\\reviews.csv", "no file"),
        (r"data\reviews.csv", "write the path in single quotes"),
        (r"data\xreviews.csv", "write a path in single quotes"),
    ],
)
def test_a_path_of_windows_in_a_task_file_is_explained(write, data, said):
    """A backslash in double quotes begins an escape; no control character reaches the message."""
    path = write("t.toml", f'data = "{data}"\ntext = "text"\nlabel = "label"\n'.encode("utf-16"))
    with pytest.raises(UsageError) as caught:
        task_file.read(path)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_only_a_task_file_in_utf_8_or_utf_16_is_read(write):
    """The bytes of another encoding are not guessed: a file of the user's own making can be saved again."""
    write("a.csv", GOOD)
    text = 'data = "a.csv" # für mich\ntext = "text"\nlabel = "label"\n'
    with pytest.raises(UsageError, match="line 1: byte 0xfc is not UTF-8: save the file as UTF-8"):
        task_file.read(write("t.toml", text.encode("cp1252")))
    assert task_file.read(write("u.toml", text.encode("utf-16"))).labels == ("neg", "pos")


def test_blank_labels_in_a_task_file_are_refused(write):
    """A class without a visible name, or NaN, cannot be listed; one fault has one message."""
    write("a.csv", GOOD)
    lines = 'data = "a.csv"\ntext = "text"\nlabel = "label"\n'
    for labels in ('["pos", " "]', "[nan, 1]"):
        with pytest.raises(UsageError, match=r"'labels': .* no label"):
            task_file.read(write("t.toml", f"{lines}labels = {labels}\n"))
    with pytest.raises(UsageError) as caught:
        task_file.read(write("t.toml", f"{lines}kind = true\n"))
    assert str(caught.value).count("'kind'") == 1
