"""Spaces `sensor`: what the sensor delivers of a picture is decided with the network: pixels, colour, field of view.

The first decision is the view and the stem that takes it; each other layer's picture follows from the view, its channels are fixed. So what a
layer costs depends on two decisions, its own and the first. The last layer is a 1×1 convolution, so that no fixed part has a size to be decided.
After Njor et al., "Data Aware Neural Architecture Search" (tinyML Research Symposium 2023), who search data and network together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

from supernet.choices import Choices
from supernet.errors import UserError
from supernet.spaces.space import LayerSpec, Place, SearchSpace, View

SENSOR_SIZES = (32, 64, 96)
SENSOR_OPS = ("k3_e1", "k3_e3", "k3_e6", "k5_e3", "fused_e2", "skip")
STEM, TAIL = 16, 256  # channels at the two ends
_WIDTHS, _DEPTH = (32, 48, 96), 2
_SHARES = (
    (1, False),
    (0.75, False),
    (0.5, False),
    (0.75, True),
    (0.5, True),
)  # of the picture's side; cropped or made smaller


def views(size: int, colour: bool) -> dict[str, View]:
    """By name what may be taken of pictures of `size` pixels a side: `rgb24` made smaller, `grey24c` the centre in grey."""
    own = [
        View(round(share * size), grey, crop)
        for grey, (share, crop) in product((False, True), _SHARES)
        if colour or grey
    ]
    return {f"{'grey' if view.grey else 'rgb'}{view.size}{'c' if view.crop else ''}": view for view in own}


VIEWS = {name: view for size in SENSOR_SIZES for name, view in views(size, True).items()}  # of every space


@dataclass(frozen=True)
class SensorSpace(SearchSpace):
    """The first layer's options are views; `layers` has the largest shapes."""

    @cached_property
    def inputs(self) -> dict[str, View]:
        return {option: VIEWS[option] for option in self.layers[0].ops}

    @cached_property
    def choices(self) -> Choices:
        edges = tuple((0, layer) for layer in range(1, len(self.layers)))
        return replace(super().choices, edges=edges)

    @property
    def plain(self) -> Iterator[tuple[str, ...]]:
        """MobileNetV2's block in every stage's first layer and in the second ones of as many stages, on each view of the whole picture."""
        firsts = [number for number, layer in enumerate(self.layers[1:-1], 1) if "skip" not in layer.ops]
        for option, view in self.inputs.items():
            for deeper in range(0 if view.crop else len(firsts) + 1):
                taken = {*firsts, *(number + 1 for number in firsts[:deeper])}
                rest = ("k3_e3" if number in taken else "skip" for number in range(1, len(self.layers)))
                yield (option, *rest)

    def before(self, layer: int) -> int | None:
        """The layer whose option decides the size of this one's picture."""
        return 0 if layer else None

    def place(self, layer: int, option: str, before: str | None = None) -> Place:
        spec = self.layers[layer]
        if before is None:
            view = self.inputs[option]
            return option, replace(spec, c_in=view.channels, resolution=view.size, ops=())
        side = self.inputs[before].size
        for earlier in self.layers[:layer]:
            side = -(-side // earlier.stride)
        return option, replace(spec, resolution=side, ops=())


def sensor(size: int, colour: bool) -> SensorSpace:
    """The space for pictures of `size` × `size` pixels, one of SENSOR_SIZES. colour: whether the colours may be taken."""
    assert size in SENSOR_SIZES
    own = tuple(views(size, colour))
    layers = [LayerSpec(3 if colour else 1, STEM, 2, size, 0, own)]
    for stage, c_out in enumerate(_WIDTHS, 1):
        for position in range(_DEPTH):
            last, stride = layers[-1], 1 if position or (stage == 1 and size == 32) else 2
            ops = SENSOR_OPS if position else SENSOR_OPS[:-1]
            layers.append(LayerSpec(last.c_out, c_out, stride, last.resolution_out, stage, ops))
    layers.append(LayerSpec(layers[-1].c_out, TAIL, 1, layers[-1].resolution_out, len(_WIDTHS) + 1, ("skip",)))
    name = f"sensor{size}{'' if colour else '-grey'}"
    return SensorSpace(name, (*own, *SENSOR_OPS), tuple(layers), size, STEM, 2, 0)


def require_colours(space: SearchSpace, channels: int) -> None:
    """Raises UserError where the space decides on colours that pictures of so many channels do not have."""
    if max((view.channels for view in space.inputs.values()), default=0) > channels:
        raise UserError(
            f"{space.name} decides on colours, but the pictures are grey (one channel): take --space {space.name}-grey."
        )
