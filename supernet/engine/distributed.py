"""Several processes that train one network: `torchrun --nproc-per-node N search.py …`, gloo on CPU, NCCL on GPUs.

Every process runs the same program with the same seeds on its slice of each joint batch (data.Batches); what differs by
slice is made one here: gradients, group sums, losses, batch-norm statistics. Then all processes hold the same numbers, and
only the first one writes. Without torchrun every function here gives back what it was given.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm

from supernet.errors import UserError

Value = TypeVar("Value")
Model = TypeVar("Model", bound=nn.Module)


def started() -> int:
    """Processes that torchrun started, before they have joined, too."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def start() -> None:
    """Joins the processes that torchrun started. CPU tensors go through gloo on a GPU machine too."""
    if started() > 1 and not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number; 0 writes and prints."""
    return dist.get_rank() if world_size() > 1 else 0


def own_slice() -> dict[str, Any]:
    """The options of data.Batches for this process's slice of each joint batch."""
    return {"rank": rank(), "world_size": world_size()}


def own_device(name: str) -> str:
    """Of several processes, `auto` and `cuda` are this one's own GPU, and `auto` without CUDA is the CPU."""
    if world_size() == 1 or name not in ("auto", "cuda"):
        return name
    return f"cuda:{os.environ['LOCAL_RANK']}" if torch.cuda.is_available() else name.replace("auto", "cpu")


def from_first(work: Callable[[], Value]) -> Value:
    """What the first process's call returns, or the UserError or OSError it raises, in each process."""
    if world_size() == 1:
        return work()
    found: list[Any] = [None, None]
    if rank() == 0:
        try:
            found[0] = work()
        except (UserError, OSError) as error:
            found[1] = error
    dist.broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return cast(Value, found[0])


def first_to_say(message: str) -> bool:
    """Whether no other process has said this to the user yet; before `start`, whether it is the first on its machine."""
    if world_size() == 1:
        return os.environ.get("LOCAL_RANK", "0") == "0"
    return bool(dist.distributed_c10d._get_default_store().add(f"said: {message}", 1) == 1)


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process."""
    if world_size() == 1:
        return flag
    found = torch.tensor(int(flag))
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found)


def mean(local: Tensor) -> Tensor:
    """The mean over processes, without gradient."""
    if world_size() == 1:
        return local
    joint = local.detach().clone()
    dist.all_reduce(joint)
    return joint / world_size()


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Each gradient becomes its mean over processes; all have the same path, so the same gradients that are None.

    One flat message of what the step touched: DistributedDataParallel would send the whole supernet.
    """
    if world_size() == 1:
        return
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = mean(torch.cat([grad.reshape(-1) for grad in grads]))
    for grad, part in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(part.view(grad.shape))


class _AllReduceSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        joint = local.clone()
        dist.all_reduce(joint)
        return joint

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        joint = grad.clone()
        dist.all_reduce(joint)
        return joint


def all_reduce_sums(local: Tensor) -> Tensor:
    """The sum of every process's tensor, differentiable; in a single process the tensor itself.

    Every process then holds the same loss, and its gradient counts once for each of them; the mean over processes
    (`average_gradients`) makes it the gradient of one process with the joint batch.
    """
    return cast(Tensor, _AllReduceSum.apply(local)) if world_size() > 1 else local


class JointBatchNorm(_BatchNorm):
    """Batch norm with the joint batch's statistics in training. torch.nn.SyncBatchNorm is for GPUs alone."""

    def forward(self, x: Tensor) -> Tensor:
        return joint_batch_norm(self, x) if self.training else super().forward(x)

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class JointBatchNormAct2d(BatchNormAct2d):
    """The same with timm's activation."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return cast(Tensor, super().forward(x))
        return cast(Tensor, self.act(self.drop(joint_batch_norm(self, x))))


def join_batch_norms(model: Model) -> Model:
    """Gives the model's batch norms the joint batch's statistics, in place, where there are several processes."""
    for module in model.modules() if world_size() > 1 else ():
        if isinstance(module, BatchNormAct2d):
            module.__class__ = JointBatchNormAct2d
        elif isinstance(module, _BatchNorm):
            module.__class__ = JointBatchNorm
    return model


def joint_batch_norm(norm: _BatchNorm, x: Tensor) -> Tensor:
    """x (B, C, …) normalised by mean and variance over all processes (Ioffe & Szegedy 2015); moves the running ones.

    The variance is summed around the joint mean: a second message, but no cancellation.
    """
    assert norm.momentum is not None and norm.running_mean is not None and norm.running_var is not None
    axes, shape = [0, *range(2, x.dim())], (1, -1, *[1] * (x.dim() - 2))
    values = x.to(norm.running_mean.dtype)
    count = values.new_full((1,), x.numel() // x.shape[1])  # new_tensor([…]) would wait for a GPU
    sums = all_reduce_sums(torch.cat([values.sum(axes), count]))
    mean_C, total = sums[:-1] / sums[-1], sums[-1].detach()
    centred = values - mean_C.view(shape)
    variance_C = all_reduce_sums(centred.square().sum(axes)) / total
    with torch.no_grad():
        norm.running_mean.lerp_(mean_C, norm.momentum)
        norm.running_var.lerp_(variance_C * total / (total - 1), norm.momentum)
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
    y = centred * (variance_C + norm.eps).rsqrt().view(shape)
    if norm.affine:
        y = y * norm.weight.view(shape) + norm.bias.view(shape)
    return y.to(x.dtype)
