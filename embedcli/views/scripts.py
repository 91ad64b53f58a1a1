"""An explained step as a script that computes it again, with NumPy, PyTorch or Keras.

A script of ten to thirty lines (some are longer: docs/explain.md) reads the arrays of the model
folder, and prints the loss, each row's gradient and the row after the step. NumPy differentiates by
hand, PyTorch and Keras do it themselves; the step of the optimizer is the formula of
`nn.optimizers` in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embedcli.config import OWN_RATE, PARTS_DAMPING
from embedcli.errors import ConfigError
from embedcli.views import captions

if TYPE_CHECKING:
    from embedcli.explanation import Step

LONGEST = 100  # characters of a line
IMPORTS = {
    "numpy": ["import numpy as np"],
    "torch": ["import numpy as np", "import torch", "from torch.nn import functional as F"],
    "keras": [
        "import os",
        'os.environ["KERAS_BACKEND"] = "torch"  # gradients are found by its backward()',
        "import numpy as np",
        "from keras import Sequential, layers, ops",
    ],
}
TENSORS = {
    "numpy": "weights.values()",
    "torch": "(torch.from_numpy(w).requires_grad_() for w in weights.values())",
    "keras": "(layers.Embedding(*w.shape, weights=[w]) for w in weights.values())",
}
# The sum of the terms of each row of a table: a matrix of one-hot vectors times the terms.
SUM = "sum_of = lambda name, ids, terms: (np.arange(len(weights[name]))[:, None] == ids) @ terms"

# Skip-gram and CBOW: a row of scores for each place, whose vector is h.
WORDS = {
    "numpy": [
        "h = {h}",
        "x = h @ O[asked].T + bias",
        "loss = (weight * np.logaddexp(0, np.where(target == 1, -x, x))).sum()",
        "slope = weight * (1 / (1 + np.exp(-x)) - target)  # of the loss along x",
    ],
    "torch": [
        "x = {h} @ O[asked].T + torch.tensor(bias)",
        "loss = F.binary_cross_entropy_with_logits({target}, torch.tensor(weight), "
        'reduction="sum")',
    ],
    "keras": [
        "x = ops.add(ops.matmul({h}, ops.transpose(O(asked))), bias)",
        "loss = ops.sum(ops.multiply(weight, ops.binary_crossentropy({target}, from_logits=True)))",
    ],
}
TARGETS = {  # of skip-gram, and of CBOW
    "numpy": ("", ""),
    "torch": ("x, torch.tensor(target)", "x, torch.eye({words}, {asked})"),
    "keras": ("target, x", "ops.eye({words}, {asked}), x"),
}
VECTORS = {  # h, of skip-gram, and of CBOW
    "numpy": ("W[words]", "mix @ W[words]"),
    "torch": ("W[words]", "torch.tensor(mix) @ W[words]"),
    "keras": ("W(words)", "ops.matmul(mix, W(words))"),
}
# GloVe: the score of each pair of words is to be the logarithm of its count.
COUNTS = {
    "numpy": [
        "x = (W[first] * O[second]).sum(axis=1) + b[first, 0] + c[second, 0]",
        "loss = (weight / 2 * (x - np.log(count)) ** 2).sum()",
        "slope = (weight * (x - np.log(count)))[:, None]  # of the loss along x",
    ],
    "torch": [
        "x = (W[first] * O[second]).sum(axis=1) + b[first, 0] + c[second, 0]",
        "loss = (torch.tensor(weight) / 2 * (x - torch.tensor(np.log(count))) ** 2).sum()",
    ],
    "keras": [
        "x = ops.sum(W(first) * O(second), axis=1) + b(first)[:, 0] + c(second)[:, 0]",
        "loss = ops.vdot(weight / 2, ops.square(ops.subtract(x, np.log(count))))",
    ],
}

# Classify and regress: rows of the words to one vector; and back, by hand.
POOLS = {
    "numpy": {
        "mean": "rows.mean(axis=0)",
        "mean of more": "rows.sum(axis=0) / {count}",  # n-grams not met in training are zeros
        "sum": "rows.sum(axis=0)",
        "max": "rows.max(axis=0)",
        "flatten": "np.pad(rows, (({left}, {right}), (0, 0))).ravel()",
    },
    "torch": {
        "mean": "rows.mean(axis=0)",
        "mean of more": "rows.sum(axis=0) / {count}",  # n-grams not met in training are zeros
        "sum": "rows.sum(axis=0)",
        "max": "rows.amax(axis=0)",
        "flatten": "F.pad(rows, (0, 0, {left}, {right})).flatten()",
    },
    "keras": {
        "mean": "layers.GlobalAveragePooling1D()",
        "mean of more": "layers.Lambda(lambda rows: ops.sum(rows, axis=1) / {count})",
        "sum": "layers.Lambda(lambda rows: ops.sum(rows, axis=1))",
        "max": "layers.GlobalMaxPooling1D()",
        "flatten": "layers.ZeroPadding1D(({left}, {right})), layers.Flatten()",
    },
}
UNITS = {  # a hidden layer, and dropout
    "numpy": ("np.maximum(pooled @ H + c, 0)", " * keep"),
    "torch": ("torch.relu(pooled @ H + c)", " * torch.tensor(keep)"),
}
BACK = {
    "mean": "slope / {count}",  # of words, and of n-grams, also those not met in training
    "sum": "slope",
    "max": "slope * (rows == pooled) / (rows == pooled).sum(axis=0)",
    "flatten": "slope.reshape(-1, {dim})[{left} : {left} + len(ids)]",
}
LOSSES = {
    "numpy": {
        "softmax": [
            "loss = np.logaddexp.reduce(x) - x[right]",
            "slope = np.exp(x - np.logaddexp.reduce(x)) - (np.arange(len(x)) == right)",
        ],
        "sigmoid": [
            "loss = weight @ np.logaddexp(0, np.where(target == 1, -x, x))",
            "slope = weight * (1 / (1 + np.exp(-x)) - target)",
        ],
        "squared": ["loss = ((x - target) ** 2).mean()", "slope = 2 * (x - target) / len(x)"],
    },
    "torch": {
        "softmax": ["loss = F.cross_entropy(x, torch.tensor(right))"],
        "sigmoid": [WORDS["torch"][1].format(target="x, torch.tensor(target)")],
        "squared": ["loss = F.mse_loss(x, torch.tensor(target))"],
    },
    "keras": {
        "softmax": ["loss = -ops.log_softmax(x)[right]"],
        "sigmoid": [WORDS["keras"][1].format(target="target, x")],
        "squared": ["loss = ops.mean(ops.square(ops.subtract(x, target)))"],
    },
}

# Steps of the optimizers, on the rows `at` with the gradient g.
STEPS = {
    "sgd": ["w[at] -= {rate} * g"],
    "rmsprop": [
        "square = {rho} * {square} + (1 - {rho}) * g * g",
        "w[at] -= {rate} * g / np.sqrt(square + {epsilon})",
    ],
    "adagrad": ["w[at] -= {rate} * g / (np.sqrt({square} + g * g) + {epsilon})"],
    "adam": [
        "mean = {beta_1} * {mean} + (1 - {beta_1}) * g",
        "square = {beta_2} * {square} + (1 - {beta_2}) * g * g",
        "w[at] -= {rate} * np.sqrt(1 - {beta_2}**{t}) / (1 - {beta_1}**{t}) * mean"
        " / (np.sqrt(square) + {epsilon})",
    ],
    "damped_sgd": ["w[at] -= ({rate} / (1 + {rate} * {damping} * curvature[name][at]) * g.T).T"],
}
MOMENTUM = ["velocity = {momentum} * {velocity} - {rate} * g", "w[at] += velocity"]
NESTEROV = [MOMENTUM[0], "w[at] += {momentum} * velocity - {rate} * g"]
SHOWN = [
    "    for row, slope, after in zip(at, g, w[at]):",
    '        print(f"{name}[{row}]  gradient {slope}  after {after}")',
]


def script(step: Step, library: str) -> str:
    """Return a script that takes the step of a saved model.

    Raises ConfigError for a model that is no folder of `.npy` files.
    """
    if step.folder is None:
        raise ConfigError(
            "as: the model is not a folder of .npy files, which a script could read; expected one "
            "that embed 0.2 or later trained"
        )
    lines_of = _words
    if step.examples[0].centre is None:
        lines_of = _text
    elif captions.asks_counts(step):
        lines_of = _counts
    lines = [
        f"# One step of {step.task} on {step.text!r}, as embed explain takes it.",
        *IMPORTS[library],
        f'read = lambda name: np.load({step.folder + "/"!r} + name + ".npy", mmap_mode="c")',
        *lines_of(step, library),
    ]
    return "\n".join(lines) + "\n"


def _words(step: Step, library: str) -> Iterator[str]:
    """Yield the lines of skip-gram or CBOW."""
    of, examples, own = step.settings, step.examples, step.task == "skipgram"
    places = [place for place, token in enumerate(step.tokens) if token.kept]
    number = {place: order for order, place in enumerate(places)}
    ids = [step.tokens[place].id for place in places]
    drawn = [[c.id for c in each.candidates if not c.target] for each in examples[:: of.tile]]
    words, samples = len(ids), len(drawn[0])
    asked = [*ids, *(each for tile in drawn for each in tile)]
    reach = []  # of each window
    for place, each in enumerate(examples):
        near = [c.place for c in each.candidates if c.target] if own else each.inputs
        distances = [abs(number[other] - place) for other in near if other is not None]
        reach.append(max(distances, default=0))
    files = {"table": "table", "output": "head.output"}
    files |= {"parts": "head.parts"} if step.composed else {}
    yield from _assigned("weights", {name: f'read("{file}")' for name, file in files.items()})
    variables = "W, O, P" if step.composed else "W, O"
    yield f"{variables} = {TENSORS[library]}"
    yield f"words = np.array({ids})  # rows of the text"
    yield f"asked = np.array({asked})  # and of the negative samples"
    if step.weights["output_bias"].rows.any():
        yield 'bias = read("head.output_bias")[asked, 0]  # fixed'
    else:
        yield "bias = 0.0  # this model was trained without"
    # 1. The target and the weight of each answer. Each tile of the text has its own samples.
    shares = f"np.full(({words}, {samples}), {of.negatives} / {samples})"
    if len(drawn) > 1:
        each_tile = f"np.full(({of.tile}, {samples}), {of.negatives} / {samples})"
        shares = f"np.kron(np.eye({len(drawn)}), {each_tile})[:{words}]"
    if own:
        within = f"j < {words} and 0 < abs(i - j) <= reach for j in range({len(asked)})"
        yield f'target = np.array([[{within}] for i, reach in enumerate({reach})], "float32")'
        right, shares = f"target[:, :{words}]", f"target.sum(axis=1, keepdims=True) * {shares}"
    else:
        mean = f"(0 < abs(i - j) <= reach) / near for j in range({words})"
        both = [(far, len(each.inputs)) for far, each in zip(reach, examples, strict=True)]
        yield f'mix = np.array([[{mean}] for i, (reach, near) in enumerate({both})], "float32")'
        if library == "numpy":
            yield f"target = np.eye({words}, {len(asked)})"
        right = f"np.eye({words})"
    yield f'weight = np.hstack([{right}, {shares}]).astype("float32")'
    # 2. The loss, the gradients, and the curvature.
    target = TARGETS[library][not own].format(words=words, asked=len(asked))
    vectors = VECTORS[library][not own]
    yield from (line.format(h=vectors, target=target) for line in WORDS[library])
    h, slopes = VECTORS["numpy"][not own], "slope @ O[asked]"
    curvature = "weight @ (O[asked] ** 2).sum(axis=1)"
    if not own:
        slopes, curvature = f"mix.T @ ({slopes})", f"(mix**2).T @ ({curvature})"
    yield from _gradients(
        step,
        library,
        table=("W", "words", slopes, curvature),
        output=("O", "asked", "slope.T @ h", f"weight.T @ (({h}) ** 2).sum(axis=1)"),
    )
    rows = _rows(step, {"table": ("words", ids), "output": ("asked", asked)})
    if not step.composed:
        yield from _steps(step, _dict(rows))
        yield from SHOWN
        return
    # 3. The parts of a word get its gradient, and its vector moves by the mean of how they move.
    entries = [
        (
            word.id,
            part.row,
            OWN_RATE if part.row == word.id else 1,
            part.share,
            part.share * len(word.parts),
        )
        for word in step.composed
        for part in word.parts
    ]
    columns = ", ".join(str(list(column)) for column in zip(*entries, strict=True))
    yield f"owner, part, rate, share, total = map(np.array, [{columns}])  # of words' n-grams"
    taken = 'gradients["table"]'
    if step.optimizer["name"] == "damped_sgd":  # less damping, but for what words have in common
        common = 'gradients["table"].sum(0) / curvature["table"].sum()'
        yield f'taken = {taken} - {1 - PARTS_DAMPING} * curvature["table"][:, None] * {common}'
        damping = f'{PARTS_DAMPING} * curvature["table"][owner] / share'
        yield f'curvature["parts"] = sum_of("parts", part, {damping})'
        taken = "taken"
    yield f'gradients["parts"] = sum_of("parts", part, rate[:, None] * {taken}[owner])'
    yield from _steps(step, _dict({"parts": "np.unique(part)", "output": rows["output"]}))
    moved = '(weights["parts"] - read("head.parts"))[part] / total[:, None]'
    yield f'np.add.at(weights["table"], owner, {moved})'
    rows_of = "for name, g in gradients.items() for row in np.flatnonzero(g.any(axis=1))"
    yield f"for name, row, g in [(name, row, g[row]) {rows_of}]:"
    yield '    print(f"{name}[{row}]  gradient {g}  after {weights[name][row]}")'


def _counts(step: Step, library: str) -> Iterator[str]:
    """Yield the lines of GloVe."""
    of = step.settings
    pairs = [(step.tokens[each.inputs[0]].id, c) for each in step.examples for c in each.candidates]
    first, second = [index for index, _ in pairs], [c.id for _, c in pairs]
    counts = [round(c.target_in_units, 6) for _, c in pairs]
    files = {"table": "head.input" if of.sum_tables else "table", "output": "head.output"}
    files |= {"bias": "head.bias", "output_bias": "head.output_bias"}
    yield from _assigned("weights", {name: f'read("{file}")' for name, file in files.items()})
    yield f"W, O, b, c = {TENSORS[library]}"
    yield f"first = np.array({first})  # a word of the text,"
    yield f"second = np.array({second})  # a word near it,"
    yield f'count = np.array({counts}, "float32")  # and how often they stand so'
    yield f"weight = np.minimum(count / {of.x_max:g}, 1) ** {of.alpha:g}"
    yield from COUNTS[library]
    yield from _gradients(
        step,
        library,
        table=("W", "first", "slope * O[second]", "weight * (O[second] ** 2).sum(axis=1)"),
        output=("O", "second", "slope * W[first]", "weight * (W[first] ** 2).sum(axis=1)"),
        bias=("b", "first", "slope", "weight"),
        output_bias=("c", "second", "slope", "weight"),
    )
    asked: dict[str, tuple[str, Sequence[Any]]]
    asked = {"table": ("first", first), "output": ("second", second)}
    asked |= {"bias": asked["table"], "output_bias": asked["output"]}
    yield from _assigned("rows", _rows(step, asked))
    yield from _steps(step, "rows")
    yield from SHOWN


def _text(step: Step, library: str) -> Iterator[str]:
    """Yield the lines of classify or regress."""
    of, example = step.settings, step.examples[0]
    ids = [step.tokens[place].id for place in example.inputs]
    ngrams = [each.row for each in step.ngrams if each.row is not None]
    dense = [change.parameter for change in step.changes if change.row is None]
    hidden, dropout = "hidden.weight" in dense, step.dropout
    yield f"head = {(['ngrams'] if step.ngrams else []) + dense}"
    yield 'weights = {"table": read("table")} | {name: read("head." + name) for name in head}'
    joined = step.ngrams and library == "keras"  # in one table, the n-grams after all words
    if joined:
        both = [*ids, *(step.shape[0] + each for each in ngrams)]
        yield f"ids = np.array({both})  # rows of the words, and of the n-grams after all words"
    else:
        yield f"ids = np.array({ids})  # the rows that the text looks up"
        if step.ngrams:
            yield f"ngrams = np.array({ngrams}, int)  # and those of the n-grams of its words"
    # 1. The target.
    kind = "squared" if step.task == "regress" else "sigmoid" if of.multi_label else "softmax"
    targets = [each.target for each in example.candidates]
    if kind == "softmax":
        yield f"right = {targets.index(1)}  # the right label"
    else:
        yield f'target = np.array({targets}, "float32")'
    if kind == "sigmoid":
        weights = [each.weight for each in example.candidates]
        yield f'weight = np.array({weights}, "float32") / {sum(weights):g}'
    if dropout is not None:
        kept = [unit for unit, factor in enumerate(dropout.tolist()) if factor]
        factor = f"np.float32({max(dropout.tolist())})"
        yield f"keep = np.isin(np.arange({len(dropout)}), {kept}) * {factor}  # dropout"
    # 2. The outputs x.
    padding, count = (of.length or 0) - len(ids), len(ids) + len(step.ngrams)
    left = padding if of.pad_side == "left" else 0
    sizes = {"left": left, "right": padding - left, "dim": step.shape[1], "count": count}
    pool = POOLS[library]["mean of more" if step.ngrams and of.pool == "mean" else of.pool]
    pool = pool.format(**sizes)
    variables = ", ".join(["W", *["G"] * bool(step.ngrams), *["H, c"] * hidden, "U, b"])
    vector = "vector" if hidden or dropout is not None else "pooled"
    if library == "keras":
        kinds = [f"layers.Embedding({step.shape[0]}, {step.shape[1]})", pool]
        if joined:
            rows = f'{step.shape[0]} + len(weights["ngrams"])'
            kinds[0] = f"layers.Embedding({rows}, {step.shape[1]})"
        if hidden:
            width = next(c.before.shape[0] for c in step.changes if c.parameter == "output.weight")
            kinds.append(f'layers.Dense({width}, activation="relu")')
        if dropout is not None:
            kinds.append("layers.Lambda(lambda vector: vector * ops.convert_to_tensor(keep))")
        yield "# Keras 3 has no input_length: an Embedding takes texts of any length."
        kinds.append(f"layers.Dense({len(targets)})")
        fit = len(kinds) if len(", ".join(kinds)) <= LONGEST - len("model = Sequential([])") else 2
        yield f"model = Sequential([{', '.join(kinds[:fit])}])"
        yield from (f"model.add({kind})" for kind in kinds[fit:])
        if joined:
            yield "table, ngram_table, *rest = weights.values()"
        yield "model.build((1, len(ids)))"
        arrays = "[np.concatenate([table, ngram_table]), *rest]"
        yield f"model.set_weights({arrays if joined else 'list(weights.values())'})"
        yield "x = model(ids[None])[0]"
    else:
        yield f"{variables} = {TENSORS[library]}"
        join = "np.concatenate" if library == "numpy" else "torch.cat"
        yield f"rows = {join}([W[ids], G[ngrams]])" if step.ngrams else "rows = W[ids]"
        yield f"pooled = {pool}"
        relu, mask = UNITS[library]
        if hidden:
            yield f"vector = {relu}{mask * (dropout is not None)}"
        elif dropout is not None:
            yield f"vector = pooled{mask}"
        yield f"x = {vector} @ U + b"
    # 3. The loss, and back to the rows.
    yield from LOSSES[library][kind]
    if library == "numpy":
        yield f'gradients = {{"output.weight": np.outer({vector}, slope), "output.bias": slope}}'
        yield f"slope = U @ slope{' * (vector > 0)' * hidden}{' * keep' * (dropout is not None)}"
        if hidden:
            yield 'gradients |= {"hidden.weight": np.outer(pooled, slope), "hidden.bias": slope}'
            yield "slope = H @ slope"
        zeros = {"table": "np.zeros(W.shape)"} | ({"ngrams": "np.zeros(G.shape)"} if ngrams else {})
        yield f"gradients |= {_dict(zeros)}"
        back = BACK[of.pool].format(**sizes)
        yield f'np.add.at(gradients["table"], ids, {back})'
        if step.ngrams:
            yield f'np.add.at(gradients["ngrams"], ngrams, {back})'
    else:
        yield "loss.backward()"
        grads = f"w.grad.numpy() for w in [{variables}]"
        if library == "keras":
            grads = "w.value.grad.numpy() for w in model.trainable_variables"
        if joined:
            yield f"both, *rest = ({grads})"
            size = step.shape[0]
            yield f"gradients = dict(zip(weights, [both[:{size}], both[{size}:], *rest]))"
        else:
            yield f"gradients = dict(zip(weights, ({grads})))"
    yield from _settled(step)
    if step.optimizer["name"] == "damped_sgd":
        yield "curvature = {name: np.zeros(len(w)) for name, w in weights.items()}"
        once = "np.unique(ids)" if of.pool in ("mean", "sum") else "ids"  # as a look-up, or each
        yield f'np.add.at(curvature["table"], {once}, 1)'
        if step.ngrams:
            yield 'curvature["ngrams"][:] = 1'
    asked: dict[str, tuple[str, Sequence[Any]]] = {"table": ("ids", ids)}
    asked["ngrams"] = ("ngrams", ngrams)
    if joined:
        asked = {"table": ("", []), "ngrams": ("", [])}
    changed = {"table": "np.array([], int)"} | _rows(step, asked)
    yield "rows = {name: np.arange(len(w)) for name, w in weights.items()}"
    yield from _steps(step, f"(rows | {_dict(changed)})")
    yield from SHOWN


def _dict(entries: Mapping[str, str]) -> str:
    """Return the code of a dict of expressions."""
    return "{" + ", ".join(f'"{key}": {value}' for key, value in entries.items()) + "}"


def _rows(step: Step, read: Mapping[str, tuple[str, Sequence[Any]]]) -> dict[str, str]:
    """Return which rows of each table change: those read, but for frozen and filled-up ones."""
    rows = {}
    for name, (variable, ids) in read.items():
        changed = [change.row for change in step.changes if change.parameter == name]
        if changed:
            same = set(changed) == set(ids)
            rows[name] = f"np.unique({variable})" if same else f"np.array({changed})"
    return rows


def _gradients(step: Step, library: str, **tables: tuple[str, str, str, str]) -> Iterator[str]:
    """Yield the lines that sum up the gradients of the rows of tables, and their curvature.

    Of each table: its variable, the variable of the rows that were read, the gradient of each of
    them along the loss (NumPy), and its curvature.
    """
    damped = step.optimizer["name"] == "damped_sgd"
    variables, ids, slopes, curvature = zip(*tables.values(), strict=True)

    def summed(terms: Sequence[str]) -> dict[str, str]:
        of = zip(tables, ids, terms, strict=True)
        return {name: f'sum_of("{name}", {rows}, {each})' for name, rows, each in of}

    if library == "numpy" or damped or step.composed:
        yield SUM
    if library == "numpy":
        yield from _assigned("gradients", summed(slopes))
    else:
        yield "loss.backward()"
        gradient = "w.grad" if library == "torch" else "w.embeddings.value.grad"
        found = f"{gradient}.numpy() for w in ({', '.join(variables)})"
        yield f"gradients = dict(zip(weights, ({found})))"
    yield from _settled(step)
    if damped:
        if library != "numpy":  # of the arrays, not of the tensors
            for name, variable in zip(tables, variables, strict=True):
                curvature = tuple(
                    each.replace(f"{variable}[", f'weights["{name}"][') for each in curvature
                )
        yield from _assigned("curvature", summed(curvature))


def _assigned(variable: str, entries: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that make a dict of expressions, each with as many as fit."""
    line, sign = "", "="
    for key, value in entries.items():
        longer = f'{line}, "{key}": {value}' if line else f'{variable} {sign} {{"{key}": {value}'
        if line and len(longer) >= LONGEST:
            yield line + "}"
            sign, longer = "|=", f'{variable} |= {{"{key}": {value}'
        line = longer
    yield line + "}"


def _settled(step: Step) -> Iterator[str]:
    """Yield the lines that take gradients from frozen rows, and clip the others."""
    of = step.settings
    if of.freeze == "found":
        yield 'gradients["table"][read("trained") == 0] = 0  # they are frozen'
    if of.clip_norm is not None:
        if of.freeze == "all":
            yield 'del gradients["table"]  # it is frozen'
        yield "norm = np.sqrt(sum((g**2).sum() for g in gradients.values()))"
        shrunk = f"g * min(1, {of.clip_norm} / norm)"
        yield f"gradients = {{name: {shrunk} for name, g in gradients.items()}}"


def _steps(step: Step, rows: str) -> Iterator[str]:
    """Yield the lines that print the loss and take the optimizer's step on some rows."""
    # A state that was not saved, or is as before the first step, is zero.
    fields: dict[str, str] = {}
    for change in step.changes:
        for slot, state in change.state_before.items():
            if state.any() or slot not in fields:
                fields[slot] = f'read(f"optimizer.{{name}}.{slot}")[at]' if state.any() else "0"
    constants = {key: value for key, value in step.optimizer.items() if key != "name"}
    lines = STEPS[step.optimizer["name"]]
    if constants.get("momentum"):
        lines = NESTEROV if constants["nesterov"] else MOMENTUM
    yield 'print(f"loss {loss:.4f}")'
    yield f"for name, at in {rows}.items():"
    yield "    w, g = weights[name], gradients[name][at]  # the other rows stay"
    if constants["weight_decay"]:
        yield f"    w[at] *= 1 - {step.rate} * {constants['weight_decay']}"
    for line in lines:
        yield "    " + line.format(**constants, **fields, rate=step.rate, t=step.number)
