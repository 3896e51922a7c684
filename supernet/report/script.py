"""The one script of a page: tables that can be sorted and filtered. It stands in the page itself, and nothing else may run there."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

SCRIPT = (resources.files("supernet.report") / "sortable.js").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"  # of a page without script
SCRIPT_POLICY = f"{POLICY}; script-src 'sha256-{_HASH}'"
