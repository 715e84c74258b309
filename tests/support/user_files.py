"""Small files of a user, and the message about them."""

from typing import Final

import pytest

from harness.errors import UsageError
from harness.tasks.user_files import from_options

GOOD: Final = 'text,label\nfine,pos\n"bad, \nreally",neg\nnice,pos\n'


def problems(*args, **kwargs) -> str:
    """The message with which `from_options` refuses the files."""
    with pytest.raises(UsageError) as caught:
        from_options(*args, **kwargs)
    assert caught.value.exit_code == 2
    return str(caught.value)


def examples(task, split="train"):
    """All examples of a split."""
    return list(task.reader.examples(split, task.reader.revision()))
