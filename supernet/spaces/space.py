"""What a search space is: L searchable layers × K candidate operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from supernet.choices import Choices, Decision
from supernet.errors import UserError


@dataclass(frozen=True)
class LayerSpec:
    """One searchable position: its shapes, and which candidate operations it may take.

    `resolution` is the height and width (pixels) of the layer's input.

    c_in, c_out: channels.  stride: 1 or 2.  stage: number, from 0.  ops: names of those allowed.
    """

    c_in: int
    c_out: int
    stride: int
    resolution: int
    stage: int
    ops: tuple[str, ...]

    @property
    def block_type(self) -> str:
        """Layers of one block type share their latency entries, e.g. `24x32s2@32`."""
        return f"{self.c_in}x{self.c_out}s{self.stride}@{self.resolution}"

    @property
    def resolution_out(self) -> int:
        """Height and width of the layer's output: an odd side is halved upwards, as padded convolutions do."""
        return -(-self.resolution // self.stride)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c_in, c_out, stride): all that a block needs to know of where it stands."""
        return self.c_in, self.c_out, self.stride

    def key(self, op: str) -> tuple[str, int, int, int, int]:
        """(op, c_in, c_out, stride, resolution): the entry of a latency table that holds for the operation here."""
        return (op, *self.shape, self.resolution)


@dataclass(frozen=True)
class Style:
    """What all blocks of a space have alike: activation, padding ("" or TensorFlow's "same"), epsilon of the batch norms."""

    act: str = "relu"
    padding: str = ""
    norm_eps: float = 1e-5


class View(NamedTuple):
    """What a sensor delivers of a square picture: `size` pixels a side, one byte for each pixel and channel.

    grey: the mean of the colours.  crop: the picture's centre as it is, instead of the whole picture made smaller.
    """

    size: int
    grey: bool
    crop: bool

    @property
    def channels(self) -> int:
        return 1 if self.grey else 3

    @property
    def kib(self) -> float:
        """KiB of a picture."""
        return self.size**2 * self.channels / 1024

    @property
    def told(self) -> dict[str, float]:
        """As derived.json has it."""
        return {"pixels": self.size, "channels": self.channels, "crop": self.crop, "kib": self.kib}

    @property
    def words(self) -> str:
        seen = "the centre of the picture" if self.crop else "the whole picture"
        return f"{self.size} × {self.size} pixels, {'grey' if self.grey else 'colour'}, {seen}: {self.kib:.3g} KiB"


class Bits(NamedTuple):
    """Bits of a layer's weights and of the activations that it takes."""

    weights: int
    activations: int

    @property
    def name(self) -> str:
        """As an option is called, and derived.json has it: `w4a4`."""
        return f"w{self.weights}a{self.activations}"

    @property
    def text(self) -> str:
        """As --bits has it: `4/4`."""
        return f"{self.weights}/{self.activations}"


PLAIN = Style()
Place = tuple[str, LayerSpec]
"""An operation's name, and where it stands."""


@dataclass(frozen=True)
class SearchSpace:
    """L layers, K operations, and the fixed stem and head around them.

    Source of the fbnet spaces: Wu et al., "FBNet" (CVPR 2019), table 1, with the widths of Li et al.,
    "HW-NAS-Bench" (ICLR 2021), on which the public latency tables were measured.

    dense: the output is a picture of the input's size: a 3×3 convolution in place of pooling and classifier.
    name: for files.  ops: K names, the columns of tables.  resolution: of the picture, px.  stem_channels, stem_stride: of the first
    convolution.  head_channels: of the last one, 0: none.  parent: the space whose tables hold here.  style: activation and padding.
    """

    name: str
    ops: tuple[str, ...]
    layers: tuple[LayerSpec, ...]
    resolution: int
    stem_channels: int
    stem_stride: int
    head_channels: int  # 0: no convolution after the last layer, the classifier takes its channels
    parent: str | None = None
    style: Style = PLAIN
    dense: bool = False

    @property
    def inputs(self) -> Mapping[str, View]:
        """By option what the first decision takes of a picture, where that is decided: the stem is then a part of the decision."""
        return MappingProxyType({})

    @property
    def bits(self) -> Mapping[str, Bits]:
        """By option the bits of its block, where they are decided; the ends then have 8."""
        return MappingProxyType({})

    def bits_of(self, options: Sequence[str]) -> tuple[Bits, ...]:
        """The bits of each block of an architecture; none where they are not decided."""
        return tuple(self.bits[option] for option in options) if self.bits else ()

    def sensor_of(self, options: Sequence[str]) -> dict[str, float] | None:
        """What derived.json says of the view that an architecture takes; None where it takes the whole picture without a choice."""
        view = self.inputs.get(options[0])
        return None if view is None else view.told

    @property
    def table_space(self) -> str:
        """The space whose latency tables hold here: the parent, of which this one is a part, or itself."""
        return self.parent or self.name

    @cached_property
    def choices(self) -> Choices:
        """Each layer's operation is a decision; a column is the same operation in every layer."""
        rows = [tuple(op if op in layer.ops else None for op in self.ops) for layer in self.layers]
        return Choices(self.name, tuple(Decision(f"ops[{number}]", row) for number, row in enumerate(rows)))

    @property
    def valid_LK(self) -> np.ndarray:
        """(L, K) bool: True where the operation is allowed at the layer."""
        return self.choices.valid_DK

    @property
    def features(self) -> int:
        """Channels that the classifier takes."""
        return self.head_channels or self.layers[-1].c_out

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations that some layer may take, whatever else its options decide."""
        return self.ops

    @property
    def plain(self) -> Iterator[tuple[str, ...]]:
        """The options of networks that one would build by hand, where the space has such; else derive.hand_made makes one."""
        return iter(())

    @property
    def families(self) -> Iterator[Iterator[tuple[str, ...]]]:
        """Plain networks of one operation each, where the space has such: all of an operation together."""
        return iter(())

    def operation(self, option: str) -> str:
        """The operation that an option builds."""
        return option

    def before(self, layer: int) -> int | None:
        """The earlier layer whose option decides the channels, or the picture's size, that this one takes; None where they are fixed."""
        return None

    def place(self, layer: int, option: str, before: str | None = None) -> Place:
        """What an option builds: the operation, and its shapes there. `before`: the option of the layer that `before` names."""
        return option, self.layers[layer]

    def placed(self, options: Sequence[str]) -> tuple[Place, ...]:
        """Operation and shapes of each layer of one architecture. Raises UserError as `index_L`."""
        self.index_L(options)
        before_L = [None if (row := self.before(layer)) is None else options[row] for layer in range(len(self.layers))]
        return tuple(self.place(*one) for one in zip(range(len(self.layers)), options, before_L, strict=True))

    def places(self) -> tuple[Place, ...]:
        """Every distinct operation and shape that some architecture has."""
        found: dict[Place, None] = {}
        for number, layer in enumerate(self.layers):
            row = self.before(number)
            for before in (None,) if row is None else self.layers[row].ops:
                found |= dict.fromkeys(self.place(number, option, before) for option in layer.ops)
        return tuple(found)

    def index_L(self, ops: Sequence[str]) -> np.ndarray:
        """(L,) column of each layer's operation. Raises UserError for a wrong length or a forbidden operation."""
        if len(ops) != len(self.layers):
            raise UserError(f"{self.name} has {len(self.layers)} layers, but {len(ops)} operations were given.")
        return self.choices.index_D(ops)

    def names(self, index_L: Sequence[int] | np.ndarray) -> tuple[str, ...]:
        """Operation names of an (L,) index vector."""
        return self.choices.names(index_L)
