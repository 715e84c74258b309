"""Positions of a text that follows a prefix."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from methods.core.protocols import Unsupported
from methods.core.slots import Slots


def shift_positions(slots: Slots, length: int) -> None:
    """Start the text's positions at `length`, through the input of the position table or the argument `position_ids`.

    Raises:
        Unsupported: the backbone has too few positions, or accepts none.
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
        raise Unsupported("this backbone does not accept positions: choose positions=kept")

    def numbered(
        _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        ids = inputs[0] if inputs else named["input_ids"]  # [rows, tokens]
        return inputs, named | {
            "position_ids": torch.arange(length, length + ids.shape[1], device=ids.device)[None]
        }

    slots.hook_inputs(architecture.body, numbered)


def require_positions(slots: Slots, length: int, what: str, advice: str) -> None:
    """Raise `Unsupported` unless the backbone has positions for a text and what is put in front of it.

    Args:
        slots: of the method.
        length: number of positions in front of the text.
        what: its name in the message.
        advice: what to do; `{way}` is replaced by a setting that fits.

    Raises:
        Unsupported: the positions do not suffice; the message has the numbers.
    """
    room, most = slots.architecture.positions, slots.backbone.max_length
    if room is not None and length + most > room:
        way = f"--max-length {room - length}" if room - length >= 16 else f"a shorter {what}"
        raise Unsupported(
            f"a {what} of {length} and texts of {most} tokens need {length + most} positions, "
            f"this backbone has {room}: "
            f"{advice.format(way=way)}"
        )
