"""An explained step as a script that computes it again, with NumPy, PyTorch or Keras.

A script reads the arrays of the model folder, and prints the loss, each row's gradient and the
row after the step. NumPy differentiates by hand, PyTorch and Keras do it themselves; the step of
the optimizer is the formula of `nn.optimizers` in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from embedcli.errors import ConfigError
from embedcli.views import captions

if TYPE_CHECKING:
    from embedcli.explanation import Step

LIBRARIES = ("numpy", "torch", "keras")
IMPORTS = {
    "numpy": ["import numpy as np"],
    "torch": ["import numpy as np", "import torch", "from torch.nn import functional as F"],
    "keras": [
        "import os",
        'os.environ["KERAS_BACKEND"] = "torch"  # gradients are found by its backward()',
        "import keras",
        "import numpy as np",
        "from keras import ops",
    ],
}
PARAMETERS = {
    "numpy": "{names} = weights.values()",
    "torch": "{names} = (torch.from_numpy(w).requires_grad_() for w in weights.values())",
}
BACKWARD: dict[str, list[str]] = {
    "numpy": [],
    "torch": [
        "loss.backward()",
        "gradients = {{name: w.grad.numpy() for name, w in zip(weights, ({names}))}}",
    ],
    "keras": [
        "loss.backward()",
        "gradients = {{name: w.value.grad.numpy() for name, w in zip(weights, {names})}}",
    ],
}

# Skip-gram and CBOW: the loss of the words around one place, or of the word there.
WORDS = {
    "numpy": [
        "    h = W[words[{inputs}]].mean(axis=0)",
        "    x = O[ids] @ h",
        "    loss += weight @ np.logaddexp(0, np.where(target == 1, -x, x))",
        "    slope = weight * (1 / (1 + np.exp(-x)) - target)  # of the loss along x",
        '    np.add.at(gradients["output"], ids, slope[:, None] * h)',
        '    np.add.at(gradients["table"], words[{inputs}], slope @ O[ids] / len({inputs}))',
    ],
    "torch": [
        "    x = O[ids] @ W[words[{inputs}]].mean(axis=0)",
        "    target, weight = torch.tensor(target).float(), torch.tensor(weight).float()",
        '    loss += F.binary_cross_entropy_with_logits(x, target, weight, reduction="sum")',
    ],
    "keras": [
        "    x = ops.matmul(O(ids), ops.mean(W(words[{inputs}]), axis=0))",
        '    target, weight = target.astype("float32"), weight.astype("float32")',
        "    loss += ops.dot(weight, ops.binary_crossentropy(target, x, from_logits=True))",
    ],
}
CURVATURE = [
    '    np.add.at(curvature["output"], ids, weight * (h @ h))',
    '    squares = weight @ (weights["output"][ids] ** 2).sum(axis=1)',
    '    np.add.at(curvature["table"], words[{inputs}], squares / len({inputs}) ** 2)',
]

# Classify and regress: rows of the words to one vector, and back.
POOLS: dict[str, dict[str, tuple[str, ...]]] = {
    "numpy": {
        "mean": ("rows.mean(axis=0)", "np.tile(slope / len(ids), (len(ids), 1))"),
        "sum": ("rows.sum(axis=0)", "np.tile(slope, (len(ids), 1))"),
        "max": ("rows.max(axis=0)", "slope * (rows == pooled) / (rows == pooled).sum(axis=0)"),
        "flatten": (
            "np.pad(rows, (({left}, {right}), (0, 0))).ravel()",
            "slope.reshape(-1, {dim})[{left} : {left} + len(ids)]",
        ),
    },
    "torch": {
        "mean": ("rows.mean(axis=0)",),
        "sum": ("rows.sum(axis=0)",),
        "max": ("rows.amax(axis=0)",),
        "flatten": ("F.pad(rows, (0, 0, {left}, {right})).flatten()",),
    },
    "keras": {
        "mean": ("keras.layers.GlobalAveragePooling1D()",),
        "sum": ("keras.layers.Lambda(lambda rows: ops.sum(rows, axis=1))",),
        "max": ("keras.layers.GlobalMaxPooling1D()",),
        "flatten": ("keras.layers.ZeroPadding1D(({left}, {right})), keras.layers.Flatten()",),
    },
}
MEAN_OF_MORE = {
    "numpy": "rows.sum(axis=0) / {count}",
    "torch": "rows.sum(axis=0) / {count}",
    "keras": "keras.layers.Lambda(lambda rows: ops.sum(rows, axis=1) / {count})",
}
LOSSES: dict[str, dict[str, list[str]]] = {
    "numpy": {
        "softmax": [
            "loss = np.logaddexp.reduce(x) - x[right]",
            "slope = np.exp(x - np.logaddexp.reduce(x)) - (np.arange(len(x)) == right)",
        ],
        "sigmoid": [
            "loss = weight @ np.logaddexp(0, np.where(target == 1, -x, x)) / weight.sum()",
            "slope = weight * (1 / (1 + np.exp(-x)) - target) / weight.sum()",
        ],
        "squared": ["loss = ((x - target) ** 2).mean()", "slope = 2 * (x - target) / len(x)"],
    },
    "torch": {
        "softmax": ["loss = F.cross_entropy(x, torch.tensor(right))"],
        "sigmoid": [
            "target, weight = torch.tensor(target).float(), torch.tensor(weight).float()",
            'loss = F.binary_cross_entropy_with_logits(x, target, weight, reduction="sum")',
            "loss = loss / weight.sum()",
        ],
        "squared": ["loss = F.mse_loss(x, torch.tensor(target).float())"],
    },
    "keras": {
        "softmax": [
            "cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
            "loss = cross_entropy(np.array([right]), x[None])",
        ],
        "sigmoid": [
            'target, weight = target.astype("float32"), weight.astype("float32")',
            "losses = ops.binary_crossentropy(target, x, from_logits=True)",
            "loss = ops.dot(weight, losses) / weight.sum()",
        ],
        "squared": ["loss = keras.losses.MeanSquaredError()(target[None], x[None])"],
    },
}

# Steps of the optimizers, on the rows `at` with the gradient g.
STEPS = {
    "sgd": ["w[at] -= rate * g"],
    "rmsprop": [
        "square = {rho} * {square} + {one_minus_rho} * g * g",
        "w[at] -= rate * g / np.sqrt(square + {epsilon})",
    ],
    "adagrad": ["w[at] -= rate * g / (np.sqrt({square} + g * g) + {epsilon})"],
    "adam": [
        "mean = {beta_1} * {mean} + {one_minus_beta_1} * g",
        "square = {beta_2} * {square} + {one_minus_beta_2} * g * g",
        "corrected = rate * np.sqrt(1 - {beta_2}**{t}) / (1 - {beta_1}**{t})",
        "w[at] -= corrected * mean / (np.sqrt(square) + {epsilon})",
    ],
    "damped_sgd": ["w[at] -= (rate / (1 + rate * {damping} * curvature[name][at]) * g.T).T"],
}
MOMENTUM = ["velocity = {momentum} * {velocity} - rate * g", "w[at] += velocity"]
NESTEROV = [MOMENTUM[0], "w[at] += {momentum} * velocity - rate * g"]


def script(step: Step, library: str) -> str:
    """Return a script that takes the step of a saved model.

    Raises ConfigError for a model that is no folder of `.npy` files, or whose words have parts.
    """
    if step.composed:
        raise ConfigError(
            "as: the words of the model are composed of character n-grams, which no script is "
            "written for; expected a model without parts (max_n 0)"
        )
    if step.folder is None:
        raise ConfigError(
            "as: the model is not a folder of .npy files, which a script could read; expected one "
            "that embed 0.2 or later trained"
        )
    if captions.asks_counts(step):
        raise ConfigError(f"as: there is no script of a step of {step.task} yet")
    about_text = step.examples[0].centre is None
    lines = [
        f"# One step of {step.task} on {step.text!r}, as embed explain takes it.",
        *IMPORTS[library],
        f"folder = {step.folder!r}",
        *(_text(step, library) if about_text else _words(step, library)),
        *_step(step),
    ]
    return "\n".join(lines) + "\n"


def _words(step: Step, library: str) -> Iterator[str]:
    """Yield the lines that compute the loss and gradients of skip-gram or CBOW."""
    places = [place for place, token in enumerate(step.tokens) if token.kept]
    number = {place: order for order, place in enumerate(places)}
    tile, examples = step.settings.tile, step.examples
    if step.task == "skipgram":
        near = [[c.place for c in each.candidates if c.target] for each in examples]
    else:
        near = [list(each.inputs) for each in examples]
    around = [[number[place] for place in each if place is not None] for each in near]
    drawn = [[c.id for c in each.candidates if not c.target] for each in examples[::tile]]
    samples = len(drawn[0])
    own = step.task == "skipgram"
    inputs, right = ("[place]", "near") if own else ("near", "[place]")
    share = f"{'len(near) * ' if own else ''}{step.settings.negatives} / {samples}"
    yield f"words = np.array({[step.tokens[place].id for place in places]})  # rows of the text"
    yield f"around = {around}  # places in the window of each word"
    yield f"drawn = np.array({drawn})  # rows of the negative samples"
    yield from _weights({"table": "table", "output": "head.output"})
    if library == "keras":
        layers = "keras.layers.Embedding(*w.shape, weights=[w]) for w in weights.values()"
        yield f"W, O = ({layers})"
    else:
        yield PARAMETERS[library].format(names="W, O")
    yield "loss, gradients = 0, {name: np.zeros(w.shape) for name, w in weights.items()}"
    damped = step.optimizer["name"] == "damped_sgd"
    if damped:
        yield "curvature = {name: np.zeros(len(w)) for name, w in weights.items()}"
    yield "for place, near in enumerate(around):"
    yield f"    ids = np.concatenate([words[{right}], drawn[place // {tile}]])"
    yield f"    target = np.repeat([1, 0], [len({right}), {samples}])"
    yield f"    weight = np.where(target == 1, 1, {share})"
    lines = WORDS[library]
    if damped and library == "numpy":
        lines = [*lines, *CURVATURE]
    elif damped:
        lines = ['    h = weights["table"][words[{inputs}]].mean(axis=0)', *CURVATURE, *lines]
    yield from (line.format(inputs=inputs) for line in lines)
    names = "[W.embeddings, O.embeddings]" if library == "keras" else "W, O"
    yield from (line.format(names=names) for line in BACKWARD[library])
    changed = {change.row for change in step.changes if change.parameter == "output"}
    outer = "np.union1d(words, drawn)"
    padding = changed.difference([token.id for token in step.tokens], *drawn)
    if padding:  # a row that fills up the batch, which weight decay changes
        outer = f"np.union1d({outer}, {sorted(each for each in padding if each is not None)})"
    yield f'rows = {{"table": {_changed_rows(step, "table")}, "output": {outer}}}'


def _text(step: Step, library: str) -> Iterator[str]:
    """Yield the lines that compute the loss and gradients of classify or regress."""
    of, example = step.settings, step.examples[0]
    ids = [step.tokens[place].id for place in example.inputs]
    dense = [change for change in step.changes if change.row is None]
    hidden = any(change.parameter == "hidden.weight" for change in dense)
    padding = (of.length or 0) - len(ids)
    left = padding if of.pad_side == "left" else 0
    sides = {"left": left, "right": padding - left, "dim": step.shape[1]}
    pool, *back = [each.format(**sides) for each in POOLS[library][of.pool]]
    yield f"ids = np.array({ids})  # the rows that the text looks up"
    ngrams = [each.row for each in step.ngrams if each.row is not None]
    tables = {"table": "table"} | ({"ngrams": "head.ngrams"} if step.ngrams else {})
    yield from _weights(tables | {each.parameter: f"head.{each.parameter}" for each in dense})
    if step.ngrams:
        yield f"ngrams = np.array({ngrams}, int)  # rows of the n-grams of its words"
        if of.pool == "mean":  # over all n-grams: those not met in training are zeros
            count = len(ids) + len(step.ngrams)
            pool = MEAN_OF_MORE[library].format(count=count)
            back = [f"np.tile(slope / {count}, (len(rows), 1))"]
        else:
            back = ["np.tile(slope, (len(rows), 1))"]
    # 1. The target.
    kind = "squared" if step.task == "regress" else "sigmoid" if of.multi_label else "softmax"
    targets = [each.target for each in example.candidates]
    if kind == "softmax":
        yield f"right = {targets.index(1)}  # the right label"
    elif kind == "sigmoid":
        weights = [each.weight for each in example.candidates]
        yield f"target, weight = np.array({targets}), np.array({weights})"
    else:
        yield f"target = np.array({targets})  # standard scores"
    keep = None if step.dropout is None else f"np.array({step.dropout.tolist()})"
    if keep is not None:
        yield f'keep = {keep}.astype("float32")  # dropout'
    # 2. The outputs x.
    names = ", ".join(["W", *(["G"] if step.ngrams else []), *(["H, c"] if hidden else []), "U, b"])
    if library == "keras":
        width = next(c.before.shape[0] for c in dense if c.parameter == "output.weight")
        more = ' + len(weights["ngrams"])' if step.ngrams else ""
        layers = [f"keras.layers.Embedding({step.shape[0]}{more}, {step.shape[1]})", pool]
        if hidden:
            layers.append(f'keras.layers.Dense({width}, activation="relu")')
        if keep is not None:
            layers.append("keras.layers.Lambda(lambda pooled: ops.multiply(pooled, keep))")
        layers.append(f"keras.layers.Dense({len(targets)})")
        yield "# Keras 3 has no input_length: an Embedding takes texts of any length."
        yield f"model = keras.Sequential([{', '.join(layers)}])"
        arrays = "list(weights.values())"
        if step.ngrams:  # one table, the rows of n-grams after those of words
            yield f"ids = np.concatenate([ids, {step.shape[0]} + ngrams])"
            yield "table, ngram_table, *head = weights.values()"
            arrays = "[np.concatenate([table, ngram_table]), *head]"
        yield "model.build((1, len(ids)))"
        yield f"model.set_weights({arrays})"
        yield "x = model(ids[None])[0]"
    else:
        yield PARAMETERS[library].format(names=names)
        join = "np.concatenate" if library == "numpy" else "torch.cat"
        yield f"rows = {join}([W[ids], G[ngrams]])" if step.ngrams else "rows = W[ids]"
        yield f"pooled = vector = {pool}"
        if hidden:
            relu = "np.maximum" if library == "numpy" else "torch.clamp_min"
            yield f"vector = relued = {relu}(pooled @ H + c, 0)"
        if keep is not None:
            tensor = "torch.tensor(keep)" if library == "torch" else "keep"
            yield f"vector = vector * {tensor}"
        yield "x = vector @ U + b"
    # 3. The loss, and back to the rows.
    yield from LOSSES[library][kind]
    if library == "numpy":
        yield 'gradients = {"output.weight": np.outer(vector, slope), "output.bias": slope}'
        yield "slope = U @ slope"
        if keep is not None:
            yield "slope = slope * keep"
        if hidden:
            yield "slope = slope * (relued > 0)"
            yield 'gradients |= {"hidden.weight": np.outer(pooled, slope), "hidden.bias": slope}'
            yield "slope = H @ slope"
        yield 'gradients["table"] = np.zeros(W.shape)'
        if step.ngrams:
            yield f"slopes = {back[0]}"
            yield 'gradients["ngrams"] = np.zeros(G.shape)'
            yield 'np.add.at(gradients["ngrams"], ngrams, slopes[len(ids) :])'
        added = "slopes[: len(ids)]" if step.ngrams else back[0]
        yield f'np.add.at(gradients["table"], ids, {added})'
    named = "model.trainable_variables" if library == "keras" else names
    if step.ngrams and library == "keras":
        yield "loss.backward()"
        yield "both, *rest = [w.value.grad.numpy() for w in model.trainable_variables]"
        yield f"split = [both[: {step.shape[0]}], both[{step.shape[0]} :]]"
        yield "gradients = dict(zip(weights, split + rest))"
    else:
        yield from (line.format(names=named) for line in BACKWARD[library])
    whole = "{name: np.arange(len(w)) for name, w in weights.items()}"
    read = {name: _changed_rows(step, name) for name in tables}
    yield f"rows = {whole} | {read}"
    if step.optimizer["name"] == "damped_sgd":
        yield "curvature = {name: np.zeros(len(w)) for name, w in weights.items()}"
        for name in tables:
            own = [each.curvature for each in step.changes if each.parameter == name]
            yield f'curvature["{name}"][rows["{name}"]] = {own}'


def _weights(files: dict[str, str]) -> Iterator[str]:
    """Yield the lines that read the parameters; what changes in memory stays out of the files."""
    yield f"files = {files}"
    load = 'np.load(f"{folder}/{file}.npy", mmap_mode="c")'
    yield f"weights = {{name: {load} for name, file in files.items()}}"


def _changed_rows(step: Step, name: str) -> list[int]:
    rows = (change.row for change in step.changes if change.parameter == name)
    return [row for row in rows if row is not None]


def _step(step: Step) -> Iterator[str]:
    """Yield the lines that take the optimizer's step and print it all."""
    of, name = step.settings, step.optimizer["name"]
    if of.freeze == "all":
        yield 'del rows["table"], gradients["table"]  # it is frozen'
    elif of.freeze == "found":
        yield 'frozen = np.load(f"{folder}/trained.npy") == 0'
        yield 'gradients["table"][frozen] = 0'
    if of.clip_norm is not None:
        yield "norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))"
        yield f"shrink = min(1, {of.clip_norm} / norm)"
        yield "gradients = {name: g * shrink for name, g in gradients.items()}"
    # A state that was not saved, or is as before the first step, is zero.
    used = {
        slot: any(change.state_before[slot].any() for change in step.changes)
        for slot in (step.changes[0].state_before if step.changes else ())
    }
    fields = {slot: f"saved({slot!r})" if saved else 0 for slot, saved in used.items()}
    constants = {key: value for key, value in step.optimizer.items() if key != "name"}
    rest = {
        f"one_minus_{key}": f"(1 - {value})"
        for key, value in constants.items()
        if isinstance(value, float)
    }
    lines = STEPS[name]
    if constants.get("momentum"):
        lines = NESTEROV if constants["nesterov"] else MOMENTUM
    yield f"rate = {step.rate}"
    yield 'print(f"loss {loss:.4f}")'
    yield "for name, at in rows.items():  # the other rows have no gradient, and stay"
    yield "    w, g = weights[name], gradients[name][at]"
    if any(used.values()):
        load = 'np.load(f"{folder}/optimizer.{name}.{slot}.npy")[at]'
        yield f"    saved = lambda slot: {load}"
    if constants["weight_decay"]:
        yield f"    w[at] *= 1 - rate * {constants['weight_decay']}"
    yield from (
        f"    {line.format(**constants, **rest, **fields, t=step.number)}" for line in lines
    )
    yield "    for row, slope, after in zip(at, g, w[at]):"
    yield '        print(f"{name}[{row}]  gradient {slope}  after {after}")'
