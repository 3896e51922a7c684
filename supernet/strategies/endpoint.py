"""Where a language model is asked, and the key for it: what may be asked at all."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from supernet.errors import UserError
from supernet.options import short
from supernet.schema import is_plain

KEY = "SUPERNET_LLM_KEY"  # the environment variable
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Endpoint(NamedTuple):
    """Where a model is asked, and how often.

    url: of the chat completions.  model: its name there.  timeout_s: of one request.  max_calls: requests in all, those that failed too.
    """

    url: str
    model: str
    timeout_s: float
    max_calls: int


def completions_url(url: str) -> str:
    """The address that requests go to, of itself or of its base. Raises UserError for what may not be asked."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, a bracket …
        good = False
    if not good or not url.isascii() or " " in url:
        raise UserError(f"--llm-url {short(url)}: an address that begins with http:// or https:// is needed.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(f"--llm-url: no user, password or ? in it: a key belongs into the environment variable {KEY}.")
    path = parts.path.rstrip("/") or "/v1"
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    return f"{parts.scheme}://{parts.netloc}{path}"


def is_loopback(url: str) -> bool:
    """Whether it is this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def environment_key(url: str) -> str | None:
    """The key, if there is one. Raises UserError for one that cannot be kept secret, without showing it."""
    key = os.environ.get(KEY) or None
    if key is None:
        return None
    if len(key) < 8 or not key.isascii() or not is_plain(key) or key != key.strip():
        raise UserError(
            f"{KEY} is no key (8 characters or more, plain ASCII): leave it unset where the server needs none."
        )
    if urlsplit(url).scheme != "https" and not is_loopback(url):
        raise UserError(
            f"--llm-url is not https, so {KEY} would be sent readable by all: take https, or unset the key."
        )
    return key
