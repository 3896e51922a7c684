"""Talking to a language model by OpenAI's chat protocol, which llama.cpp's server, vLLM and others speak too: over HTTP, in words and JSON alone.

Every request that was sent is a row of transcript.jsonl. A resumed run is answered from there, so it is the same run and costs nothing twice. The
key comes from the environment and goes into one header: it is masked wherever a text is kept or shown, also in what a server says.
Redirects are not followed: they would carry the key elsewhere.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from supernet.choices import Choices
from supernet.engine.rows import append_row, read_rows, write_rows
from supernet.errors import UserError
from supernet.schema import printable
from supernet.strategies.endpoint import KEY, Endpoint, environment_key, is_loopback

TRANSCRIPT = "transcript.jsonl"
MAX_BYTES = 1_000_000  # of an answer; a longer one is left unread
MAX_TEXT = 100_000  # characters of the model's own text
KEPT_BYTES = 10_000_000  # of the transcript with whole messages; of 20 MB it could not be read again
TRIES, LONGEST_WAIT_S = 5, 60.0  # of one request; seconds between two of them
_AGAIN = {408, 409, 425, 429}  # and 5xx: not now
Messages = list[dict[str, str]]


class _Again(Exception):
    """The request may be sent again, after so many seconds if the server said."""

    def __init__(self, why: str, after_s: float | None = None) -> None:
        super().__init__(why)
        self.after_s = after_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


_ROW = {
    "type": "object",
    "required": ["asked", "reply", "error"],
    "properties": {
        "asked": {"type": "string", "maxLength": 64},
        "reply": {"type": ["string", "null"], "maxLength": 2 * MAX_TEXT},
        "error": {"type": ["string", "null"], "maxLength": 1000},
    },
}


class Chat:
    """One conversation partner; `calls` requests were sent so far, in this run and before it was resumed; `failed`: why the last had no answer.

    endpoint: where.  transcript: the file of all requests.
    """

    def __init__(self, endpoint: Endpoint, transcript: Path) -> None:
        self.endpoint, self.transcript = endpoint, transcript
        self.key = environment_key(endpoint.url)
        own = (
            [urllib.request.ProxyHandler({})] if is_loopback(endpoint.url) else []
        )  # a proxy would read the key, and is elsewhere
        self.opener = urllib.request.build_opener(_NoRedirect, *own)
        self.before = read_rows(transcript, "transcript", _ROW)
        if self.before:
            write_rows(transcript, self.before)  # without a row that was cut off
        self.calls, self.failed = 0, ""

    @property
    def used_up(self) -> bool:
        return self.calls >= self.endpoint.max_calls

    def ask(self, messages: Messages, schema: Mapping[str, Any]) -> str | None:
        """The model's text; None where the calls are used up. Raises UserError where the server cannot be asked."""
        asked = hashlib.sha256(json.dumps([messages, schema]).encode()).hexdigest()
        reply, error = self._replayed(asked), "no answer"
        for tried in range(TRIES):
            if reply is not None or self.used_up:
                return reply
            self.calls, started, wait_s = self.calls + 1, monotonic(), 0.0
            try:
                reply = self._sent(messages, schema)
            except _Again as again:
                error, wait_s = str(again), min(LONGEST_WAIT_S, 2.0**tried if again.after_s is None else again.after_s)
            self.failed = error if reply is None else ""
            row = {"asked": asked, "model": self.endpoint.model, "messages": self._messages(messages), "reply": reply,
                   "error": None if reply is not None else error, "seconds": monotonic() - started}  # fmt: skip
            append_row(self.transcript, row)
            if reply is None and tried + 1 < TRIES and not self.used_up:
                sleep(wait_s)
        if reply is not None or self.used_up:
            return reply
        raise UserError(
            f"The model cannot be asked at {self.endpoint.url} ({error}). Go on with --resume, once it can."
        )

    def _replayed(self, asked: str) -> str | None:
        """The answer of an earlier call of this run, if there is one; requests that failed then are counted, and made anew."""
        while self.calls < len(self.before):
            row = self.before[self.calls]
            if row["asked"] != asked:
                where = f"{self.transcript}: row {self.calls + 1}"
                raise UserError(
                    f"{where} is not what this run asks there (other options, or another version): start a new run."
                )
            self.calls, self.failed = self.calls + 1, row["error"] or ""
            if row["reply"] is not None:
                return str(row["reply"])
        return None

    def masked(self, text: str) -> str:
        """The text in one line, without the key and without control characters."""
        return printable(text if self.key is None else text.replace(self.key, "***"))

    def _messages(self, messages: Messages) -> Messages | None:
        """As they are kept: without the key; None once the file is so large that no more than hashes and answers go in."""
        if self.transcript.exists() and self.transcript.stat().st_size > KEPT_BYTES:
            return None
        return [{name: self.masked(text) for name, text in message.items()} for message in messages]

    def _sent(self, messages: Messages, schema: Mapping[str, Any]) -> str:
        """The text of one answer, "" where there is none in it. Raises _Again, and UserError for what another try does not mend."""
        wanted = {"name": "architectures", "strict": True, "schema": schema}
        body = {"model": self.endpoint.model, "messages": messages,
                "response_format": {"type": "json_schema", "json_schema": wanted}}  # fmt: skip
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.endpoint.url, json.dumps(body).encode(), headers, method="POST")
        try:
            with self.opener.open(request, timeout=self.endpoint.timeout_s) as response:
                content = self._read(response)
        except urllib.error.HTTPError as error:
            self._refused(error)
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise _Again(self.masked(str(getattr(error, "reason", error)) or type(error).__name__)[:300]) from None
        return self._text(content)

    def _read(self, response: Any) -> bytes:
        """The body, b"" where it is too long. Raises TimeoutError where it comes too slowly."""
        until, parts, size = monotonic() + self.endpoint.timeout_s, list[bytes](), 0
        while part := response.read1(65536):
            parts.append(part)
            size += len(part)
            if size > MAX_BYTES:
                return b""
            if monotonic() > until:
                raise TimeoutError("the answer comes too slowly")
        return b"".join(parts)

    def _refused(self, error: urllib.error.HTTPError) -> None:
        """Raises _Again or UserError, by the status."""
        try:
            said = error.read(65536).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            said = ""
        told = f"HTTP {error.code}: {self.masked(_message(self.masked(said)))[:200]}"
        if error.code in _AGAIN or error.code >= 500:
            raise _Again(told, _seconds(error.headers.get("Retry-After")))
        if 300 <= error.code < 400:
            host = urlsplit(error.headers.get("Location") or "").hostname or "another path"
            raise UserError(
                f"--llm-url: the server sends on to {self.masked(host)[:100]}, which is not followed: give the address itself."
            )
        what = f"{KEY} is not accepted" if error.code in (401, 403) else "the server does not take the request"
        raise UserError(f"--llm-url {self.endpoint.url}: {what} ({told}).")

    def _text(self, content: bytes) -> str:
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
        return self.masked(text)[:MAX_TEXT] if isinstance(text, str) and len(text) <= MAX_TEXT else ""


def _message(body: str) -> str:
    """What the server says of an error, OpenAI's way or any other."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return body


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        return None


@dataclass(frozen=True)
class Adviser:
    """What a strategy that asks a model needs beside the region.

    chat: who is asked.  choices: names of decisions and options, in the region's columns.  facts: what else the model is told, as data.
    """

    chat: Chat
    choices: Choices
    facts: Mapping[str, Any]
