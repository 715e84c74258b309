"""Remove secrets, home folders and invalid characters from error messages and traces."""

import os
import re
from pathlib import Path

SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|API_KEY|CREDENTIAL", re.IGNORECASE)
_LABELS = "token|password|passwd|secret|api[_-]?key|authorization"
PATTERNS = (
    (re.compile(r"\b(hf_|ghp_|github_pat_|sk-)[A-Za-z0-9_-]{8,}"), r"\1..."),
    (re.compile(r"(?<=://)[^/\s:@]*:[^\s@]+(?=@)"), "..."),  # user:password of a URL
    (
        re.compile(
            rf"(?i)(({_LABELS})\w*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|((basic|bearer|token)\s+)?[^\s\"',;&)]+)"
        ),
        r"\1...",
    ),
)


def redact(text: str) -> str:
    """Return a text without secrets, with ~ for the home folder, in characters that every database stores."""
    for name, value in os.environ.items():
        if SECRET_NAMES.search(name) and len(value) >= 8:
            text = text.replace(value, "...")
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    home = str(Path.home())
    text = text.replace(home, "~") if len(home) > 1 else text
    # File names that are not UTF-8 contain lone surrogates.
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def error_message(error: BaseException) -> str:
    """Return an error's class and its redacted text."""
    return redact(f"{type(error).__name__}: {error}")
