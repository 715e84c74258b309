"""What errors and traces may say: no secrets, no names of people's folders, and nothing that is no text."""

import os
import re
from pathlib import Path

SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|API_KEY|CREDENTIAL", re.IGNORECASE)
WORDS = "token|password|passwd|secret|api[_-]?key|authorization"
PATTERNS = (
    (re.compile(r"\b(hf_|ghp_|github_pat_|sk-)[A-Za-z0-9_-]{8,}"), r"\1..."),
    (re.compile(r"(?<=://)[^/\s:@]*:[^\s@]+(?=@)"), "..."),  # user:password of a URL
    (
        re.compile(
            rf"(?i)(({WORDS})\w*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|((basic|bearer|token)\s+)?[^\s\"',;&)]+)"
        ),
        r"\1...",
    ),
)


def redact(text: str) -> str:
    """The text without what looks like a secret, with the home folder as ~, and such as every database takes it."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= 8:
            text = text.replace(value, "...")
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    home = str(Path.home())
    text = text.replace(home, "~") if len(home) > 1 else text
    return (
        text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    )  # half characters, of file names that are no UTF-8


def told(error: BaseException) -> str:
    """An error's class and what it says."""
    return redact(f"{type(error).__name__}: {error}")
