"""Batches in an order that is a function of (seed, epoch) alone, stratified by group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from supernet.data import augment as augmentation
from supernet.data.grouped import UNKNOWN, Augment, Batch, Split, rows_to_codes
from supernet.data.masks import MaskedSplit
from supernet.errors import UserError

MOST_BYTES_ON_DEVICE = 512 * 2**20


class Plan(NamedTuple):
    """How an epoch is made up: stratum_N (N,) of each image, places_S (S,) in the epoch of each stratum, steps."""

    stratum_N: np.ndarray
    places_S: np.ndarray
    steps: int


def plan_epoch(group_NA: np.ndarray, batch_size: int, floor: float, fewest: int = 1) -> Plan:
    """Strata are the combinations of groups. Each with all groups known gets ⌈floor · batch_size⌉ places in every
    batch at the least, but all of them together half a batch at the most (below one place each: no floor).

    places_s = max(size_s, steps · least), and steps is the smallest number of batches that holds them all; but no batch
    has less than `fewest` images where there are as many, and may be larger than batch_size by some for that.
    """
    stratum_N = rows_to_codes(group_NA)
    size_S = np.bincount(stratum_N)
    known_S = (np.unique(group_NA, axis=0) != UNKNOWN).all(axis=1)
    most = batch_size // (2 * max(int(known_S.sum()), 1))
    least_S = np.where(known_S, min(int(np.ceil(floor * batch_size)), most), 0)
    steps = -(-len(stratum_N) // batch_size)
    while np.maximum(size_S, steps * least_S).sum() > steps * batch_size:
        steps += 1
    while steps > 1 and np.maximum(size_S, steps * least_S).sum() // steps < fewest:
        steps -= 1
    return Plan(stratum_N, np.maximum(size_S, steps * least_S), steps)


def order_epoch(plan: Plan, seed: int, epoch: int) -> list[np.ndarray]:
    """`steps` arrays of positions: a function of (plan, seed, epoch).

    Every image comes at least once; exactly once where no floor is at work. A batch has ⌊q⌋ or ⌈q⌉ images of a
    stratum, q = places / steps, and the sizes of two batches differ by one at the most.
    """
    rng = np.random.default_rng((seed, epoch))
    base_S, extra_S = np.divmod(plan.places_S, plan.steps)
    # Dealt like cards, so that no batch gets two extras of one stratum and all get equally many.
    dealt = np.repeat(np.arange(len(extra_S)), extra_S)
    count_TS = np.tile(base_S, (plan.steps, 1))
    np.add.at(count_TS, (np.arange(len(dealt)) % plan.steps, dealt), 1)
    count_TS = rng.permutation(count_TS)
    positions, batch_of = [], []
    for stratum, places in enumerate(plan.places_S):
        members = np.flatnonzero(plan.stratum_N == stratum)
        rounds = -(-int(places) // len(members))
        positions.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:places])
        batch_of.append(np.repeat(np.arange(plan.steps), count_TS[:, stratum]))
    position_P, batch_P = np.concatenate(positions), np.concatenate(batch_of)
    position_P = position_P[np.lexsort((rng.random(len(batch_P)), batch_P))]
    return np.split(position_P, np.cumsum(count_TS.sum(axis=1))[:-1])


class Batches:
    """Batches of a split, reproducible from (seed, epoch, step) without any state.

    `shuffle=False` (evaluation) keeps the split's order; `stratify=True` plans the epoch as `plan_epoch` says with
    `floor` as a fraction of the batch, and `weight` then gives each stratum the total weight of its size. Under
    distributed training each rank gets its slice of the joint batch; slices differ by one image at the most.

    split: N images.  batch_size: images of the joint batch.  mean, std: per channel, of pixels in 0 … 1.
    made: what the network is shown of a batch, and what is true of it, by a number of its own; None: the batch.
    seed: of order and augmentation.  augment: None leaves pictures as they are.  device: where batches are put.
    rank, world_size: this process, of how many.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        seed: int = 0,
        shuffle: bool = True,
        stratify: bool = False,
        floor: float = 1 / 16,
        augment: Augment | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        made: Callable[[Batch, int], Batch] | None = None,
    ) -> None:
        if batch_size < 1 or batch_size < world_size:
            raise UserError(f"Batch size {batch_size} is too small for {world_size} process(es).")
        assert 0 <= rank < world_size and 0 <= floor < 1 and len(split)
        self.split, self.batch_size, self.seed, self.augment, self.made = split, batch_size, seed, augment, made
        self.shuffle, self.rank, self.world_size = shuffle or stratify, rank, world_size
        self.device = torch.device(device)
        strata_NA = split.group_NA if stratify else np.zeros((len(split), 1))
        # Batch norm cannot learn from a single image where it sees 1 × 1 pixels: two for each process.
        fewest = 2 * world_size if self.shuffle and batch_size >= 2 * world_size else 1
        self.plan = plan_epoch(strata_NA, batch_size, floor if stratify else 0.0, fewest)
        size_S, places_S = np.bincount(self.plan.stratum_N), self.plan.places_S
        if places_S.sum() // self.plan.steps < world_size:
            raise UserError(f"{len(split)} images in {self.plan.steps} batches are too few for {world_size} processes.")
        weight_S = size_S / len(split) * (places_S.sum() / places_S)
        self._weight_N = torch.from_numpy(weight_S[self.plan.stratum_N]).float()
        self._label_N, self._group_NA = torch.from_numpy(split.label_N), torch.from_numpy(split.group_NA)
        masks = split.mask_NHW if isinstance(split, MaskedSplit) else None
        self._mask_NHW = None if masks is None else torch.from_numpy(masks)
        self._images = None if isinstance(split.images_NCHW, np.memmap) else torch.from_numpy(split.images_NCHW)
        if self._images is not None and self._images.nbytes <= MOST_BYTES_ON_DEVICE:
            self._images = self._images.to(self.device)
        shape = (1, len(mean), 1, 1)
        self._mean = torch.tensor(mean, device=self.device).view(shape)
        self._std = torch.tensor(std, device=self.device).view(shape)
        self._order: tuple[int, list[np.ndarray]] = (-1, [])

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self.plan.steps

    def order(self, epoch: int) -> list[np.ndarray]:
        """The positions in the split of every joint batch of the epoch."""
        if self._order[0] != epoch:
            order = (
                order_epoch(self.plan, self.seed, epoch)
                if self.shuffle
                else np.array_split(np.arange(len(self.split)), self.plan.steps)
            )
            self._order = (epoch, order)
        return self._order[1]

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from step `start` on."""
        for step in range(start, len(self)):
            yield self.at(epoch * len(self) + step)

    def at(self, step: int) -> Batch:
        """The batch of the step counted from the start of training."""
        epoch, position = divmod(step, len(self))
        joint = self.order(epoch)[position]
        own = slice(self.rank, None, self.world_size)
        index = torch.from_numpy(joint[own])
        image = self._read(index)
        if self.augment is not None and self.augment.trivial:
            image = augmentation.trivial(
                image, np.random.default_rng((self.seed, epoch, position, 1)).integers(2**31, size=len(joint))[own]
            )
        image = image.to(torch.float32).div_(255)
        label = self._label_N[index] if self._mask_NHW is None else self._mask_NHW[index].long()
        if self.augment is not None:
            uniform = np.random.default_rng((self.seed, epoch, position)).random((len(joint), 5))
            image = augmentation.apply(self.augment, image, uniform[own])
            if self._mask_NHW is not None:
                label = augmentation.apply_to_masks(self.augment, label, uniform[own])
        image = image.sub_(self._mean).div_(self._std).contiguous(memory_format=torch.channels_last)
        rest = (label, self._group_NA[index], self._weight_N[index])
        batch = Batch(image, *(tensor.to(self.device, non_blocking=True) for tensor in rest))
        if self.made is None:
            return batch
        # what is only looked at is the same for every seed, and shares its number with no batch that is learned from
        return self.made(batch, step + (self.seed + 1) * 2**31 if self.shuffle else step)

    def _read(self, index: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) uint8 on the device."""
        if self._images is None:
            return torch.from_numpy(np.asarray(self.split.images_NCHW[index.numpy()])).to(self.device)
        return self._images[index.to(self._images.device)].to(self.device)
