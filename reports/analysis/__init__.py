"""From runs to numbers and sentences: paired runs, estimates, contrasts and the verdict."""
