"""The preset `question` against the same network with Keras's RMSprop, in a few lines of NumPy."""

import numpy as np

import embedcli
from embedcli.nn.initializers import initial_rows

SENTENCES = np.array([[0, 1, 2, 3, 4], [5, 1, 2, 3, 6]])
SCORES = np.array([[1.0], [-1.0]])  # the standard scores of the targets 1 and 0
STEPS = 20


def trained_table():
    """Train Embedding(7, 2), Flatten and Dense(1) on both sentences, as Keras's fit does."""
    table = initial_rows("uniform", seed=0, rows=range(7), dim=2, scale=0.05).astype(np.float64)
    weights = {"table": table, "kernel": np.zeros((10, 1)), "bias": np.zeros(1)}
    squares = {name: np.zeros_like(each) for name, each in weights.items()}
    for _ in range(STEPS):
        flat = weights["table"][SENTENCES].reshape(2, 10)
        blame = 2 * (flat @ weights["kernel"] + weights["bias"] - SCORES) / 2  # of the mean
        rows = np.zeros_like(weights["table"])
        np.add.at(rows, SENTENCES, (blame @ weights["kernel"].T).reshape(2, 5, 2))
        gradients = {"table": rows, "kernel": flat.T @ blame, "bias": blame.sum(axis=0)}
        for name, gradient in gradients.items():  # keras/src/optimizers/rmsprop.py
            squares[name] = 0.9 * squares[name] + 0.1 * gradient**2
            weights[name] -= 0.001 * gradient / np.sqrt(squares[name] + 1e-7)
    return weights["table"]


def test_the_preset_trains_as_keras_does(tmp_path):
    (tmp_path / "leaving.txt").write_text(
        "__label__1 Hope to see you soon\n__label__0 Nice to see you again\n"
    )
    found = embedcli.train(
        tmp_path / "leaving.txt", tmp_path / "m", config="question", epochs=STEPS
    )
    np.testing.assert_allclose(found.table.vectors, trained_table(), rtol=0, atol=1e-7)
