"""Adjustment of p values for multiple testing."""

import numpy as np
from numpy.typing import ArrayLike

from reports.statistics.conventions import Array


def holm(p: ArrayLike) -> Array:
    """Return adjusted p (m,) that bound the chance of any false rejection, under any dependence (Holm 1979)."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(raw.size, 0, -1)) if raw.size else raw
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Return adjusted p (m,) that bound the expected share of false rejections (Benjamini & Hochberg 1995)."""
    raw = np.asarray(p, dtype=np.float64)
    order = np.argsort(raw, kind="stable")[::-1]
    scaled = raw[order] * raw.size / np.arange(raw.size, 0, -1)
    steps = np.minimum.accumulate(scaled) if raw.size else raw
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
