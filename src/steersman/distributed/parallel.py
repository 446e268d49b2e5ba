"""Several processes that train one model together: one per GPU over NCCL, or on CPUs over gloo.

The first process hands out work (`everywhere`); the others wait for it (`work`). Inside, every process does the
same steps on its share of a step's rows (`share`), with weights, masters and optimizer states split by FSDP2 (Zhao et
al. 2023). Losses are divided by what the whole step holds and gradients are summed, so that any number of processes
computes what one does. Outside, and in a lone process, everything here does nothing.

Why so: decision 17 in docs/LOG.md.
"""

from __future__ import annotations

import contextlib
import contextvars
import datetime
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor

from steersman import stopping

T = TypeVar("T")

TIMEOUT = datetime.timedelta(hours=4)
"""Others wait this long while the first process downloads or evaluates; torchrun notices dead processes."""

# A context variable: whether the running code, and all that it calls, was handed out to all processes.
_together: contextvars.ContextVar[bool] = contextvars.ContextVar("_together", default=False)
_store: Store | None = None


def join(local_rank: int, local_size: int) -> None:
    """Meet the other processes that torchrun started. Raises ValueError where there are fewer GPUs than processes."""
    global _store
    if torch.cuda.is_available():
        if (gpus := torch.cuda.device_count()) < local_size:
            raise ValueError(
                f"{local_size} processes on this machine, which has {gpus} GPU(s); expected at most one process per "
                "GPU (or CUDA_VISIBLE_DEVICES= to compute on CPUs)"
            )
        torch.cuda.set_device(local_rank)
    _store, rank, world = next(rendezvous("env://", timeout=TIMEOUT))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=_store, rank=rank, world_size=world, timeout=TIMEOUT)


def may_speak(expected: bool) -> bool:
    """Whether this process is the first to fail, and so reports the error.

    An error that nobody `expected` may be the echo of another process's end: that one is given time to speak first.
    """
    if _store is None:
        return True
    if not expected:
        time.sleep(3)
    try:
        return bool(_store.add("steersman/failed", 1) == 1)
    except RuntimeError:  # the store ended with the process that held it
        return False


def is_first() -> bool:
    """Whether this process writes files and speaks; true for a lone one."""
    return rank() == 0


def rank() -> int:
    """This process's number among those that compute together."""
    return dist.get_rank() if _together.get() else 0


def size() -> int:
    """How many processes compute together; 1 for a lone one."""
    return dist.get_world_size() if _together.get() else 1


def everywhere(function: Callable[..., T], **arguments: Any) -> T:
    """`function(**arguments)` in every process at once; called by the first, whose result is returned."""
    if _store is None:
        return function(**arguments)
    _hand_out((function, arguments))
    with _computing_together():
        return function(**arguments)


def work() -> None:
    """Take part in the first process's work, until that process is done."""
    while (task := _hand_out(None)) is not None:
        function, arguments = task
        with _computing_together():
            function(**arguments)


def dismiss() -> None:
    """The first process is done: let the others end."""
    _hand_out(None)


def leave() -> None:
    """Undo `join`."""
    dist.destroy_process_group()


def _hand_out(task: Any) -> Any:
    box = [task]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


@contextlib.contextmanager
def _computing_together() -> Iterator[None]:
    token = _together.set(True)
    try:
        yield
    finally:
        _together.reset(token)


def add(*values: float) -> tuple[float, ...]:
    """Each value summed over the processes."""
    if size() == 1:
        return values
    sums = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(sums)
    return tuple(sums.tolist())


def add_up(tensors: Sequence[Tensor]) -> None:
    """Each tensor replaced by its sum over the processes; all of one type."""
    if size() > 1 and tensors:
        sums = torch.cat([x.flatten() for x in tensors])
        dist.all_reduce(sums)
        for x, total in zip(tensors, torch.split(sums, [x.numel() for x in tensors]), strict=True):
            x.copy_(total.view_as(x))


def merge(x: Tensor) -> Tensor:
    """A tensor on the CPU of which each process filled some entries and left the others -inf, filled everywhere."""
    if size() > 1:
        dist.all_reduce(x, dist.ReduceOp.MAX)
    return x


def gather(item: T) -> list[T]:
    """Every process's `item`, in the processes' order."""
    if size() == 1:
        return [item]
    items: list[Any] = [None] * size()
    dist.all_gather_object(items, item)
    return items


def wait() -> None:
    """Block until every process has called this."""
    add(0.0)


def halt() -> None:
    """Raise Stop in all processes, at the same place, if one of them was told to stop."""
    if size() == 1:
        stopping.check()
        return
    mine = stopping.requested()
    (anyone,) = merge(torch.tensor([float(mine)])).tolist()
    if anyone:
        raise stopping.Stop(int(anyone))


def share(items: Sequence[T]) -> list[tuple[T, float]]:
    """This process's items of a step, each with its weight.

    FSDP's collectives need every process to compute as many items: one that has too few repeats one with weight 0.
    """
    count, mine = size(), rank()
    rounds = range(0, len(items), count)
    return [(items[i + mine], 1.0) if i + mine < len(items) else (items[i], 0.0) for i in rounds]


def shard(models: Sequence[tuple[Any, Sequence[Any]]]) -> None:
    """Split models over the processes: (embedding, the modules that are split one by one, the whole model last) each.

    Gradients are reduced in float32. Of models over the same weights, and so the same embedding, the first is split
    and gathers them for all. Adapters stay whole in every process, as does a twin's head: they are small, and summed
    once a step instead of row by row (`add_up`).
    """
    if size() == 1:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(models[0][0].weight.device.type, (size(),))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    split: dict[Any, Sequence[Any]] = {}
    for embedding, modules in models:
        first = split.setdefault(embedding, modules)
        if first is not modules:
            for module, owner in zip(modules, first, strict=True):
                module.apply_sharded = owner.apply_sharded
            continue
        adapters = {p for name, p in modules[-1].named_parameters() if ".lora_" in name}
        for module in modules:
            fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True, ignored_params=adapters)
            # losses are divided by the whole step's count already
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
            # FSDP gathers weights around a method of the module that it knows by name
            module.apply_sharded = lambda function, *arguments: function(*arguments)
            register_fsdp_forward_method(module, "apply_sharded")


def call(module: Any, function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)`, which uses `module`'s weights: where they are sharded, they are gathered around it.

    FSDP sees tensors among the arguments and results themselves, not those inside other objects.
    """
    sharded = getattr(module, "apply_sharded", None)
    result: T = sharded(function, *arguments) if sharded else function(*arguments)
    return result


def is_split(x: Tensor) -> bool:
    """Whether this process holds only a shard of x."""
    return isinstance(x, DTensor)


def local(x: Tensor) -> Tensor:
    """This process's shard of a parameter or gradient, sharing its memory."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole(x: Tensor) -> Tensor:
    """The unsharded parameter; every process must call this."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def whole_state(model: Any, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """All weights, or those of these names, whole and on the CPU, in the first process; {} in the others."""
    state = {}
    for name, parameter in model.named_parameters():
        if names is None or name in names:
            tensor = whole(parameter.detach()).cpu()
            if is_first():
                state[name] = tensor
    return state


def part(x: Tensor, parameter: Tensor) -> Tensor:
    """This process's shard of `x` (whole or split), sharded as `parameter` is; a scalar is returned unchanged."""
    if not isinstance(parameter, DTensor):
        return whole(x)
    if isinstance(x, DTensor) or x.dim() == 0:
        return local(x)
    return local(distribute_tensor(x, parameter.device_mesh, parameter.placements, src_data_rank=None))


def like(x: Tensor, parameter: Tensor) -> Tensor:
    """The split tensor of which `x` is this process's shard, sharded as `parameter` is."""
    if not isinstance(parameter, DTensor) or x.dim() == 0:
        return x
    return DTensor.from_local(
        x, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )
