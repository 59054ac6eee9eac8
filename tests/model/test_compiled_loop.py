"""TensorFlow's programs for GPUs, compiled for the CPU: the steps are loops, and results are those of the graphs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from charrnn.backend import JAX, choose_backend, ops
from charrnn.model import Model
from charrnn.network.network import cast_kernels, initial_weights, zero_state
from charrnn.network.recurrent import UNROLL
from charrnn.options import NetworkOptions, TrainingOptions
from charrnn.sampling import sampler as sampling
from charrnn.sampling.slots import Report
from charrnn.sampling.stops import to_string
from charrnn.text.corpus import Corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import evaluation, steps
from charrnn.training.checkpoint import Checkpoint
from charrnn.training.optimizers import ADAM
from charrnn.training.trainer import Trainer
from tests.fixtures.gpus import make_machine
from tests.fixtures.model import random_model
from tests.model.test_sampling import BATCH, rows_of, texts
from tests.model.test_training import CORPUS, TEXT, VALIDATION, stop_at

if choose_backend() == JAX:
    pytest.skip("JAX has one form of its programs for all devices", allow_module_level=True)

from charrnn.backend import tensorflow as backend

TOLERANCE = 1e-6
LIMITS: dict[str, Any] = {"top_k": 5, "top_p": 0.9, "stop": (to_string([2, 3]), to_string([5]))}
ROWS = rows_of([(n % 7 + 1, 3 * n + 1) for n in range(40)], **LIMITS)
LISTED = Corpus.of(Vocabulary.of(TEXT), [f"\n{TEXT.strip()}"], f"\n{VALIDATION.strip()}", lines=True)
NETWORKS = {  # without dropout, whose masks are others
    "stream": NetworkOptions(units=16, dropout=0.0),
    "gru": NetworkOptions(cell="gru", units=16, dropout=0.0),
    "window": NetworkOptions(units=16, max_len=12, dropout=0.0),
    "list": NetworkOptions(units=16, lines=True, dropout=0.0),
}
ON_A_GPU = """
import json
from charrnn.backend import ops
from charrnn.sampling import sampler
from tests.fixtures.model import random_model
from tests.model.test_compiled_loop import NETWORKS, ROWS
from tests.model.test_sampling import texts
square = ops.ones((64, 64))
product = ops.compile_graph(lambda a, b: ops.matmul(a, b)).experimental_get_compiler_ir(square, square)(stage="hlo")
found = {key: text.ids.tolist() for key, text in texts(random_model(NETWORKS["stream"]), ROWS).items()}
print(json.dumps([sampler.HASHED_ON_DEVICE, product, found]))
"""


def forget() -> None:
    """Let every function be compiled anew."""
    for functions in (sampling._compiled, steps.training_step, evaluation._evaluator):
        functions.cache_clear()


@pytest.fixture(autouse=True)
def _compiled_anew() -> Iterator[None]:
    forget()
    yield
    forget()


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function after whose call all others are compiled as for a GPU."""

    def change() -> None:
        forget()
        monkeypatch.setattr(backend, "on_gpu", True)
        monkeypatch.setattr(sampling, "HASHED_ON_DEVICE", True)

    return change


def loops(function: Callable[..., Any], *arguments: Any) -> list[int]:
    """Return how often the body of each loop of a program runs."""
    hlo = ops.compile_graph(function).experimental_get_compiler_ir(*arguments)(stage="optimized_hlo")  # type: ignore[attr-defined]
    counts = re.findall(r'known_trip_count":\{"n":"(\d+)"\}', hlo)
    assert len(counts) == len(re.findall(r" while\(", hlo)), hlo
    return sorted(map(int, counts))


def test_texts_of_a_loop_equal_those_of_the_graph(each_model: Model, as_on_a_gpu: Callable[[], None]) -> None:
    expected = texts(each_model, ROWS)
    as_on_a_gpu()
    found = texts(each_model, ROWS, report=(report := Report(BATCH)))
    for key, text in expected.items():  # Catches: steps in another order, inputs or random numbers of another step
        np.testing.assert_array_equal(found[key].ids, text.ids)
        np.testing.assert_allclose(found[key].nats, text.nats, rtol=0, atol=1e-4)
    assert report.depends_on == frozenset()


@pytest.mark.parametrize(("precision", "limits"), [("float32", LIMITS), ("bfloat16", {})])
def test_the_steps_of_a_call_are_one_loop(
    untrained_model: Model, as_on_a_gpu: Callable[[], None], precision: str, limits: dict[str, Any]
) -> None:
    as_on_a_gpu()
    network, rows = untrained_model.network, rows_of([(3, 90)] * BATCH, **limits)
    kernels = cast_kernels(network, untrained_model.weights, precision)
    one = sampling._Sampler(network, kernels, enumerate(rows), BATCH, precision, None)
    call, _ = sampling._compiled(network, None, True)
    # Catches: steps that are unrolled, a loop whose end the host would have to wait for
    assert loops(call, *one._arguments(one._inputs(one.slots.plan()))) == [sampling.STEPS]
    texts(untrained_model, rows, precision=precision, report=(report := Report(BATCH)))
    assert report.depends_on == frozenset()


def trained(network: NetworkOptions) -> tuple[list[float], Checkpoint]:
    """Return the losses of some steps of training, and the checkpoint after the last one."""
    corpus = LISTED if network.lines else CORPUS
    one, losses = Trainer(corpus, network, TrainingOptions(precision="float32", rng_seed=4)), [0.0]
    for step in (1, 2, 3):
        losses.append(stop_at(step, one).checkpoint.epoch_loss)
    return list(np.diff(losses)), one.checkpoint


beside_streams = pytest.mark.slow("test_losses_and_weights_of_a_loop_equal_those_of_the_graph")


@pytest.mark.parametrize(
    "network",
    [pytest.param(NETWORKS[name], marks=() if name == "stream" else beside_streams, id=name) for name in NETWORKS],
)
def test_losses_and_weights_of_a_loop_equal_those_of_the_graph(
    network: NetworkOptions, as_on_a_gpu: Callable[[], None]
) -> None:
    expected, graph = trained(network)
    as_on_a_gpu()
    found, loop = trained(network)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    for name, weight in graph.weights.items():  # Catches: gradients of another step
        np.testing.assert_allclose(loop.weights[name], weight, rtol=0, atol=10 * TOLERANCE, err_msg=name)


@pytest.mark.slow("test_losses_and_weights_of_a_loop_equal_those_of_the_graph")
@pytest.mark.parametrize("network", [NETWORKS["window"], NETWORKS["list"]], ids=["window", "list"])
def test_a_validation_loss_of_a_loop_equals_that_of_the_graph(
    network: NetworkOptions, as_on_a_gpu: Callable[[], None]
) -> None:
    model = random_model(network)
    ids = np.random.default_rng(1).integers(0, len(model.vocabulary), 3000).astype(np.uint8)
    expected = evaluation.validation_loss(network, model.weights, ids, reset=model.reset)
    as_on_a_gpu()
    found = evaluation.validation_loss(network, model.weights, ids, reset=model.reset)
    assert found == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.slow("test_the_steps_of_a_call_are_one_loop")
def test_each_layer_of_a_training_step_is_two_loops(as_on_a_gpu: Callable[[], None]) -> None:
    as_on_a_gpu()
    network, ids = NETWORKS["stream"], np.zeros((64, 4), np.int32)
    weights = {name: ops.array(value) for name, value in initial_weights(network, 30, 1).items()}
    step = steps.training_step(network, ADAM, "float32", 30, ids.shape)
    numbers = (np.zeros(2, np.int32), np.ones(3, np.float32))
    given = (weights, weights, [weights, weights], zero_state(network, 4), ids, ids, *numbers)
    assert loops(step, *given) == [64 // UNROLL] * 2 * network.layers


@pytest.fixture(scope="module")
def on_a_gpu() -> Any:
    """Who makes random numbers, the program of a product, and texts, in a process that finds a GPU."""
    with make_machine("0", visible="0") as machine:
        done = subprocess.run(
            [sys.executable, "-c", ON_A_GPU], env=machine.environment, capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout)


def test_float32_is_multiplied_in_full_on_a_gpu(on_a_gpu: Any) -> None:
    _, product, _ = on_a_gpu
    # Catches: a program that lets XLA round to TF32
    assert "operand_precision={highest,highest}" in product


def test_texts_of_a_gpu_are_those_of_a_cpu_whose_host_makes_the_random_numbers(on_a_gpu: Any) -> None:
    hashed, _, found = on_a_gpu
    assert (hashed, sampling.HASHED_ON_DEVICE) == (True, False)  # Catches: a GPU that reads numbers of the host
    expected = texts(random_model(NETWORKS["stream"]), ROWS)
    assert found == {str(key): text.ids.tolist() for key, text in expected.items()}


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_bfloat16_is_for_gpus_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    import tensorflow as tf

    config = tf.config
    monkeypatch.setattr(backend, "on_gpu", True)
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: [kind])
    monkeypatch.setattr(config.experimental, "get_device_details", lambda gpu: {"compute_capability": capability})
    assert backend.fast_precision() == precision
