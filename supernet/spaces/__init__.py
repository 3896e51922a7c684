"""Search spaces, one file each, and derived.json. No torch here."""

from functools import cache

from supernet.errors import UserError, nearest
from supernet.spaces.fbnet import FBNET32, FBNET224
from supernet.spaces.flex import FLEX_SIZES, flex
from supernet.spaces.lite import LITE_SIZES, lite
from supernet.spaces.micro import MICRO32
from supernet.spaces.space import PLAIN, LayerSpec, Place, SearchSpace, Style

__all__ = [
    "BUILD_SPACES",
    "FLEX",
    "PLAIN",
    "SIZED",
    "SPACES",
    "TABLE_SPACES",
    "LayerSpec",
    "Place",
    "SearchSpace",
    "Style",
    "get_space",
]

SPACES: dict[str, SearchSpace] = {space.name: space for space in (FBNET32, FBNET224, MICRO32)}


SIZED = {f"lite{size}": size for size in LITE_SIZES}  # one space for each input size, made when it is asked for
FLEX = {f"flex{size}": size for size in FLEX_SIZES}  # likewise; a stage's width is decided, too
_lite, _flex = cache(lite), cache(flex)
TABLE_SPACES = sorted(
    [*(name for name, space in SPACES.items() if space.parent is None), *SIZED]
)  # that tables are made for, also from few measurements
BUILD_SPACES = sorted([*TABLE_SPACES, *FLEX])  # that a table can be measured for


def get_space(name: str) -> SearchSpace:
    """The named space; raises UserError with the nearest names."""
    if name in SIZED:
        return _lite(SIZED[name])
    if name in FLEX:
        return _flex(FLEX[name])
    if name not in SPACES:
        raise UserError(f'Unknown search space "{name}".{nearest(name, [*SPACES, *SIZED, *FLEX])}')
    return SPACES[name]
