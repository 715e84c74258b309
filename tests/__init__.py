"""Tests; a package, because a library of the test extra installs one of this name, which would be found instead."""
