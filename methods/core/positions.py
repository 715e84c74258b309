"""The positions of a text behind what a method puts in front of it."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from methods.core.protocols import Unsupported
from methods.core.slots import Slots


def shift_positions(slots: Slots, length: int) -> None:
    """Number the text's positions from `length` on, by the learned table's input or by the body's own argument.

    Raises:
        Unsupported: there is no room for so many positions, or no place to say so.
    """
    architecture, backbone = slots.architecture, slots.backbone
    require_positions(slots, length, "prefix", "choose {way} or positions=kept")
    if architecture.position_table is not None:

        def later_rows(
            _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Any, dict[str, Any]]:
            return (inputs[0] + length, *inputs[1:]), named

        slots.hook_inputs(architecture.position_table, later_rows)
        return
    body = backbone.model.get_submodule(architecture.body)
    if "position_ids" not in inspect.signature(body.forward).parameters:
        raise Unsupported(
            "this backbone numbers its positions in code of its own: choose positions=kept"
        )

    def numbered(
        _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        ids = inputs[0] if inputs else named["input_ids"]  # [rows, tokens]
        return inputs, named | {
            "position_ids": torch.arange(length, length + ids.shape[1], device=ids.device)[None]
        }

    slots.hook_inputs(architecture.body, numbered)


def require_positions(slots: Slots, length: int, what: str, advice: str) -> None:
    """See that there are positions for a row and for what is put in front of it.

    Args:
        slots: of the method.
        length: how much is put in front.
        what: what that is called.
        advice: what to do about it; `{way}` stands for what would fit.

    Raises:
        Unsupported: there are not enough; with the numbers.
    """
    room, most = slots.architecture.positions, slots.backbone.max_length
    if room is not None and length + most > room:
        way = f"--max-length {room - length}" if room - length >= 16 else f"a shorter {what}"
        raise Unsupported(
            f"a {what} of {length} and rows of {most} tokens need {length + most} positions, this backbone has {room}: "
            f"{advice.format(way=way)}"
        )
