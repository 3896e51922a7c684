"""Row of counterparts.py: does a searched network find pixels' classes better than a hand-made one of equal measured latency?

Digits on a texture (`--task segment`, the embedded set), 2,000 training images, 3 seeds. As row `denoise`: the derived network and the control are trained
alike, inside one budget of a table of this machine, and both are timed. Figure: mean IoU on test of the derived network − the control's, mean over seeds
with Student's 95% interval. About 30 CPU minutes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from counterparts_denoise import Row, gained

SEARCHED = ["--max-train", "2000", "--epochs", "4", "--warmup-epochs", "4", "--candidates", "30"]
TRAINED = ["--max-train", "2000", "--epochs", "15", "--bootstrap", "0"]


def segment_miou_gain(folder: Path, quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row."""
    return gained(folder, Row("segment", "miou", 1, [], SEARCHED, TRAINED), quick)


ROWS = {"segment": segment_miou_gain}
