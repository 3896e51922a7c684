"""The commands as Python functions, with the same defaults: `from supernet import search, train, predict, load_data, Table`.

Each raises `supernet.errors.UserError` with one line that says what to do. Options are those of the commands, with underscores;
`supernet search --help-all` describes each.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from supernet.api_options import DataOptions, SearchOptions, TrainOptions
from supernet.config import CommonConfig, SearchConfig, TrainConfig
from supernet.errors import UserError, nearest
from supernet.options import check_effect, check_values
from supernet.results import (
    Data,
    Folder,
    Measured,
    PredictResult,
    Report,
    Result,
    SearchResult,
    Table,
    TrainResult,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "Data",
    "Measured",
    "PredictResult",
    "Report",
    "SearchResult",
    "Table",
    "TrainResult",
    "evaluate",
    "load_data",
    "predict",
    "search",
    "train",
]


def load_data(data: str | Path = "writers", *, resolution: int = 32, **options: Unpack[DataOptions]) -> Data:
    """Reads a data set's name, a folder or a table, with every check of the commands. `resolution`: pixels a side."""
    from supernet.commands.opening import check
    from supernet.commands.setting import read_data

    given = _given(CommonConfig, options, data=data)
    config = CommonConfig(**given)
    check(config)
    check_effect(config, given)
    check_values(TrainConfig, {"resolution": resolution}, "options")
    return Data(read_data(config, resolution), given)


def search(
    data: str | Path | Data = "writers",
    device: str | Path | Table | None = None,
    *,
    out: str | Path | None = None,
    quick: bool = False,
    **options: Unpack[SearchOptions],
) -> SearchResult:
    """Searches as `supernet search` does, whose default device is rpi4. Without `out` the run's folder is removed together with the result."""
    from supernet.commands.search import run

    given = _given(SearchConfig, options, data=data, device=device)
    folder = Folder(out)
    run(Namespace(**given, out=str(folder.path), quick=quick))
    return SearchResult(folder)


def train(
    arch: str | Path | SearchResult,
    data: str | Path | Data | None = None,
    *,
    out: str | Path | None = None,
    quick: bool = False,
    **options: Unpack[TrainOptions],
) -> TrainResult:
    """Trains as `supernet train` does: a search's result, a derived.json, or a timm model's name. What is not given is the search's."""
    from supernet.commands.train import run

    given = _given(TrainConfig, options, arch=arch, **({} if data is None else {"data": data}))
    folder = Folder(out)
    run(Namespace(**given, out=str(folder.path), quick=quick))
    return TrainResult(folder)


def predict(model: str | Path | TrainResult, data: str | Path | Sequence[str | Path | Image.Image]) -> PredictResult:
    """Classifies a folder, a CSV file or one picture, or a list of files and PIL images, prepared as in training."""
    from supernet.prediction import find_pictures, load_classifier, predict_all

    if isinstance(data, (str, Path)):
        pictures: list[tuple[str, Path | Image.Image]] = [*find_pictures(data)]
    else:
        pictures = [_named(number, picture) for number, picture in enumerate(data)]
    return PredictResult(predict_all(load_classifier(_path(model)), pictures))


def evaluate(
    model: str | Path | TrainResult,
    data: str | Path,
    *,
    split: str | None = None,
    label_col: str | None = None,
    group_cols: str | None = None,
    file_col: str | None = None,
    cluster_col: str | None = None,
    intersections: bool | None = None,
    fairness: str | None = None,
    allow_duplicates: bool = False,
    images: bool = True,
    corruptions: int | None = None,
    bootstrap: int = 1000,
    out: str | Path | None = None,
) -> Measured:
    """Measures as `supernet evaluate` does. What is None is as in training."""
    from supernet.commands.evaluate import run

    folder = Folder(out)
    run(
        Namespace(
            model=_path(model), data=str(data), split=split, label_col=label_col, group_cols=group_cols, file_col=file_col,
            cluster_col=cluster_col, intersections=intersections, fairness=fairness, allow_duplicates=allow_duplicates,
            no_images=not images, corruptions=corruptions, bootstrap=bootstrap, out=folder.path,
        )
    )  # fmt: skip
    return Measured(folder)


def _named(number: int, picture: Any) -> tuple[str, Path | Image.Image]:
    if isinstance(picture, Image.Image):
        return str(number), picture
    if isinstance(picture, (str, Path)):
        return str(picture), Path(picture)
    raise UserError(
        f"Picture {number} is of type {type(picture).__name__}: give files or PIL images (Image.fromarray(…) of an array)."
    )


def _path(model: str | Path | Result) -> Path:
    return model.folder if isinstance(model, Result) else Path(model)


def _given(config: type, options: Mapping[str, Any], **named: Any) -> dict[str, Any]:
    """The options that were given (None: was not), as the command line would have them. Raises UserError for a name that is none."""
    known = set(config.__dataclass_fields__) - {"out", "resume"}  # type: ignore[attr-defined]
    for name in options:
        if name not in known:
            raise UserError(f'"{name}" is no option.{nearest(name, known)}')
    read = named.get("data")
    asked = {**read.asked} if isinstance(read, Data) else {}
    given = {**named, **options}
    return asked | {n: _plain(value) for n, value in given.items() if value is not None and not isinstance(value, Data)}


def _plain(value: Any) -> Any:
    """A path, an earlier result, a table or a list of columns as the command line's text."""
    if isinstance(value, Result):
        return str(value.folder)
    if isinstance(value, Table):
        return value.name
    if isinstance(value, Path):
        return str(value)
    return ",".join(value) if isinstance(value, (list, tuple)) else value
