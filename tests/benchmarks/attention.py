"""Times the fused attention kernel against two products and a softmax, on one CPU core.

    python -m tests.benchmarks.attention

Shapes are those of a training batch: 16 rows, 12 heads, a prefix of 10. The fastest of several
repetitions is printed, in milliseconds; forward passes alone, and forward and backward passes.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from methods.core.attention import _by_matrix_products

ROWS, HEADS, PREFIX, REPEAT = 16, 12, 10, 15
Attention = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def seconds(
    attention: Attention, tensors: tuple[Tensor, ...], mask: Tensor, *, train: bool
) -> float:
    """Return the fastest of several repetitions."""
    best = float("inf")
    for _ in range(REPEAT):
        start = time.perf_counter()
        with torch.set_grad_enabled(train):
            output = attention(*tensors, mask)
        if train:
            torch.autograd.grad(output, tensors, torch.ones_like(output))
        best = min(best, time.perf_counter() - start)
    return best


def fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return sdpa_attention_forward(nn.Module(), query, key, value, mask)[0]


def products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    return _by_matrix_products(nn.Module(), query, key, value, mask)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'dtype':10}{'width':>6}{'tokens':>7}{'forward':>20}{'and backward':>20}")
    print(f"{'':23}{'fused  products':>20}{'fused  products':>20}")
    for dtype in (torch.float32, torch.bfloat16):
        for width in (32, 64):
            for tokens in (16, 32, 64, 128, 256):
                query, key, value = (
                    torch.randn(ROWS, HEADS, length, width, dtype=dtype, requires_grad=True)
                    for length in (tokens, tokens + PREFIX, tokens + PREFIX)
                )
                mask = torch.ones(ROWS, 1, tokens, tokens + PREFIX, dtype=torch.bool)
                mask[::2, :, :, -3:] = False
                times = [
                    1000 * seconds(attention, (query, key, value), mask, train=train)
                    for train in (False, True)
                    for attention in (fused, products)
                ]
                figures = "".join(f"{time:10.2f}" for time in times)
                print(f"{str(dtype)[6:]:10}{width:6}{tokens:7}{figures}", flush=True)


if __name__ == "__main__":
    main()
