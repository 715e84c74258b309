"""The tasks, by name and in groups. A new task of the Hub is one entry in its family's file."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from harness.tasks import glue, toy
from harness.tasks.base import ExampleReader, Example, Task

__all__ = ["GROUPS", "REGISTRY", "Reader", "Row", "Task"]

REGISTRY: Final[Mapping[str, Task]] = MappingProxyType({**toy.TASKS, **glue.TASKS})
GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "toy": tuple(toy.TASKS),
        "glue": tuple(
            name for name in glue.TASKS if name != "wnli"
        ),  # its validation rows contradict its training rows
    }
)
