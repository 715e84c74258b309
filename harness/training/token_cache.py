"""The cache of keys and values with which a decoder writes: it has room for the tokens to come.

The library's cache copies all earlier tokens for each new one. With a prefix, which stands in front of a copy, that
was a sixth of the time in which SmolLM2-135M writes 40 texts on a CPU.
"""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


def with_room(config: Any, room: int) -> DynamicCache:
    """Return an empty cache for a decoder that writes `room` tokens; layers with a local window stay the library's."""
    cache = DynamicCache(config=config)
    cache.layers = [
        _Layer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


class _Layer(DynamicLayer):  # type: ignore[misc]  # the library has no types
    """The keys and values of one layer, `[rows, heads, tokens, width]`, in memory with room after them."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room
        self._memory: dict[str, Tensor] = {}

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append keys and values, and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        for name, new in (("keys", key_states), ("values", value_states)):
            setattr(self, name, self._appended(name, getattr(self, name), new))
        return self.keys, self.values

    def _appended(self, name: str, old: Tensor, new: Tensor) -> Tensor:
        start = old.shape[-2] if old.numel() else 0
        end = start + new.shape[-2]
        memory = self._memory.get(name)
        # The library may have replaced the tensor, for instance by a selection of rows.
        if memory is None or memory.data_ptr() != old.data_ptr() or end > memory.shape[-2]:
            memory = new.new_empty(*new.shape[:-2], end + self._room, new.shape[-1])
            if start:
                memory[..., :start, :] = old
            self._memory[name] = memory
        memory[..., start:end, :] = new
        return memory[..., :end, :]
