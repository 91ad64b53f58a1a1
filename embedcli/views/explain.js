"use strict";
// One step of learning, to step through: the rows a text looks up, the loss, its gradients and the
// optimizer's step, computed here again from the numbers in the page, as often as one likes.
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const { task, optimizer, examples, text } = data;
  const LEVELS = 8; // shades of a number on each side of zero
  const NUMBERS = 12; // of a row: so many are written, more are cells of colour
  const CELLS = 100; // of a row that are shown
  const ROWS = 20; // of a parameter that are shown
  const ANSWERS = 10; // negative samples of an example that are shown unfolded

  // ---- Sentences: those of the catalogue, with their fields filled in ------------------------

  const FORMATS = {
    "": String,
    ",": (value) => value.toLocaleString("en"),
    g: (value) => String(Number(value.toPrecision(6))),
  };
  const formatted = (value, spec) => {
    const digits = /^\.(\d+)([fg])$/.exec(spec);
    if (!digits) return FORMATS[spec](value);
    if (digits[2] === "f") return value.toFixed(digits[1]);
    return String(Number(value.toPrecision(digits[1])));
  };
  const say = (key, fields = {}) => {
    let template = data.messages[key];
    if (typeof template !== "string") {
      template = data.one.includes(fields.count) ? template.one : template.other;
    }
    return template.replace(/\{(\w+):?([^}]*)\}/g, (_, name, spec) => formatted(fields[name], spec));
  };

  // ---- The step ------------------------------------------------------------------------------

  // A parameter: rows of numbers (a vector has one row), the optimizer's state, which rows it moves.
  const start = () =>
    Object.fromEntries(
      Object.entries(data.parameters).map(([name, of]) => [
        name,
        {
          ...of,
          rows: of.rows.map((row) => Float64Array.from(row)),
          state: Object.fromEntries(
            Object.entries(of.state).map(([slot, rows]) => [
              slot,
              rows.map((row) => Float64Array.from(row)),
            ]),
          ),
        },
      ]),
    );
  const zeros = (rows) => rows.map((row) => new Float64Array(row.length));
  const dot = (a, b) => a.reduce((sum, each, i) => sum + each * b[i], 0);
  const add = (onto, row, factor = 1) => row.forEach((each, i) => (onto[i] += factor * each));
  const scaled = (row, factor) => row.map((each) => each * factor);
  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

  class Found {
    // Gradients of every parameter, their curvature, and the part of each look-up.
    constructor(parameters) {
      this.loss = 0;
      this.gradients = {};
      this.curvature = {};
      this.parts = {};
      for (const [name, { rows }] of Object.entries(parameters)) {
        this.gradients[name] = zeros(rows);
        this.curvature[name] = new Float64Array(rows.length);
        this.parts[name] = rows.map(() => []);
      }
    }
    put(name, index, gradient, from = "") {
      add(this.gradients[name][index], gradient);
      this.parts[name][index].push([from, gradient]);
    }
  }

  // Where words are composed of parts, their vectors are the means of these, of which some share a row.
  const compose = ({ table, parts }) => {
    for (const [index, of] of data.composed) {
      table.rows[index].fill(0);
      for (const [part, share] of of) add(table.rows[index], parts.rows[part], 1 / (share * of.length));
    }
  };
  // Each part gets the whole gradient of a word, a word's own row half of it (OWN_RATE). Damped, what
  // differs from word to word has half the curvature (PARTS_DAMPING).
  const spread = (parameters, found) => {
    const [gradients, curvature] = [found.gradients.table, found.curvature.table];
    const half = optimizer.name === "damped_sgd" ? 0.5 : 0;
    const mean = new Float64Array(data.shape[1]);
    const total = data.composed.reduce((sum, [index]) => sum + curvature[index], 0);
    for (const [index] of data.composed) add(mean, gradients[index], 1 / total);
    for (const [index, of] of data.composed) {
      const taken = gradients[index].slice();
      add(taken, mean, -half * curvature[index]);
      for (const [part, share] of of) {
        const own = parameters.parts.ids[part] < data.shape[0];
        add(found.gradients.parts[part], taken, own ? 0.5 : 1);
        found.curvature.parts[part] += ((1 - half) * curvature[index]) / share;
      }
    }
  };

  // GloVe: the score of a word and one near it is the predicted logarithm of their count.
  const counts = (parameters) => {
    const found = new Found(parameters);
    const [table, output, bias, outer] = ["table", "output", "bias", "output_bias"].map((name) => parameters[name].rows);
    found.examples = examples.map(({ title, inputs: [index], candidates }) =>
      candidates.map(({ index: near, name, target, weight }) => {
        const x = dot(table[index], output[near]) + bias[index][0] + outer[near][0];
        const slope = weight * (x - target);
        const loss = (slope * (x - target)) / 2;
        found.loss += loss;
        for (const [parameter, at, row, from] of [
          ["table", index, output[near], name],
          ["output", near, table[index], title],
          ["bias", index, [1], name],
          ["output_bias", near, [1], title],
        ]) {
          found.put(parameter, at, scaled(row, slope), from);
          found.curvature[parameter][at] += weight * dot(row, row);
        }
        return { prediction: Math.exp(x), error: Math.abs(x - target), loss };
      }),
    );
    return found;
  };

  // Skip-gram and CBOW: the mean of the input rows is scored with the rows of the candidates, whose
  // biases are not trained.
  const words = (parameters) => {
    const found = new Found(parameters);
    const [table, output, bias] = ["table", "output", "output_bias"].map((name) => parameters[name].rows);
    found.examples = examples.map(({ title, inputs, candidates }) => {
      const share = 1 / inputs.length;
      const hidden = new Float64Array(table[0].length);
      for (const index of inputs) add(hidden, table[index], share);
      const length = dot(hidden, hidden);
      const back = new Float64Array(hidden.length);
      let curvature = 0;
      const answers = candidates.map(({ index, target, weight }) => {
        const row = output[index];
        const x = dot(hidden, row) + bias[index][0];
        const loss = weight * softplus(target ? -x : x);
        const slope = weight * (sigmoid(x) - target);
        found.put("output", index, scaled(hidden, slope), title);
        found.curvature.output[index] += weight * length;
        add(back, row, slope);
        curvature += weight * dot(row, row);
        found.loss += loss;
        return { prediction: sigmoid(x), error: Math.abs(target - sigmoid(x)), loss };
      });
      for (const index of inputs) {
        found.put("table", index, scaled(back, share), title);
        found.curvature.table[index] += curvature * share * share;
      }
      return answers;
    });
    return found;
  };

  // Outputs are standard scores where numbers are learnt.
  const inUnits = (value, i) => (text.scale ? value * text.scale[0][i] + text.scale[1][i] : value);
  // x (M) times a weight of M rows.
  const times = (x, weight, bias) => {
    const result = Float64Array.from(bias);
    x.forEach((each, i) => add(result, weight[i], each));
    return result;
  };
  // Classify and regress: pooled rows, a hidden layer if there is one, outputs.
  const texts = (parameters) => {
    const found = new Found(parameters);
    const value = (name) => parameters[name].rows;
    const table = value("table");
    const rows = text.inputs.map(([name, index]) => value(name)[index]);
    const dim = table[0].length;
    // 1. Forward.
    const pools = {
      sum: () => [...Array(dim).keys()].map((i) => rows.reduce((sum, row) => sum + row[i], 0)),
      mean: () => pools.sum().map((each) => each / text.pooled),
      max: () => [...Array(dim).keys()].map((i) => Math.max(...rows.map((row) => row[i]))),
      flatten: () => [
        ...Array(text.left * dim).fill(0),
        ...rows.flatMap((row) => [...row]),
        ...Array(text.right * dim).fill(0),
      ],
    };
    const pooled = pools[text.pool]();
    let units = pooled;
    if (parameters["hidden.weight"]) {
      units = times(pooled, value("hidden.weight"), value("hidden.bias")[0]).map((each) => Math.max(each, 0));
    }
    const dropped = text.keep ? units.map((each, i) => each * text.keep[i]) : units;
    const x = times(dropped, value("output.weight"), value("output.bias")[0]);
    // 2. Loss.
    const { targets, weights } = text;
    let slopes, predictions, losses;
    if (text.loss === "softmax") {
      const most = Math.max(...x);
      const log = most + Math.log(x.reduce((sum, each) => sum + Math.exp(each - most), 0));
      predictions = x.map((each) => Math.exp(each - log));
      losses = x.map((each, i) => weights[i] * targets[i] * (log - each));
      const weight = dot(targets, weights);
      slopes = predictions.map((each, i) => (weight * (each - targets[i])) / text.count);
    } else if (text.loss === "sigmoid") {
      predictions = x.map(sigmoid);
      losses = x.map((each, i) => weights[i] * softplus(targets[i] ? -each : each));
      slopes = predictions.map((each, i) => (weights[i] * (each - targets[i])) / text.count);
    } else {
      predictions = x.map((each, i) => inUnits(each, i));
      losses = x.map((each, i) => (each - targets[i]) ** 2);
      slopes = x.map((each, i) => (2 * (each - targets[i])) / text.count);
    }
    found.loss = losses.reduce((sum, each) => sum + each, 0) / text.count;
    found.outputs = [...x].map((score, i) => ({ score, prediction: predictions[i], loss: losses[i] }));
    // 3. Backward.
    found.put("output.bias", 0, slopes);
    dropped.forEach((each, i) => found.put("output.weight", i, scaled(slopes, each)));
    let back = Float64Array.from(dropped, (_, i) => dot(value("output.weight")[i], slopes));
    if (text.keep) back = back.map((each, i) => each * text.keep[i]);
    if (parameters["hidden.weight"]) {
      const passed = back.map((each, i) => (units[i] > 0 ? each : 0));
      found.put("hidden.bias", 0, passed);
      pooled.forEach((each, i) => found.put("hidden.weight", i, scaled(passed, each)));
      back = Float64Array.from(pooled, (_, i) => dot(value("hidden.weight")[i], passed));
    }
    const largest = (i) => rows.filter((row) => row[i] === pooled[i]).length;
    text.inputs.forEach(([name, index], place) => {
      const row = rows[place];
      const gradients = {
        sum: () => Float64Array.from(back),
        mean: () => Float64Array.from(back, (each) => each / text.pooled),
        max: () => Float64Array.from(back, (each, i) => (row[i] === pooled[i] ? each / largest(i) : 0)),
        flatten: () => Float64Array.from(back.slice((text.left + place) * dim, (text.left + place + 1) * dim)),
      };
      found.put(name, index, gradients[text.pool](), text.from[place]);
    });
    for (const [name, each] of Object.entries(data.curvature)) found.curvature[name].set(each);
    return found;
  };
  const compute = text ? texts : data.counts ? counts : words;

  // The rules of nn/optimizers.py: weights w and state s of a row, its gradient g, in place.
  const RULES = {
    sgd: (w, s, g, rate) => {
      const { momentum, nesterov } = optimizer;
      g.forEach((each, i) => {
        if (!momentum) return (w[i] -= rate * each);
        s.velocity[i] = momentum * s.velocity[i] - rate * each;
        w[i] += nesterov ? momentum * s.velocity[i] - rate * each : s.velocity[i];
      });
    },
    rmsprop: (w, s, g, rate) => {
      g.forEach((each, i) => {
        s.square[i] = optimizer.rho * s.square[i] + (1 - optimizer.rho) * each * each;
        w[i] -= (rate * each) / Math.sqrt(s.square[i] + optimizer.epsilon);
      });
    },
    adagrad: (w, s, g, rate) => {
      g.forEach((each, i) => {
        s.square[i] += each * each;
        w[i] -= (rate * each) / (Math.sqrt(s.square[i]) + optimizer.epsilon);
      });
    },
    adam: (w, s, g, rate, t) => {
      const { beta_1, beta_2, epsilon } = optimizer;
      const corrected = (rate * Math.sqrt(1 - beta_2 ** t)) / (1 - beta_1 ** t);
      g.forEach((each, i) => {
        s.mean[i] = beta_1 * s.mean[i] + (1 - beta_1) * each;
        s.square[i] = beta_2 * s.square[i] + (1 - beta_2) * each * each;
        w[i] -= (corrected * s.mean[i]) / (Math.sqrt(s.square[i]) + epsilon);
      });
    },
    damped_sgd: (w, s, g, rate, t, curvature) => {
      const damped = rate / (1 + rate * optimizer.damping * curvature);
      g.forEach((each, i) => (w[i] -= damped * each));
    },
  };

  const settle = (parameters, found) => {
    // What the optimizer gets: nothing for frozen rows, and all of it scaled down to the limit.
    let square = 0;
    for (const [name, { trained }] of Object.entries(parameters)) {
      found.gradients[name].forEach((row, index) => {
        if (!trained[index]) row.fill(0);
        square += dot(row, row);
      });
    }
    const norm = Math.sqrt(square);
    if (data.clip_norm === null || norm <= data.clip_norm) return;
    for (const rows of Object.values(found.gradients)) {
      for (const row of rows) row.forEach((each, i) => (row[i] = (each * data.clip_norm) / norm));
    }
  };
  const take = (parameters, found, rate, t) => {
    for (const [name, { rows, state, trained }] of Object.entries(parameters)) {
      const composed = name === "table" && data.composed.length;
      rows.forEach((row, index) => {
        if (!trained[index] || composed) return;
        if (optimizer.weight_decay) row.forEach((each, i) => (row[i] *= 1 - rate * optimizer.weight_decay));
        const slots = Object.fromEntries(Object.entries(state).map(([slot, of]) => [slot, of[index]]));
        RULES[optimizer.name](row, slots, found.gradients[name][index], rate, t, found.curvature[name][index]);
      });
    }
    compose(parameters);
  };

  let parameters, found, before, losses, taken;
  const refresh = () => {
    found = compute(parameters);
    settle(parameters, found);
    spread(parameters, found);
    losses[taken] = found.loss;
  };
  const reset = () => {
    parameters = start();
    before = start();
    losses = [];
    taken = 0;
    refresh();
  };
  const steps = (count, rate) => {
    for (let i = 0; i < count; i++) {
      before = Object.fromEntries(
        Object.entries(parameters).map(([name, of]) => [name, { rows: of.rows.map((row) => row.slice()) }]),
      );
      take(parameters, found, rate, data.number + taken);
      taken += 1;
      refresh();
    }
  };

  // ---- Drawing ---------------------------------------------------------------------------------

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  };
  const largestOf = (rows) => {
    let largest = 0;
    for (const row of rows) for (const each of row) if (Math.abs(each) > largest) largest = Math.abs(each);
    return largest || 1;
  };
  const shade = (share) => `s${Math.round(Math.min(Math.max(share, 0), 1) * LEVELS)}`;
  const cells = (row, largest) => {
    const written = row.length <= NUMBERS;
    const strip = element("span", { class: written ? "cells numbers" : "cells" });
    for (const value of row.slice(0, CELLS)) {
      const share = Math.abs(value) / largest;
      const kinds = `${value < 0 ? "cold" : "warm"} ${shade(share)}${share > 0.6 ? " strong" : ""}`;
      strip.append(element("i", { class: kinds, title: value.toFixed(6) }, written ? value.toFixed(4) : ""));
    }
    if (row.length > CELLS) {
      const words = say("page.first_numbers", { shown: CELLS, dim: row.length });
      strip.append(element("span", { class: "more" }, words));
    }
    return strip;
  };
  const nameOf = (of, index) => of.names?.[index] ?? `${index + 1}`;
  const row = (of, index, values, largest, label = nameOf(of, index)) => {
    const id = of.ids?.[index];
    const head = element("b", {}, ...(id === undefined ? [] : [element("small", {}, `${id}`)]), label);
    const numbers = values.length <= NUMBERS ? Array.from(values, (each) => each.toFixed(4)).join(" ") : "";
    return element(
      "div",
      { class: "row", tabindex: 0, "data-id": id, "aria-label": `${id ?? ""} ${label} ${numbers}`.trim() },
      head,
      cells(values, largest),
    );
  };
  const rest = (count, key) => (count > 0 ? [element("p", { class: "muted" }, say(key, { count }))] : []);
  const blocks = () => Object.entries(parameters).filter(([, of]) => of.trained.some(Boolean));

  const draw = {
    tokens() {
      const items = data.tokens.map(({ token, id, kept }) =>
        element(
          "li",
          { class: kept ? "token" : "token unread", tabindex: 0, "data-id": id ?? undefined },
          token,
          element("small", {}, id === null ? say("page.unknown") : `${id}`),
        ),
      );
      $("tokens").replaceChildren(...items);
    },
    table() {
      const of = parameters.table;
      const largest = largestOf(of.rows);
      const shown = [];
      let last = -1;
      const gap = (count) => {
        if (count > 0) shown.push(element("div", { class: "gap" }, say("page.gap", { count })));
      };
      of.rows.forEach((values, index) => {
        gap(of.ids[index] - last - 1);
        shown.push(row(of, index, values, largest));
        last = of.ids[index];
      });
      gap(data.shape[0] - last - 1);
      $("table").replaceChildren(...shown);
    },
    answers() {
      const shown = text ? drawOutputs() : examples.flatMap(drawExample);
      $("answers").replaceChildren(...shown);
    },
    loss() {
      const fields = { loss: found.loss, count: taken };
      const lines = text
        ? found.outputs.map(({ loss }, i) => [text.names[i], loss])
        : examples.map(({ title }, i) => [title, found.examples[i].reduce((sum, each) => sum + each.loss, 0)]);
      $("loss-now").replaceChildren(
        element("p", { role: "status" }, say("page.loss_after", fields)),
        element(
          "ul",
          { class: "answers" },
          ...lines.slice(0, ROWS).map(([name, loss]) =>
            element("li", { class: "answer" }, name, element("span", {}, loss.toFixed(4))),
          ),
        ),
        ...rest(lines.length - ROWS, text ? "table.more_labels" : "page.more_places"),
      );
    },
    gradients() {
      const shown = blocks().flatMap(([name, of]) => {
        const largest = largestOf(found.gradients[name]);
        const indices = of.rows.map((_, index) => index).filter((index) => of.trained[index]);
        const rows = indices.slice(0, ROWS).flatMap((index) => {
          const parts = found.parts[name][index];
          const line = row(of, index, found.gradients[name][index], largest);
          if (!of.ids || parts.length < 2) return [line];
          const folded = element(
            "details",
            { class: "fold" },
            element("summary", {}, say("page.look_ups", { count: parts.length, name: nameOf(of, index) })),
            ...parts.map(([from, part]) => row({}, index, part, largest, from)),
          );
          return [line, folded];
        });
        return [element("h3", {}, name), ...rows, ...rest(indices.length - ROWS, "table.more_rows")];
      });
      $("gradients").replaceChildren(...shown);
    },
    changes() {
      const ahead = start();
      if (taken === 0) take(ahead, found, rate(), data.number);
      const [old, now] = taken === 0 ? [parameters, ahead] : [before, parameters];
      const shown = blocks().flatMap(([name, of]) => {
        const largest = largestOf([...old[name].rows, ...now[name].rows]);
        const indices = of.rows.map((_, index) => index).filter((index) => of.trained[index]);
        const rows = indices.slice(0, ROWS).flatMap((index) => [
          row(of, index, old[name].rows[index], largest),
          row({ ids: of.ids }, index, now[name].rows[index], largest, say("table.after")),
        ]);
        return [element("h3", {}, name), ...rows, ...rest(indices.length - ROWS, "table.more_rows")];
      });
      $("changes").replaceChildren(...shown);
      $("taken").textContent = say("page.steps_taken", { count: taken, loss: found.loss });
      drawCurve();
    },
  };

  const drawExample = ({ title, candidates }, number) => {
    const answers = found.examples[number];
    const item = ({ name, times, target, goal, weight, id }, i) => {
      const { prediction, error, loss } = answers[i];
      const shown = times > 1 ? `${name} ×${times}` : name;
      const full = times > 1 ? say("page.drawn", { name, count: times }) : name;
      const tip = say("page.tip", { name: full, prediction, target: goal, weight, loss });
      const kinds = `answer ${target || data.counts ? "right" : "wrong"} ${shade(error)}`;
      const said = data.counts ? `${prediction.toFixed(2)}, ${say("page.target_is", { target: String(Number(goal.toPrecision(4))) })}` : prediction.toFixed(2);
      return element("li", { class: kinds, title: tip, "data-id": id, tabindex: 0 }, shown, element("span", {}, said));
    };
    const numbered = candidates.map((each, i) => [each, i]);
    const list = (chosen) => element("ul", { class: "answers" }, ...chosen.map(([each, i]) => item(each, i)));
    const positive = numbered.filter(([{ target }]) => target && !data.counts);
    const negative = numbered.filter(([{ target }]) => !target || data.counts);
    const more = negative.slice(ANSWERS);
    const folded = element("details", { class: "fold" }, element("summary", {}, say("table.more_answers", { count: more.length })), list(more));
    return [
      element("h3", {}, title),
      list(positive),
      list(negative.slice(0, ANSWERS)),
      ...(more.length ? [folded] : []),
    ];
  };
  const drawOutputs = () => {
    const order = found.outputs.map((_, i) => i);
    if (text.loss !== "squared") {
      order.sort((a, b) => text.targets[b] - text.targets[a] || found.outputs[b].prediction - found.outputs[a].prediction);
    }
    const shown = order.slice(0, ROWS).map((i) => {
      const { prediction } = found.outputs[i];
      const goal = inUnits(text.targets[i], i);
      const target = say("page.target_is", { target: String(Number(goal.toPrecision(6))) });
      const bar = element("div", { class: text.targets[i] ? "bar right" : "bar" }, element("i"));
      bar.firstChild.style.width = `${100 * Math.min(Math.max(prediction, 0), 1)}%`;
      return element(
        "div",
        { class: "row", tabindex: 0 },
        element("b", {}, text.names[i]),
        element("span", {}, ...(text.loss === "squared" ? [] : [bar]), `${prediction.toFixed(4)}   ${target}`),
      );
    });
    const key = text.loss === "squared" ? "table.more_numbers" : "table.more_labels";
    return [...shown, ...rest(order.length - ROWS, key)];
  };
  const drawCurve = () => {
    const [width, height] = [$("curve").clientWidth || 600, 120];
    const most = Math.max(...losses, 1e-12);
    const x = (i) => 20 + (i * (width - 40)) / Math.max(losses.length - 1, 1);
    const y = (loss) => 15 + height * (1 - loss / most);
    const shape = (name, attributes, words = "") => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      made.textContent = words;
      return made;
    };
    const svg = shape("svg", { width, height: height + 40, role: "img", "aria-label": say("page.losses") });
    const points = losses.map((loss, i) => `${x(i).toFixed(1)},${y(loss).toFixed(1)}`);
    svg.append(shape("polyline", { points: points.join(" ") }));
    losses.forEach((loss, i) => svg.append(shape("circle", { cx: x(i), cy: y(loss), r: 3 })));
    const last = losses.length - 1;
    for (const [i, anchor] of [[0, "start"], [last, "end"]]) {
      const words = `${i}: ${losses[i].toFixed(4)}`;
      svg.append(shape("text", { x: x(i), y: height + 34, "text-anchor": anchor }, words));
    }
    $("curve").replaceChildren(...(losses.length > 1 ? [svg] : []));
  };
  const drawAll = () => Object.values(draw).forEach((each) => each());

  // ---- What one does with it ---------------------------------------------------------------------

  const rate = () => {
    const given = Number($("rate").value);
    return Number.isFinite(given) && given >= 0 ? given : data.rate;
  };
  const go = (count) => {
    steps(count, rate());
    drawAll();
  };
  $("one").addEventListener("click", () => go(1));
  addEventListener("resize", () => drawCurve());
  $("ten").addEventListener("click", () => go(10));
  $("reset").addEventListener("click", () => {
    reset();
    $("rate").value = data.rate;
    drawAll();
  });
  $("rate").addEventListener("input", () => draw.changes());

  const stages = [...document.querySelectorAll("main > section")];
  const buttons = [...document.querySelectorAll("#stages button[data-stage]")];
  let stage = 0;
  let every = false;
  const show = (number) => {
    stage = Math.min(Math.max(number, 0), stages.length - 1);
    stages.forEach((each, i) => (each.hidden = !every && i !== stage));
    buttons.forEach((each, i) => {
      if (!every && i === stage) each.setAttribute("aria-current", "step");
      else each.removeAttribute("aria-current");
    });
    $("back").disabled = every || stage === 0;
    $("next").disabled = every || stage === stages.length - 1;
    $("all").setAttribute("aria-pressed", every);
    drawCurve(); // as wide as it is shown
  };
  buttons.forEach((each, i) =>
    each.addEventListener("click", () => {
      every = false;
      show(i);
    }),
  );
  $("back").addEventListener("click", () => show(stage - 1));
  $("next").addEventListener("click", () => show(stage + 1));
  $("all").addEventListener("click", () => {
    every = !every;
    show(stage);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof HTMLInputElement || event.altKey || event.ctrlKey || event.metaKey) return;
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by === undefined || every) return;
    event.preventDefault();
    show(stage + by);
  });

  // A word that is pointed at or focused is marked wherever it stands.
  const mark = (event) => {
    const id = event.target instanceof Element ? event.target.closest("[data-id]")?.dataset.id : undefined;
    for (const each of document.querySelectorAll("[data-id]")) {
      each.classList.toggle("picked", id !== undefined && each.dataset.id === id);
    }
    const count = data.tokens.filter(({ id: own, kept }) => kept && `${own}` === id).length;
    const name = data.tokens.find(({ id: own }) => `${own}` === id)?.token;
    $("picked-by").textContent = name === undefined ? say("page.hover") : say("page.picked_by", { count, name });
  };
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, mark);

  $("stages").hidden = false;
  $("controls").hidden = false;
  $("rate").value = data.rate;
  reset();
  drawAll();
  show(0);
  window.embed = { losses: () => losses, parameters: () => parameters }; // for tests and the console
})();
