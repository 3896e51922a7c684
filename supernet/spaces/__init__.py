"""Search spaces, one file each, and derived.json. No torch here."""

from functools import cache

from supernet.errors import UserError, nearest
from supernet.spaces.bits import BITS32
from supernet.spaces.dense import DENSE32
from supernet.spaces.fbnet import FBNET32, FBNET224
from supernet.spaces.flex import FLEX_SIZES, flex
from supernet.spaces.lite import LITE_SIZES, lite
from supernet.spaces.micro import MICRO32
from supernet.spaces.sensor import SENSOR_SIZES, sensor
from supernet.spaces.slim import slim
from supernet.spaces.space import PLAIN, Bits, LayerSpec, Place, SearchSpace, Style, View

__all__ = [
    "BITS",
    "BUILD_SPACES",
    "DENSE",
    "FLEX",
    "MADE",
    "PAIRED",
    "PLAIN",
    "SENSOR",
    "SIZED",
    "SLIM",
    "SPACES",
    "TABLE_SPACES",
    "Bits",
    "LayerSpec",
    "Place",
    "SearchSpace",
    "Style",
    "View",
    "get_space",
]

SPACES: dict[str, SearchSpace] = {space.name: space for space in (FBNET32, FBNET224, MICRO32)}


SLIM = {
    f"slim{size}": size for size in LITE_SIZES
}  # around a trained network: one space for each input size, made when it is asked for
SIZED = {f"lite{size}": size for size in LITE_SIZES} | SLIM  # likewise, with and without widths
FLEX = {f"flex{size}": size for size in FLEX_SIZES}  # likewise; a stage's width is decided, too
DENSE: dict[str, SearchSpace] = {DENSE32.name: DENSE32}  # of networks whose output is a picture
BITS: dict[str, SearchSpace] = {BITS32.name: BITS32}  # whose layers' bits are decided: no latency, no table
SENSOR = {
    f"sensor{size}{'' if colour else '-grey'}": (size, colour) for size in SENSOR_SIZES for colour in (True, False)
}
PAIRED = (*FLEX, *SLIM, *DENSE, *SENSOR)  # in which a layer's shapes depend on an earlier decision
MADE = tuple(
    dict.fromkeys([*SIZED, *PAIRED])
)  # that have no table of their own with the package: it is estimated from another space's
_lite, _slim, _flex, _sensor = cache(lite), cache(slim), cache(flex), cache(sensor)
TABLE_SPACES = sorted(
    [*(name for name, space in SPACES.items() if space.parent is None), *(SIZED.keys() - SLIM.keys())]
)  # that tables are made for, also from few measurements
BUILD_SPACES = sorted([*TABLE_SPACES, *PAIRED])  # that a table can be measured for


def get_space(name: str) -> SearchSpace:
    """The named space; raises UserError with the nearest names."""
    if name in SLIM:
        return _slim(SLIM[name])
    if name in SIZED:
        return _lite(SIZED[name])
    if name in FLEX:
        return _flex(FLEX[name])
    if name in SENSOR:
        return _sensor(*SENSOR[name])
    if name in (others := DENSE | BITS):
        return others[name]
    if name not in SPACES:
        raise UserError(f'Unknown search space "{name}".{nearest(name, [*SPACES, *MADE, *BITS])}')
    return SPACES[name]
