"""Peers of `bench/sampling.py`: sampling with PyTorch, and PyTorch's matrix products alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from bench.peers.forms import LAYERS, VOCABULARY, Forms, Run, product_shapes

FEW = 8  # rows; up to this batch size, one thread may be faster than all


def torch_sampler(batch: int, units: int, dtype: str) -> Forms:
    import torch
    from torch import nn

    device, kind = torch_device(), getattr(torch, dtype)
    lstm = nn.LSTM(VOCABULARY, units, num_layers=LAYERS).to(device, kind)
    dense = nn.Linear(units, VOCABULARY).to(device, kind)

    def run(step: Callable[[Any, Any], tuple[Any, Any]], steps: int) -> None:
        ids, state, texts = torch.zeros(batch, dtype=torch.long, device=device), None, []
        for _ in range(steps):
            outputs, state = step(ids, state)
            cumulative = torch.softmax(dense(outputs).float(), -1).cumsum(-1)
            numbers = torch.rand(batch, 1, device=device) * cumulative[:, -1:]
            ids = (cumulative[:, :-1] <= numbers).sum(-1)
            texts.append(ids)
        torch.stack(texts).cpu()

    forms = {"nn.LSTM": torch_layer(lstm), "written out": torch_cells(lstm)}
    runs: dict[str, Run] = {name: partial(run, step) for name, step in forms.items()}
    if device == "cuda":  # otherwise each step waits for about 25 launches
        runs["CUDA graph"] = torch_graph(torch_cells(lstm), dense, batch)
    return torch_threads(batch, runs)


def torch_graph(step: Callable[[Any, Any], tuple[Any, Any]], dense: Any, batch: int) -> Run:
    """Return a run whose step is captured once in a CUDA graph and replayed, with its elementwise work compiled."""
    import torch

    ids = torch.zeros(batch, dtype=torch.long, device="cuda")
    state = tuple(dense.weight.new_zeros(batch, dense.in_features) for _ in range(4))
    compiled = torch.compile(step)

    def once() -> None:
        outputs, after = compiled(ids, state)
        cumulative = torch.softmax(dense(outputs).float(), -1).cumsum(-1)
        numbers = torch.rand(batch, 1, device="cuda") * cumulative[:, -1:]
        ids.copy_((cumulative[:, :-1] <= numbers).sum(-1))
        for mine, new in zip(state, after, strict=True):
            mine.copy_(new)

    with torch.inference_mode():
        for _ in range(3):
            once()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            once()

    def run(steps: int) -> None:
        texts = []
        for _ in range(steps):
            graph.replay()
            texts.append(ids.clone())
        torch.stack(texts).cpu()

    return run


def torch_layer(lstm: Any) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return a step of `nn.LSTM`, which takes ids and state and returns outputs and state."""
    import torch

    one_hot = torch.eye(VOCABULARY).to(lstm.weight_ih_l0)

    def step(ids: Any, state: Any) -> tuple[Any, Any]:
        outputs, state = lstm(one_hot[ids][None], state)
        return outputs[0], state

    return step


def torch_cells(lstm: Any) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Return the same step with its arithmetic written out; the first layer's product is looked up."""
    import torch
    from torch.nn import functional

    table = lstm.weight_ih_l0.detach().t() + (lstm.bias_ih_l0 + lstm.bias_hh_l0).detach()
    bias = (lstm.bias_ih_l1 + lstm.bias_hh_l1).detach()

    def cell(gates: Any, memory: Any) -> tuple[Any, Any]:
        i, f, g, o = gates.chunk(4, 1)
        memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(memory), memory

    def step(ids: Any, state: Any) -> tuple[Any, Any]:
        h0, c0, h1, c1 = state or [table.new_zeros(len(ids), lstm.hidden_size)] * 4
        h0, c0 = cell(functional.embedding(ids, table) + functional.linear(h0, lstm.weight_hh_l0), c0)
        h1, c1 = cell(functional.linear(h0, lstm.weight_ih_l1, bias) + functional.linear(h1, lstm.weight_hh_l1), c1)
        return h1, (h0, c0, h1, c1)

    return step


def torch_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def torch_threads(batch: int, runs: Forms) -> Forms:
    """Return each form with PyTorch's default number of threads, and for few rows also with one thread."""
    import torch

    def run(inner: Run, threads: int, steps: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            inner(steps)

    return {
        f"{name}, {threads} threads": partial(run, inner, threads)
        for threads in sorted({1 if batch <= FEW else default_threads(), default_threads()})
        for name, inner in runs.items()
    }


@cache
def default_threads() -> int:
    """Return PyTorch's default number of threads. It is read once, before any number is set."""
    import torch

    threads: int = torch.get_num_threads()
    return threads


def torch_products(batch: int, units: int, dtype: str) -> Forms:
    import torch
    from torch.nn import functional

    device, kind, shapes = torch_device(), getattr(torch, dtype), product_shapes(units)
    h = torch.randn(batch, units, device=device).to(kind)
    kernels = [torch.randn(shape, device=device).to(kind) for shape in shapes]
    products = [torch.empty(batch, width, device=device, dtype=kind) for _, width in shapes]
    transposed = [kernel.t().contiguous() for kernel in kernels]

    def mm(steps: int) -> None:
        for _ in range(steps):
            for kernel, product in zip(kernels, products, strict=True):
                torch.mm(h, kernel, out=product)
        products[-1][0, 0].item()

    def linear(steps: int) -> None:
        for _ in range(steps):
            for kernel in transposed:
                product = functional.linear(h, kernel)
        product[0, 0].item()

    return torch_threads(batch, {"mm": mm, "linear": linear})
