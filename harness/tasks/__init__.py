"""The built-in tasks by name, and groups of them. A new task of the Hub is one entry in `glue`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from harness.tasks import glue, text_tasks, toy
from harness.tasks.base import Example, ExampleReader, Task

__all__ = ["GROUPS", "REGISTRY", "Example", "ExampleReader", "Task"]

REGISTRY: Final[Mapping[str, Task]] = MappingProxyType(
    {**toy.TASKS, **toy.WRITING, **glue.TASKS, **text_tasks.TASKS}
)
GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "toy": tuple(toy.TASKS),
        "generation": (*text_tasks.TASKS, *toy.WRITING),
        # The validation examples of wnli contradict its training examples.
        "glue": tuple(name for name in glue.TASKS if name != "wnli"),
    }
)
