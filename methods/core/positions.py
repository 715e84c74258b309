"""Positions of a text that follows a prefix."""

import inspect
from typing import Any

import torch

from methods.core.protocols import Unsupported
from methods.core.slots import Slots


def shift_positions(slots: Slots, length: int) -> None:
    """Let the text's positions start at `length`, by the input of the position table or the argument `position_ids`.

    Raises:
        Unsupported: the backbone has too few positions, or no input for positions.
    """
    architecture = slots.architecture
    require_positions(slots, length, "prefix", "choose {way} or positions=kept")
    if architecture.position_table is not None:

        def shift(
            _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
        ) -> tuple[Any, dict[str, Any]]:
            return (inputs[0] + length, *inputs[1:]), named

        slots.hook_inputs(architecture.position_table, shift)
        return
    body = slots.backbone.model.get_submodule(architecture.body)
    if "position_ids" not in inspect.signature(body.forward).parameters:
        raise Unsupported("this backbone does not accept positions: choose positions=kept")

    def set_positions(
        _module: Any, inputs: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        ids = inputs[0] if inputs else named["input_ids"]  # [rows, tokens]
        positions = named.get("position_ids")  # given while a text is written
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device)[None]
        return inputs, named | {"position_ids": positions + length}

    slots.hook_inputs(architecture.body, set_positions)


def require_positions(slots: Slots, length: int, what: str, advice: str) -> None:
    """Raise `Unsupported` unless the backbone has positions for a prefix or prompt and the longest text.

    Args:
        slots: the slots of the method.
        length: length of the prefix or prompt.
        what: `prefix` or `prompt`, for the message.
        advice: what the user can do, for the message; `{way}` is replaced by a setting that fits.

    Raises:
        Unsupported: there are too few positions; the message has the numbers.
    """
    positions, longest = slots.architecture.positions, slots.backbone.max_length
    if positions is not None and length + longest > positions:
        rest = positions - length
        way = f"--max-length {rest}" if rest >= 16 else f"a shorter {what}"
        raise Unsupported(
            f"a {what} of {length} and texts of {longest} tokens need {length + longest} positions, "
            f"this backbone has {positions}: {advice.format(way=way)}"
        )
