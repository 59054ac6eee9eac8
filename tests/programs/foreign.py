"""A process of test_hostile_models.py that writes hostile files of Keras, HDF5 and NumPy.

    python -m tests.programs.foreign FOLDER OUTSIDE

Each file reads a secret, makes OUTSIDE/witness or claims 8 PB when its own software opens it. This program checks that
it does so, since a refusal would prove nothing otherwise. The secret is OUTSIDE/secret, and in HDF5 OUTSIDE/secret.h5.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

PETABYTES = 1 << 53  # 8 PB in bytes


class Deed:
    """Code that a pickle runs when it is opened."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, (self.code,)


def write_keras(folder: Path, witness: Path) -> None:
    import keras

    code = f"lambda x: [__import__('pathlib').Path({str(witness)!r}).touch(), x][1]"
    model = keras.Sequential([keras.Input((1,)), keras.layers.Lambda(eval(code))])  # noqa: S307
    witness.unlink()
    for name in ("lambda.keras", "lambda.h5"):
        model.save(folder / name)
        keras.saving.load_model(folder / name, safe_mode=False)
        witness.unlink()


def write_lookup(folder: Path) -> None:
    """Write a model with a path as its vocabulary: the content of that file becomes part of the model."""
    import keras

    keras.Sequential([keras.layers.StringLookup(vocabulary=["a"])]).save(folder / "plain.keras")
    with zipfile.ZipFile(folder / "plain.keras") as plain, zipfile.ZipFile(folder / "lookup.keras", "w") as changed:
        for name in plain.namelist():
            data = plain.read(name).replace(
                b'"vocabulary": ["a"], "vocabulary_size": 2', b'"vocabulary": "/etc/passwd"'
            )
            changed.writestr(name, data)
    (folder / "plain.keras").unlink()
    lookup = keras.saving.load_model(folder / "lookup.keras", safe_mode=False)
    assert set(Path("/etc/passwd").read_text().splitlines()) < set(lookup.layers[0].get_vocabulary())


def write_saved_model(folder: Path, outside: Path) -> None:
    """Write a model with a TensorFlow graph, which may write files when it is called."""
    import keras
    import tensorflow as tf

    module = tf.Module()
    module.serve = tf.function(lambda x: x, input_signature=[tf.TensorSpec([None, 1])])
    tf.saved_model.save(module, str(outside / "graph"), signatures=module.serve)
    layer = keras.layers.TFSMLayer(str(outside / "graph"), call_endpoint="serving_default")
    keras.Sequential([keras.Input((1,)), layer]).save(folder / "tfsm.keras")
    keras.saving.load_model(folder / "tfsm.keras", safe_mode=False)


def write_hdf5(folder: Path, outside: Path) -> None:
    secret, other = outside / "secret", outside / "secret.h5"
    values = np.frombuffer(secret.read_bytes(), np.uint8)
    with h5py.File(other, "w") as file:
        file["secret"] = values
    layout = h5py.VirtualLayout(values.shape, values.dtype)
    layout[:] = h5py.VirtualSource(other, "secret", values.shape)
    with h5py.File(folder / "link.h5", "w") as file:
        file["kernel"] = h5py.ExternalLink(other, "/secret")
    with h5py.File(folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("kernel", layout)
    with h5py.File(folder / "external.h5", "w") as file:
        file.create_dataset("kernel", values.shape, values.dtype, external=[(str(secret), 0, values.nbytes)])
    for name in ("link.h5", "virtual.h5", "external.h5"):
        with h5py.File(folder / name) as file:
            assert bytes(file["kernel"][:]) == secret.read_bytes(), name
    with h5py.File(folder / "huge.h5", "w") as file:
        assert file.create_dataset("kernel", (PETABYTES,), "u1", chunks=(1 << 20,)).nbytes == PETABYTES


def write_pickles(folder: Path, witness: Path) -> None:
    deed: Any = np.array([Deed(f"__import__('pathlib').Path({str(witness)!r}).touch()")], object)
    np.savez(folder / "pickled.npz", kernel=deed)
    np.save(folder / "pickled.npy", deed)
    np.load(folder / "pickled.npz", allow_pickle=True)["kernel"]
    witness.unlink()
    np.load(folder / "pickled.npy", allow_pickle=True)
    witness.unlink()


def main(folder: Path, outside: Path) -> None:
    write_keras(folder, outside / "witness")
    write_lookup(folder)
    write_saved_model(folder, outside)
    write_hdf5(folder, outside)
    write_pickles(folder, outside / "witness")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
