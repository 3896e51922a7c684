"""Search spaces, one file each, and derived.json. No torch here."""

from supernet.errors import UserError, nearest
from supernet.spaces.fbnet import FBNET32, FBNET224
from supernet.spaces.micro import MICRO32
from supernet.spaces.space import LayerSpec, SearchSpace

__all__ = ["SPACES", "TABLE_SPACES", "LayerSpec", "SearchSpace", "get_space"]

SPACES: dict[str, SearchSpace] = {space.name: space for space in (FBNET32, FBNET224, MICRO32)}
TABLE_SPACES = sorted(name for name, space in SPACES.items() if space.parent is None)  # that tables are made for


def get_space(name: str) -> SearchSpace:
    """The named space; raises UserError with the nearest names."""
    if name not in SPACES:
        raise UserError(f'Unknown search space "{name}".{nearest(name, SPACES)}')
    return SPACES[name]
