"""Methods are distinguishable, and colours are visible on every page."""

import matplotlib as mpl
import numpy as np
import pytest

from reports.figures.style import DASHES, MARKERS, NEUTRAL, PALETTE, method_styles


def luminance(color):
    parts = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in mpl.colors.to_rgb(color)
    ]
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("color", [*PALETTE, NEUTRAL])
def test_colours_are_visible_on_light_and_dark_pages(color):
    """Each colour has a contrast of at least 3 to 1 on white and on the dark page (WCAG 1.4.11)."""
    for page in ("#ffffff", "#16181d"):
        light, dark = sorted((luminance(color), luminance(page)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3


def test_methods_differ_by_more_than_colour():
    """Sixty methods differ in marker, dashes or colour, and twenty methods differ in marker or dashes."""
    styles = method_styles([str(i) for i in range(60)], "0")
    assert len({(style.color, style.marker, str(style.dash)) for style in styles.values()}) == 60
    few = [styles[str(i)] for i in range(20)]
    assert len({(style.marker, str(style.dash)) for style in few}) == 20
    assert (len(MARKERS), len(DASHES)) == (10, 4)
