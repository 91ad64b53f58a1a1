"use strict";
// The page of a map: one or two panels of words, a search, the details of a word, axes of meaning,
// a lasso, and the film of a training. All data is in the page; nothing is requested.
(() => {
  const $ = (id) => document.getElementById(id);
  const PALETTE = [
    "#4c78a8", "#dd8443", "#579f6e", "#c65b5f", "#8b72b3", "#a17c5e", "#cf82a5", "#3f9ba6",
    "#b29c2f", "#7d8798", "#86a845", "#7c83d6",
  ];
  const NONE = { light: [176, 180, 188], dark: [82, 88, 100] };
  const RAMPS = {
    light: [[205, 214, 224], [120, 170, 200], [45, 110, 165], [20, 52, 110]],
    dark: [[58, 66, 82], [62, 110, 150], [100, 170, 215], [200, 232, 255]],
  };
  const SIGNED = {
    light: [[33, 102, 172], [214, 214, 216], [200, 80, 30]],
    dark: [[90, 160, 230], [70, 74, 84], [240, 140, 80]],
  };
  const LAYOUTS = { tsne: "t-SNE", pca: "PCA", rows: "the two numbers" };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const theme = () => (dark.matches ? "dark" : "light");
  const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
  const count = (number) => number.toLocaleString("en");
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // Words are compared as a reader would: composed, and without case.
  const fold = (text) =>
    text.normalize("NFKC").toUpperCase().toLowerCase().normalize("NFKC").replaceAll("ς", "σ");
  // Cuts a text to so many letters, each with its marks.
  const cut = (text, most) => {
    if (text.length <= most) return text;
    const start = text.slice(0, 4 * most);
    const letters = start.match(/\P{M}\p{M}*|\p{M}+/gu);
    if (start === text && letters.length <= most) return text;
    return letters.slice(0, most - 1).join("") + "…";
  };
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
      else if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
    }
    made.append(...children);
    return made;
  };

  // ---- Data: one JSON of names and sizes, one base64 of arrays -------------------------------

  const data = JSON.parse($("data").textContent);
  const text = atob($("arrays").textContent);
  const memory = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) memory[i] = text.charCodeAt(i);
  const KINDS = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, u4: Uint32Array,
    f4: Float32Array,
  };
  const array = ([kind, offset, length]) => new KINDS[kind](memory.buffer, offset, length);

  class Words {
    constructor(source) {
      Object.assign(this, source);
      this.size = this.tokens.length;
      this.vectors = array(source.vectors);
      this.near = { ids: array(source.near[0]), cosines: array(source.near[1]) };
      this.nearOnMap = source.near_on_map && {
        ids: array(source.near_on_map[0]), cosines: array(source.near_on_map[1]),
      };
      for (const each of this.layouts) {
        each.places = array(each.places);
        each.kept = array(each.kept);
      }
      for (const each of this.attributes) each.values = array(each.values);
      this.frames = source.frames.map((frame) => ({ ...frame, places: array(frame.places) }));
      this.index = new Map(this.tokens.map((token, place) => [token, place]));
      this.norms = new Float32Array(this.size);
      for (let i = 0; i < this.size; i++) {
        let sum = 0;
        for (let d = 0; d < this.dim; d++) sum += this.vectors[i * this.dim + d] ** 2;
        this.norms[i] = Math.sqrt(sum) || 1;
      }
    }

    // What is written for a word: control characters and overrides of direction are escapes.
    shown(place) {
      return this.visible[place] ?? this.tokens[place] ?? this.off[place - this.size];
    }

    get folded() {
      return (this._folded ??= this.tokens.map(fold));
    }

    // Words that are, begin with, or hold a text; the most frequent first.
    search(query, most) {
      const asked = fold(query);
      const found = [[], [], []];
      for (let i = 0; i < this.size && found[1].length < most; i++) {
        const at = this.folded[i].indexOf(asked);
        if (at >= 0) found[at > 0 ? 2 : this.folded[i].length > asked.length ? 1 : 0].push(i);
      }
      return found.flat().slice(0, most);
    }

    // The place of a word: as it is written, or else the first with the same folded spelling.
    find(word) {
      const place = this.index.get(word) ?? this.folded.indexOf(fold(word));
      return place >= 0 ? place : null;
    }

    neighbors(place, { ids, cosines }) {
      const k = ids.length / this.size;
      const found = [];
      for (let at = place * k; at < (place + 1) * k; at++) {
        if (ids[at] !== 0xffffffff) found.push({ place: ids[at], cosine: cosines[at] / 1e4 });
      }
      return found;
    }

    // The cosine of every word with an axis, such as `woman - man` or `he, she`.
    axis(expression) {
      const poles = expression.split(/[,،、，]/).map((each) => each.trim()).filter(Boolean);
      const parts = [];
      if (poles.length === 2) parts.push([-1, poles[0]], [1, poles[1]]);
      else {
        let sign = 1;
        for (const part of poles.join(" ").split(/\s+([+−-])(?=\s)|^([+−-])\s+/)) {
          const word = part?.trim();
          if (!word) continue;
          if (/^[+−-]$/.test(word)) sign = word === "+" ? 1 : -1;
          else {
            parts.push([sign, word]);
            sign = 1;
          }
        }
      }
      const sum = new Float64Array(this.dim);
      const places = [];
      for (const [sign, word] of parts) {
        const place = this.find(word);
        if (place === null) throw new Error(`“${cut(word, 40)}” is not on the map`);
        places.push(place);
        for (let d = 0; d < this.dim; d++) {
          sum[d] += (sign * this.vectors[place * this.dim + d]) / this.norms[place];
        }
      }
      const length = Math.hypot(...sum) || 1;
      const cosines = new Float32Array(this.size);
      for (let i = 0; i < this.size; i++) {
        let product = 0;
        for (let d = 0; d < this.dim; d++) product += sum[d] * this.vectors[i * this.dim + d];
        cosines[i] = product / length / this.norms[i];
      }
      const ends = [-1, 1].map((sign) =>
        parts.filter((part) => part[0] === sign).map((part) => part[1]).join(" + "));
      return { cosines, places, ends };
    }

    attribute(name) {
      return this.attributes.find((each) => each.name === name);
    }
  }

  // ---- Colours ---------------------------------------------------------------------------------

  const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const css = (color) => `rgb(${color.map(Math.round).join(" ")})`;
  const ramp = (stops, share) => {
    const at = clamp(share, 0, 1) * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    return stops[low].map((from, i) => from + (stops[low + 1][i] - from) * (at - low));
  };

  // Where numbers lie between the lowest and highest of the middle 98 %.
  const scaled = (attribute) => {
    if (attribute.scale) return attribute.scale;
    const change = attribute.logarithmic ? (x) => Math.log(Math.max(x, 0) + 1) : (x) => x;
    const known = attribute.values.filter((x) => !Number.isNaN(x)).sort();
    const quantile = (share) => known[Math.round(share * (known.length - 1))] ?? 0;
    let [low, high] = [quantile(0.01), quantile(0.99)];
    if (attribute.signed) {
      high = Math.max(Math.abs(low), Math.abs(high));
      low = -high;
    }
    const [from, to] = [change(low), change(high)];
    const share = (x) => (to > from ? (change(x) - from) / (to - from) : 0.5);
    return (attribute.scale = { low, high, share });
  };

  const colours = (attribute) => {
    const none = NONE[theme()];
    if (attribute.categories.length) {
      const palette = PALETTE.map(rgb);
      return (i) => palette[attribute.values[i]] ?? none;
    }
    const stops = (attribute.signed ? SIGNED : RAMPS)[theme()];
    const { share } = scaled(attribute);
    return (i) => (Number.isNaN(attribute.values[i]) ? none : ramp(stops, share(attribute.values[i])));
  };

  const number = (value) =>
    Number.isInteger(value) ? count(value) : Number(value.toPrecision(4)).toLocaleString("en");

  // ---- Drawing: points by WebGL, or on a plain canvas where there is none ------------------------

  const VERTEX = `#version 300 es
    in vec2 start; in vec2 end; in vec4 ink; in float grow;
    uniform vec4 camera; uniform float part; uniform float size;
    out vec4 color;
    void main() {
      vec2 place = mix(start, end, part);
      gl_Position = vec4((place - camera.xy) * camera.zw, 0.0, 1.0);
      gl_PointSize = size * (1.0 + grow);
      color = ink;
    }`;
  const FRAGMENT = `#version 300 es
    precision mediump float; in vec4 color; out vec4 shade;
    void main() {
      float apart = length(gl_PointCoord - 0.5) * 2.0;
      float inside = color.a * (1.0 - smoothstep(0.8, 1.0, apart));
      shade = vec4(color.rgb * inside, inside);
    }`;

  class Gpu {
    constructor(gl, size) {
      this.gl = gl;
      this.size = size;
      const program = (this.program = gl.createProgram());
      for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind);
        gl.shaderSource(shader, source);
        gl.compileShader(shader);
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program);
      gl.useProgram(program);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      this.buffers = {};
    }

    set(name, values, components) {
      const { gl } = this;
      this.buffers[name] ??= gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
      const place = gl.getAttribLocation(this.program, name);
      const bytes = values instanceof Uint8Array;
      gl.enableVertexAttribArray(place);
      gl.vertexAttribPointer(place, components, bytes ? gl.UNSIGNED_BYTE : gl.FLOAT, bytes && components > 1, 0, 0);
    }

    draw(panel, radius, ratio) {
      const { gl, program } = this;
      const { canvas } = gl;
      const { camera } = panel;
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      const uniform = (name) => gl.getUniformLocation(program, name);
      gl.uniform4f(uniform("camera"), camera.x, camera.y,
        (2 * camera.scale) / panel.width, (2 * camera.scale) / panel.height);
      gl.uniform1f(uniform("part"), panel.part);
      gl.uniform1f(uniform("size"), 2 * radius * ratio);
      gl.drawArrays(gl.POINTS, 0, this.size);
    }
  }

  class Plain {
    constructor(context) {
      this.context = context;
    }

    set(name, values) {
      this[name] = values;
    }

    draw(panel, radius, ratio) {
      const { context, ink, grow } = this;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, panel.width, panel.height);
      for (let i = 0; i < panel.words.size; i++) {
        const [x, y] = panel.onScreen(i);
        if (x < 0 || y < 0 || x > panel.width || y > panel.height) continue;
        const side = radius * (1 + grow[i]);
        context.fillStyle = `rgb(${ink[4 * i]} ${ink[4 * i + 1]} ${ink[4 * i + 2]} / ${ink[4 * i + 3] / 255})`;
        context.fillRect(x - side, y - side, 2 * side, 2 * side);
      }
    }
  }

  // ---- A panel: one map -------------------------------------------------------------------------

  class Panel {
    constructor(words, camera, parent) {
      this.words = words;
      this.camera = camera;
      this.part = 1; // of the way from `start` to `end`
      this.points = element("canvas", { "aria-hidden": "true" });
      this.labels = element("canvas", {
        class: "labels", tabindex: "0", role: "application",
        "aria-label": `Map of ${count(words.size)} words of ${words.name}. Arrow keys move, plus and ` +
          "minus zoom, 0 shows all. Search a word, or press List, to read the words.",
      });
      this.legend = element("ul");
      this.key = element("details", { class: "legend", open: innerWidth > 760 },
        element("summary", {}, "Colours"), this.legend);
      const zoom = element("div", { class: "zoom" },
        element("button", { "aria-label": "Zoom in", onclick: () => app.zoom(this, 1.5) }, "+"),
        element("button", { "aria-label": "Zoom out", onclick: () => app.zoom(this, 1 / 1.5) }, "−"),
        element("button", { "aria-label": "Show all", title: "Show all", onclick: () => app.fit() }, "⤢"));
      this.root = element("section", { class: "map", "aria-label": words.name },
        this.points, this.labels, this.key, zoom);
      if (data.maps.length > 1) this.root.append(element("h2", {}, words.name));
      parent.append(this.root);
      const gl = this.points.getContext("webgl2", { antialias: false });
      this.painter = gl ? new Gpu(gl, words.size) : new Plain(this.points.getContext("2d"));
      this.pen = this.labels.getContext("2d");
      this.widths = new Map();
      this.start = this.end = this.placesOf(words.layouts[0].places);
      this.emphasis = new Uint8Array(words.size);
      this.painter.set("start", this.start, 2);
      this.painter.set("end", this.end, 2);
      this.painter.set("grow", this.emphasis, 1);
    }

    // Places from 0 to 65535 as numbers around 0, y upwards.
    placesOf(packed, wide = 1) {
      return Float32Array.from(packed, (value) => wide * (value / 32767.5 - 1));
    }

    // Moves the words to other places, at once or bit by bit.
    move(places, part = 0) {
      if (part === 0 || this.part < 1) this.start = this.places();
      this.end = places;
      this.part = part;
      this.painter.set("start", this.start, 2);
      this.painter.set("end", this.end, 2);
    }

    between(start, end, part) {
      if (this.start !== start) this.painter.set("start", start, 2);
      if (this.end !== end) this.painter.set("end", end, 2);
      Object.assign(this, { start, end, part });
    }

    places() {
      return this.start.map((value, i) => value + (this.end[i] - value) * this.part);
    }

    place(i) {
      const { start, end, part } = this;
      return [2 * i, 2 * i + 1].map((at) => start[at] + (end[at] - start[at]) * part);
    }

    onScreen(i) {
      const [x, y] = this.place(i);
      const { camera } = this;
      return [
        this.width / 2 + (x - camera.x) * camera.scale,
        this.height / 2 - (y - camera.y) * camera.scale,
      ];
    }

    onMap(x, y) {
      const { camera } = this;
      return [
        camera.x + (x - this.width / 2) / camera.scale,
        camera.y - (y - this.height / 2) / camera.scale,
      ];
    }

    get radius() {
      const zoom = this.camera.scale / this.fitScale;
      const room = Math.sqrt((this.width * this.height) / this.words.size);
      return clamp(0.16 * room * zoom ** 0.5, 1.3, 6.5);
    }

    // The pixels of a unit at which all words are in view, but for a few far out.
    get fitScale() {
      const [low, high] = this.bounds;
      return Math.min(this.width / (high[0] - low[0]), this.height / (high[1] - low[1])) / 1.08;
    }

    // The corners of the smallest box around all words but 2 in 1,000 at each edge.
    get bounds() {
      if (this.bounded !== this.end) {
        const edges = [0, 1].map((axis) => {
          const values = this.end.filter((_, i) => i % 2 === axis).sort();
          const at = Math.floor(values.length * 0.002);
          const [low, high] = [values[at], values[values.length - 1 - at]];
          return high > low ? [low, high] : [low - 1, low + 1];
        });
        this.bounded = this.end;
        this.box = [0, 1].map((side) => edges.map((each) => each[side]));
      }
      return this.box;
    }

    resize() {
      const box = this.root.getBoundingClientRect();
      [this.width, this.height] = [Math.max(box.width, 1), Math.max(box.height, 1)];
      const ratio = window.devicePixelRatio || 1;
      const [width, height] = [this.width, this.height].map((size) => Math.round(size * ratio));
      for (const canvas of [this.points, this.labels]) {
        // Setting a size clears the canvas, even if it is the same.
        if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      }
    }

    // The word nearest to a point of the screen, within some pixels.
    pick(x, y, reach) {
      let [best, found] = [reach * reach, null];
      const { camera, start, end, part } = this;
      const [mx, my] = this.onMap(x, y);
      for (let i = 0; i < this.words.size; i++) {
        const dx = (start[2 * i] + (end[2 * i] - start[2 * i]) * part - mx) * camera.scale;
        if (dx > reach || dx < -reach) continue;
        const dy = (start[2 * i + 1] + (end[2 * i + 1] - start[2 * i + 1]) * part - my) * camera.scale;
        if (dx * dx + dy * dy < best) [best, found] = [dx * dx + dy * dy, i];
      }
      return found;
    }

    // Colours every word; those that are chosen are large, others pale beside them.
    paint(attribute, chosen, near, selected) {
      const { size } = this.words;
      const ink = new Uint8Array(4 * size);
      const colour = colours(attribute);
      const some = chosen !== null || selected.size > 0;
      this.emphasis.fill(0);
      for (const i of selected) this.emphasis[i] = 1;
      for (const each of near) if (each.place < size) this.emphasis[each.place] = 1;
      if (chosen !== null) this.emphasis[chosen] = 2;
      for (let i = 0; i < size; i++) {
        ink.set(colour(i), 4 * i);
        ink[4 * i + 3] = this.emphasis[i] ? 255 : some ? 95 : 205;
      }
      this.painter.set("ink", ink, 4);
      this.painter.set("grow", this.emphasis, 1);
      this.colour = colour;
      this.drawLegend(attribute);
    }

    drawLegend(attribute) {
      const items = attribute.categories.slice(0, PALETTE.length).map((name, i) =>
        element("li", {}, swatch(css(rgb(PALETTE[i]))), element("span", { dir: "auto" }, cut(name, 60))));
      const rest = attribute.categories.length - PALETTE.length;
      if (rest > 0) items.push(element("li", {}, swatch(css(NONE[theme()])), `${count(rest)} others`));
      if (!attribute.categories.length) {
        const { low, high } = scaled(attribute);
        const bar = element("i", { class: "ramp" });
        const stops = (attribute.signed ? SIGNED : RAMPS)[theme()];
        bar.style.borderRadius = "4px";
        bar.style.background = `linear-gradient(90deg, ${stops.map(css).join(", ")})`;
        bar.style.width = "110px";
        items.push(element("li", {}, element("span", {}, number(low)), bar, element("span", {}, number(high))));
      }
      this.legend.replaceChildren(...items);
      this.key.hidden = this !== panels[0] && this.legend.textContent === panels[0].legend.textContent;
    }

    draw(state) {
      const ratio = window.devicePixelRatio || 1;
      this.painter.draw(this, this.radius, ratio);
      const { pen } = this;
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, this.width, this.height);
      const style = getComputedStyle(document.documentElement);
      const [ink, paper, muted, accent] = ["--ink", "--paper", "--muted", "--accent"].map((name) =>
        style.getPropertyValue(name).trim());
      if (state.axes) this.drawAxes(state.axes, muted, ink);
      const { chosen, near } = this;
      if (chosen !== null) {
        // Lines to the neighbours that are on the map.
        const [x, y] = this.onScreen(chosen);
        pen.strokeStyle = accent;
        pen.globalAlpha = 0.45;
        pen.lineWidth = 1;
        pen.beginPath();
        for (const each of near) {
          if (each.place >= this.words.size) continue;
          pen.moveTo(x, y);
          pen.lineTo(...this.onScreen(each.place));
        }
        pen.stroke();
        pen.globalAlpha = 1;
      }
      if (this.hovered !== null) {
        pen.strokeStyle = accent;
        pen.lineWidth = 2;
        pen.beginPath();
        pen.arc(...this.onScreen(this.hovered), this.radius + 5, 0, 2 * Math.PI);
        pen.stroke();
      }
      this.drawLabels(ink, paper);
      if (this.loop) {
        pen.strokeStyle = accent;
        pen.fillStyle = accent;
        pen.lineWidth = 1.5;
        pen.beginPath();
        for (const [x, y] of this.loop) pen.lineTo(x, y);
        pen.closePath();
        pen.stroke();
        pen.globalAlpha = 0.1;
        pen.fill();
        pen.globalAlpha = 1;
      }
    }

    // Writes words where there is room: the chosen ones first, then by frequency.
    drawLabels(ink, paper) {
      const { pen, words, radius } = this;
      const family = style("--sans");
      const taken = new Map(); // boxes by rows of 32 pixels
      const write = (i, size, weight, force) => {
        const [x, y] = this.onScreen(i);
        if (x < -20 || y < -10 || x > this.width + 20 || y > this.height + 10) return false;
        const label = cut(words.shown(i), 28);
        const font = `${weight} ${size}px ${family}`;
        const key = `${weight}${size}${label}`;
        pen.font = font;
        let width = this.widths.get(key);
        if (width === undefined) this.widths.set(key, (width = pen.measureText(label).width));
        const reach = radius * (1 + this.emphasis[i]) + 3;
        const left = x + reach + width > this.width ? x - reach - width : x + reach;
        const box = [left - 3, y - size * 0.7, left + width + 3, y + size * 0.7];
        const rows = [];
        for (let row = Math.floor(box[1] / 32); row <= Math.floor(box[3] / 32); row++) rows.push(row);
        const free = rows.every((row) => (taken.get(row) ?? []).every((other) =>
          box[0] > other[2] || box[2] < other[0] || box[1] > other[3] || box[3] < other[1]));
        if (!free && !force) return false;
        for (const row of rows) taken.set(row, [...(taken.get(row) ?? []), box]);
        pen.lineJoin = "round";
        pen.textBaseline = "middle";
        pen.textAlign = "left";
        pen.lineWidth = 3.5;
        pen.strokeStyle = paper;
        pen.strokeText(label, left, y);
        pen.fillStyle = ink;
        pen.fillText(label, left, y);
        return true;
      };
      const { chosen, near, selected } = this;
      if (this.hovered !== null && this.hovered !== chosen) write(this.hovered, 14, 650, true);
      if (chosen !== null) write(chosen, 16, 700, true);
      for (const each of near) if (each.place < words.size) write(each.place, 13, 600, false);
      for (const i of [...selected].slice(0, 200)) write(i, 13, 600, false);
      if (chosen !== null || selected.size) pen.globalAlpha = 0.5;
      let left = clamp((this.width * this.height) / 7500, 12, 160);
      for (let i = 0, tries = 0; i < words.size && left > 0 && tries < 3000; i++) {
        const [x, y] = this.onScreen(i);
        if (this.emphasis[i] || i === this.hovered) continue;
        if (x < 0 || y < 0 || x > this.width || y > this.height) continue;
        tries++;
        if (write(i, 12, 500, false)) left--;
      }
      pen.globalAlpha = 1;
    }

    // The ends of the axes, and where a cosine is zero.
    drawAxes(axes, muted, ink) {
      const { pen } = this;
      const { zero } = this;
      const [x, y] = [
        this.width / 2 + (zero[0] - this.camera.x) * this.camera.scale,
        this.height / 2 - (zero[1] - this.camera.y) * this.camera.scale,
      ];
      pen.strokeStyle = muted;
      pen.globalAlpha = 0.5;
      pen.lineWidth = 1;
      pen.setLineDash([3, 4]);
      pen.beginPath();
      if (axes.x) { pen.moveTo(x, 0); pen.lineTo(x, this.height); }
      if (axes.y) { pen.moveTo(0, y); pen.lineTo(this.width, y); }
      pen.stroke();
      pen.setLineDash([]);
      pen.globalAlpha = 1;
      pen.fillStyle = ink;
      pen.font = `650 13px ${style("--sans")}`;
      pen.textBaseline = "middle";
      const say = (words, left, top, align) => {
        pen.textAlign = align;
        pen.fillText(cut(words, 40), left, top);
      };
      const { ends } = this;
      if (axes.x) {
        if (ends.x[0]) say(`← ${ends.x[0]}`, 14, this.height / 2, "left");
        if (ends.x[1]) say(`${ends.x[1]} →`, this.width - 14, this.height / 2, "right");
      }
      say(axes.y ? `${ends.y[1]} ↑` : "frequent ↑", this.width / 2, 16, "center");
      if (axes.y ? ends.y[0] : true) {
        say(axes.y ? `${ends.y[0]} ↓` : "rare ↓", this.width / 2, this.height - 16, "center");
      }
    }
  }

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const swatch = (colour) => {
    const made = element("i");
    made.style.background = colour;
    return made;
  };

  // ---- The page ----------------------------------------------------------------------------------

  const camera = { x: 0, y: 0, scale: 1 };
  const panels = data.maps.map((source) => new Panel(new Words(source), camera, $("maps")));
  const first = panels[0].words;
  const state = {
    word: null, colour: first.attributes[0].name, layout: first.layouts[0].name,
    axes: null, frame: null, selected: new Set(), view: "word", lasso: false,
  };

  const fitting = () => Math.min(...panels.map((panel) => panel.fitScale));

  const app = {
    // -- What is shown

    select(word, { speak = true, centre = true } = {}) {
      state.word = word;
      state.view = "word";
      this.choose();
      if (word !== null && centre && panels[0].chosen !== null) this.reveal(panels[0], panels[0].chosen);
      this.details();
      if (word !== null && speak) this.speak();
    },

    // Finds the chosen and selected words in every panel, and paints them.
    choose() {
      for (const panel of panels) {
        const { words } = panel;
        panel.chosen = state.word === null ? null : words.find(state.word);
        panel.near = panel.chosen === null ? [] :
          words.neighbors(panel.chosen, words.nearOnMap ?? words.near);
        panel.selected = new Set([...state.selected].map((word) => words.index.get(word))
          .filter((place) => place !== undefined));
        panel.paint(words.attribute(state.colour) ?? words.attributes[0], panel.chosen, panel.near,
          panel.selected);
      }
      $("list-button").setAttribute("aria-pressed", String(state.view === "list"));
      this.changed();
    },

    // Marks the word under the pointer, in every panel.
    hover(panel, place) {
      const word = place === null ? null : panel.words.tokens[place];
      for (const each of panels) each.hovered = each.words.index.get(word) ?? null;
      this.changed();
    },

    speak() {
      const { words, chosen } = panels[0];
      if (chosen === null) return;
      const near = words.neighbors(chosen, words.near).slice(0, 5)
        .map((each) => `${words.shown(each.place)} ${each.cosine.toFixed(2)}`);
      $("live").textContent = `${cut(words.shown(chosen), 60)}. Nearest: ${near.join(", ") || "none"}.`;
    },

    // Brings a word into view, if it is not.
    reveal(panel, place) {
      const [x, y] = panel.onScreen(place);
      const edge = Math.min(60, panel.width / 5);
      if (x > edge && y > edge && x < panel.width - edge && y < panel.height - edge) return;
      [camera.x, camera.y] = panel.place(place);
    },

    details() {
      const parts = state.view === "list" ? [this.list()] :
        state.view === "about" || (state.word === null && !state.selected.size) ? [about()] :
        panels.map((panel) => this.word(panel));
      if (state.selected.size && state.view !== "about") parts.push(this.selection());
      $("side").replaceChildren(...parts.filter(Boolean).flat());
      $("side").scrollTop = 0;
    },

    word(panel) {
      const { words, chosen } = panel;
      if (state.word === null) return null;
      const head = [element("h2", { dir: "auto" }, chosen === null ? visible(state.word) : words.shown(chosen))];
      if (panels.length > 1) head.unshift(element("h3", {}, words.name));
      if (chosen === null) return [...head, element("p", { class: "quiet" }, "It is not on this map.")];
      const facts = element("dl");
      for (const each of words.attributes) {
        const value = each.values[chosen];
        const said = each.categories.length ? each.categories[value] : Number.isNaN(value) ? null : number(value);
        if (said != null) facts.append(element("dt", {}, cut(each.name, 60)), element("dd", { dir: "auto" }, cut(said, 200)));
      }
      const layout = app.layoutOf(words);
      const onMap = words.neighbors(chosen, words.nearOnMap ?? words.near);
      const near = words.neighbors(chosen, words.near);
      const off = near.filter((each) => each.place >= words.size).length;
      const listed = [
        element("h3", {}, words.nearOnMap ? "Nearest in the whole table, by cosine" : "Nearest, by cosine"),
        this.neighborList(words, near, this.shared(panel)),
      ];
      if (off) listed.push(element("p", { class: "quiet" }, `${off} of ${near.length} are too rare for the map.`));
      if (words.nearOnMap) {
        listed.push(element("h3", {}, "Nearest on the map, by cosine"), this.neighborList(words, onMap));
      }
      const held = state.selected.has(words.tokens[chosen]);
      return [
        // The weights of many labels come after the neighbours.
        ...head, ...(facts.children.length > 24 ? [...listed, facts] : [facts, ...listed]),
        element("p", { class: "quiet" },
          `The picture (${LAYOUTS[layout.name]}) keeps ${layout.kept[chosen]} of its ${onMap.length} ` +
          "nearest on the map among its nearest points."),
        element("div", { class: "row" },
          element("button", { onclick: () => this.toggle(words.tokens[chosen]) },
            held ? "Take out of the selection" : "Add to the selection"),
          element("button", { onclick: () => this.select(null) }, "Close")),
      ];
    },

    // The neighbours of the chosen word in the other panel, if there is one.
    shared(panel) {
      const other = panels.find((each) => each !== panel);
      if (!other || other.chosen === null) return new Set();
      const { words, chosen } = other;
      return new Set(words.neighbors(chosen, words.near).map((each) => words.tokens[each.place] ?? words.off[each.place - words.size]));
    },

    neighborList(words, near, both = new Set()) {
      return element("ol", { class: "near" }, ...near.map((each) => {
        const shown = words.shown(each.place);
        const value = element("data", { value: each.cosine.toFixed(4) }, each.cosine.toFixed(4));
        if (each.place >= words.size) {
          return element("li", { class: "off" }, element("span", { dir: "auto", title: cut(shown, 200) }, cut(shown, 80)),
            element("small", {}, "off the map"), value);
        }
        return element("li", {}, element("button", { onclick: () => this.select(words.tokens[each.place]) },
          element("span", { dir: "auto" }, cut(shown, 80)),
          both.has(words.tokens[each.place]) ? element("small", {}, "in both") : "", value));
      }));
    },

    // The words in view, for readers of lists and screens.
    list() {
      const panel = panels[0];
      const { words } = panel;
      const inside = [];
      let all = 0;
      for (let i = 0; i < words.size; i++) {
        const [x, y] = panel.onScreen(i);
        if (x < 0 || y < 0 || x > panel.width || y > panel.height) continue;
        all++;
        if (inside.length < 300) inside.push(i);
      }
      const which = all > inside.length ? `the ${inside.length} most frequent of ${count(all)}` : count(all);
      return [
        element("h2", {}, "Words in view"),
        element("p", { class: "quiet" }, `${which}; zoom in for others.`),
        element("ol", { class: "words" }, ...inside.map((i) => element("li", {},
          element("button", { onclick: () => this.select(words.tokens[i]) },
            element("span", { dir: "auto" }, cut(words.shown(i), 80)))))),
      ];
    },

    selection() {
      const words = [...state.selected];
      return [
        element("h3", {}, `Selection: ${count(words.length)} word${words.length === 1 ? "" : "s"}`),
        element("div", { class: "row" },
          element("button", { id: "save", onclick: save }, "Save as TSV"),
          element("button", { onclick: () => { state.selected.clear(); this.select(state.word); } }, "Clear")),
        element("ol", { class: "selection" }, ...words.slice(0, 500).map((word) => element("li", {},
          element("button", { onclick: () => this.select(word) }, element("span", { dir: "auto" }, cut(visible(word), 80)))))),
        words.length > 500 ? element("p", { class: "quiet" }, "and others; the TSV has all.") : "",
      ];
    },

    toggle(word) {
      if (!state.selected.delete(word)) state.selected.add(word);
      this.choose();
      this.details();
    },

    // -- Where words are drawn

    places(panel) {
      return state.axes ? panel.onAxes : panel.placesOf(this.layoutOf(panel.words).places);
    },

    layoutOf(words) {
      return words.layouts.find((each) => each.name === state.layout) ?? words.layouts[0];
    },

    // Finds the words' places on the axes, in every panel by the same scale.
    measureAxes() {
      for (const panel of panels) {
        Object.assign(panel, { onAxes: new Float32Array(2 * panel.words.size), zero: [0, 0], ends: {} });
      }
      ["x", "y"].forEach((name, side) => {
        const asked = state.axes[name];
        const values = panels.map(({ words, ends }) => {
          if (asked) {
            const found = words.axis(asked);
            ends[name] = found.ends;
            return found.cosines;
          }
          // Without a second axis words are spread by frequency.
          if (name === "x") ends.x = ["rare", "frequent"];
          const counts = words.attribute("count")?.values;
          return Float32Array.from(words.tokens, (_, i) => (counts ? Math.log(counts[i] + 1) : -Math.log(i + 1)));
        });
        let [low, high] = [Infinity, -Infinity];
        for (const each of values) for (const value of each) [low, high] = [Math.min(low, value), Math.max(high, value)];
        const scale = (value) => (2 * (value - low)) / (high - low || 1) - 1;
        panels.forEach((panel, p) => {
          values[p].forEach((value, i) => { panel.onAxes[2 * i + side] = scale(value); });
          panel.zero[side] = scale(0);
        });
      });
    },

    // Moves all words to where they belong now.
    arrange(quick = false) {
      state.frame = null;
      stop();
      this.showFilm();
      if (state.axes) this.measureAxes();
      for (const panel of panels) {
        panel.move(this.places(panel), quick || still.matches ? 1 : 0);
      }
      animate();
      this.changed();
    },

    setAxes(x, y) {
      const axes = x || y ? { x: x.trim(), y: y.trim() } : null;
      try {
        for (const name of axes ? ["x", "y"] : []) if (axes[name]) panels.forEach((panel) => panel.words.axis(axes[name]));
      } catch (error) {
        $("axes-note").textContent = `${error.message}; expected words such as woman - man, or he, she`;
        $("axes-note").className = "wrong";
        return false;
      }
      state.axes = axes;
      this.arrange();
      this.fit();
      return true;
    },

    // -- The camera

    fit() {
      const [low, high] = panels[0].bounds;
      Object.assign(camera, { x: (low[0] + high[0]) / 2, y: (low[1] + high[1]) / 2, scale: fitting() });
      this.changed();
    },

    zoom(panel, factor, x = panel.width / 2, y = panel.height / 2) {
      const before = panel.onMap(x, y);
      camera.scale = clamp(camera.scale * factor, panel.fitScale / 3, panel.fitScale * 4000);
      const after = panel.onMap(x, y);
      camera.x += before[0] - after[0];
      camera.y += before[1] - after[1];
      this.changed();
    },

    // -- The film: the words' places at moments of the training

    film() {
      return panels.length === 1 && first.frames.length > 1 && !state.axes && state.layout === first.layouts[0].name;
    },

    showFilm() {
      $("film").hidden = !this.film();
      if (!this.film()) return;
      const last = first.frames.length - 1;
      const frame = state.frame ?? last;
      $("frame").max = last;
      $("frame").value = frame;
      $("moment").textContent = moment(first.frames[Math.round(frame)]);
    },

    setFrame(frame) {
      const { frames } = first;
      const low = Math.min(Math.floor(frame), frames.length - 2);
      const [panel] = panels;
      for (const at of [low, low + 1]) frames[at].floats ??= panel.placesOf(frames[at].places, 2);
      panel.between(frames[low].floats, frames[low + 1].floats, frame - low);
      state.frame = frame >= frames.length - 1 ? null : frame;
      this.showFilm();
      this.changed();
    },

    // -- Drawing, and the state in the address

    changed() {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => {
        this.waiting = null;
        for (const panel of panels) panel.draw(state);
        document.documentElement.dataset.drawn = Number(document.documentElement.dataset.drawn ?? 0) + 1;
        clearTimeout(this.saving);
        this.saving = setTimeout(() => this.remember(), 200);
      });
    },

    remember() {
      const said = new URLSearchParams();
      const short = (word) => word.length < 200;
      if (state.word !== null && short(state.word)) said.set("word", state.word);
      if (state.colour !== first.attributes[0].name) said.set("colour", state.colour);
      if (state.layout !== first.layouts[0].name) said.set("layout", state.layout);
      if (state.axes?.x) said.set("x", state.axes.x);
      if (state.axes?.y) said.set("y", state.axes.y);
      if (state.frame !== null) said.set("frame", state.frame.toFixed(2));
      if (state.view !== "word") said.set("show", state.view);
      if (state.selected.size) said.set("selected", [...state.selected].filter(short).slice(0, 60).join("\t"));
      const zoom = camera.scale / fitting();
      const [low, high] = panels[0].bounds;
      const aside = Math.hypot(camera.x - (low[0] + high[0]) / 2, camera.y - (low[1] + high[1]) / 2);
      if (Math.abs(zoom - 1) > 1e-3 || aside > 1e-3) {
        said.set("view", [camera.x, camera.y, zoom].map((value) => value.toPrecision(5)).join(","));
      }
      const hash = `#${said}`;
      if (hash !== location.hash && hash.length < 8000) history.replaceState(null, "", hash.length > 1 ? hash : location.pathname);
    },

    recall() {
      const said = new URLSearchParams(location.hash.slice(1));
      if (first.attribute(said.get("colour"))) state.colour = said.get("colour");
      if (first.layouts.some((each) => each.name === said.get("layout"))) state.layout = said.get("layout");
      const on = (word) => panels.some((panel) => panel.words.index.has(word));
      state.selected = new Set((said.get("selected") ?? "").split("\t").filter(on));
      if (said.has("word") && panels.some((panel) => panel.words.find(said.get("word")) !== null)) state.word = said.get("word");
      if (["list", "about"].includes(said.get("show"))) state.view = said.get("show");
      $("colour").value = state.colour;
      $("layout").value = state.layout;
      const [x, y] = [said.get("x") ?? "", said.get("y") ?? ""];
      [$("axis-x").value, $("axis-y").value] = [x, y];
      if (x || y) {
        openAxes(true);
        this.setAxes(x, y);
        for (const panel of panels) panel.part = 1;
      } else this.arrange(true);
      const view = (said.get("view") ?? "").split(",").map(Number);
      this.fit();
      if (view.length === 3 && view.every(Number.isFinite) && view[2] > 0) {
        Object.assign(camera, { x: view[0], y: view[1], scale: camera.scale * view[2] });
      }
      const frame = Number(said.get("frame") ?? NaN);
      if (this.film() && frame >= 0 && frame < first.frames.length) this.setFrame(frame);
      this.choose();
      this.details();
    },
  };

  // Words that are on no map come from the address; what would hide in them is escaped.
  const visible = (word) => {
    const place = first.index.get(word);
    if (place !== undefined) return first.shown(place);
    return word.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
  };

  const moment = (frame) => frame.done <= 0 ? "by chance" : frame.done >= 1 ? "trained" : `${percent(frame.done)} trained`;

  function about() {
    const parts = [];
    if (panels.length > 1) {
      const [a, b] = panels.map(({ words }) => words.name);
      parts.push(element("h2", {}, "Two tables"), element("p", {},
        `The same words in ${a} and in ${b}. The second picture is laid on the first, so a word that is elsewhere has other ` +
        "neighbours. A word under the pointer, chosen, found or selected in one is marked in both."));
      parts.push(element("p", {},
        "How far a word moved is 1 − the cosine of its two vectors, after one table was rotated onto the other (1 − the share of " +
        "neighbours, where their vectors differ in length). Two trainings of the same text differ too: move little, and it may be chance."));
    }
    for (const { words } of panels) {
      const layout = app.layoutOf(words);
      const share = (each) => percent(each.keeps);
      const rest = words.words - words.size - words.zeros;
      const shown = rest ? `${count(words.size)} of ${count(words.words)} words, the most frequent` : `All ${count(words.size)} words`;
      parts.push(element("h2", {}, words.name), element("p", {},
        `${shown}, each a point; words used alike are near each other. ` +
        (rest ? `The other ${count(rest)} are not drawn, but are searched for neighbours. ` : "") +
        (words.zeros ? `${count(words.zeros)} words with a vector of zeros are left out.` : "")));
      parts.push(element("h3", {}, "How far to trust the picture"), element("p", {},
        `A vector has ${count(words.dim)} numbers, the picture two. Of the ${words.k} words nearest to a word, ` +
        `${share(layout)} are also among its nearest points here. Neighbours in lists are exact: they are ` +
        "computed from the vectors, not from the picture. Which groups are far apart, and how large they are, means little."));
      if (words === first && words.explained.length && words.layouts.some((each) => each.name === "pca")) {
        const [one = 0, two = 0] = words.explained;
        const pca = words.layouts.find((each) => each.name === "pca");
        const tsne = words.layouts.find((each) => each.name === "tsne");
        parts.push(element("h3", {}, "What PCA has to do with an embedding"), element("p", {},
          `Nothing, in the making of it. An embedding is a table: a word’s number picks a row, ${count(words.dim)} numbers ` +
          "that were learnt by predicting. PCA comes afterwards, only to look: it turns the table so that two straight axes show as " +
          `much of its variance as two can, here ${percent(one)} and ${percent(two)}, together ${percent(one + two)}. ` +
          `The other ${percent(1 - one - two)} cannot be seen, so PCA keeps ${share(pca)} of a word’s nearest neighbours` +
          (tsne ? `; t-SNE, which bends the space to hold neighbours together, keeps ${share(tsne)}.` : ".")));
      }
      if (words.frames.length > 1) {
        parts.push(element("h3", {}, "The film"), element("p", {},
          `The slider under the map shows the table at ${words.frames.length} moments of its training, from the random numbers ` +
          "it starts with. Each moment is laid out from the next one, so that the picture does not turn."));
      }
    }
    parts.push(element("h3", {}, "Keys"), element("p", { class: "quiet" },
      "/ search · arrows move · + and − zoom · 0 shows all · Esc closes · Shift and click adds a word to the selection"));
    return parts;
  }

  // ---- Moving bit by bit ---------------------------------------------------------------------------

  let moving = null;
  function animate() {
    cancelAnimationFrame(moving);
    const began = performance.now();
    const tick = (now) => {
      const passed = clamp((now - began) / 700, 0, 1);
      let more = false;
      for (const panel of panels) {
        if (panel.part < 1) panel.part = passed >= 1 ? 1 : passed * passed * (3 - 2 * passed);
        more ||= panel.part < 1;
      }
      app.changed();
      if (more) moving = requestAnimationFrame(tick);
      else if (state.view === "list") app.details();
    };
    if (panels.some((panel) => panel.part < 1)) moving = requestAnimationFrame(tick);
    else app.changed();
  }

  let playing = null;
  function stop() {
    cancelAnimationFrame(playing);
    playing = null;
    $("play").textContent = "▶";
    $("play").setAttribute("aria-label", "Play the training");
  }
  function play() {
    if (playing !== null) return stop();
    const last = first.frames.length - 1;
    const from = (state.frame ?? last) >= last - 0.01 ? 0 : state.frame;
    const began = performance.now();
    $("play").textContent = "❚❚";
    $("play").setAttribute("aria-label", "Pause");
    const tick = (now) => {
      const frame = Math.min(from + (now - began) / 450, last);
      app.setFrame(frame);
      if (frame < last) playing = requestAnimationFrame(tick);
      else stop();
    };
    playing = requestAnimationFrame(tick);
  }

  // The selected words as TSV, as `embed map --out words.tsv` writes them.
  function save() {
    const escaped = (word) => word.replaceAll("\\", "\\\\").replaceAll("\t", "\\t").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
    const columns = panels.map(({ words }) => {
      const { places, middle, half, kept } = app.layoutOf(words);
      const [ids, counts] = [array(words.ids), words.attribute("count")?.values];
      const at = (i, axis) => (middle[axis] + half * (places[2 * i + axis] / 32767.5 - 1)).toFixed(4);
      return (i) => [ids[i], escaped(words.tokens[i]), counts ? counts[i] : "", at(i, 0), at(i, 1), kept[i]];
    });
    const compared = first.compared.map((name) => first.attribute(name));
    const lines = [...state.selected].map((word) => first.index.get(word)).filter((i) => i !== undefined).map((i) => {
      if (panels.length === 1) return columns[0](i).join("\t");
      const sides = columns.flatMap((each) => each(i).filter((_, column) => column !== 1));
      return [escaped(first.tokens[i]), ...compared.map(({ values }) => values[i].toPrecision(6)), ...sides].join("\t");
    });
    if (panels.length > 1) {
      const names = ["a", "b"].flatMap((side) => ["index", "count", "x", "y", "kept"].map((name) => `${name}_${side}`));
      lines.unshift(["token", ...first.compared, ...names].join("\t"));
    }
    const link = element("a", {
      href: URL.createObjectURL(new Blob([lines.join("\n"), "\n"], { type: "text/tab-separated-values" })),
      download: "words.tsv",
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  // ---- Search ----------------------------------------------------------------------------------------

  let found = [];
  let at = -1;
  function showFound() {
    const query = $("search").value.trim();
    found = [];
    if (query) {
      const seen = new Set();
      for (const { words } of panels) {
        for (const place of words.search(query, 12)) {
          if (!seen.has(words.tokens[place])) found.push([words, place]);
          seen.add(words.tokens[place]);
        }
      }
      found = found.slice(0, 12);
    }
    at = found.length ? 0 : -1;
    const options = found.map(([words, place], i) => {
      const counts = words.attribute("count")?.values;
      return element("li", {
        id: `found-${i}`, role: "option", "aria-selected": String(i === at),
        onpointerdown: (event) => { event.preventDefault(); take(i); },
      }, element("span", { dir: "auto" }, cut(words.shown(place), 60)), element("small", {}, counts ? `${count(counts[place])} ×` : ""));
    });
    if (query && !found.length) options.push(element("li", { role: "option", "aria-disabled": "true" }, "no word on the map begins so"));
    $("found").replaceChildren(...options);
    $("found").hidden = !query;
    $("search").setAttribute("aria-expanded", String(Boolean(query)));
    mark();
  }
  function mark() {
    [...$("found").children].forEach((each, i) => each.setAttribute("aria-selected", String(i === at)));
    if (at >= 0) $("search").setAttribute("aria-activedescendant", `found-${at}`);
    else $("search").removeAttribute("aria-activedescendant");
  }
  function take(i) {
    if (!found[i]) return;
    const [words, place] = found[i];
    $("search").value = "";
    $("search").blur();
    showFound();
    app.select(words.tokens[place]);
  }
  $("search").addEventListener("input", showFound);
  $("search").addEventListener("focus", showFound);
  $("search").addEventListener("blur", () => { $("found").hidden = true; });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") take(at);
    else if (event.key === "Escape") { $("search").value = ""; showFound(); $("search").blur(); }
    else if (["ArrowDown", "ArrowUp"].includes(event.key) && found.length) {
      event.preventDefault();
      at = (at + (event.key === "ArrowDown" ? 1 : found.length - 1)) % found.length;
      mark();
    }
    event.stopPropagation();
  });

  // ---- Tools -------------------------------------------------------------------------------------------

  function openAxes(open) {
    $("axes").hidden = !open;
    $("axes-button").setAttribute("aria-expanded", String(open));
    resize();
  }
  $("axes-button").addEventListener("click", () => openAxes($("axes").hidden));
  const note = [...$("axes-note").childNodes].map((each) => each.cloneNode(true));
  $("axes").addEventListener("submit", (event) => {
    event.preventDefault();
    $("axes-note").className = "";
    $("axes-note").replaceChildren(...note);
    app.setAxes($("axis-x").value, $("axis-y").value);
  });
  $("axes-clear").addEventListener("click", () => {
    $("axis-x").value = $("axis-y").value = "";
    app.setAxes("", "");
  });
  $("colour").addEventListener("change", () => { state.colour = $("colour").value; app.choose(); });
  $("layout").addEventListener("change", () => {
    state.layout = $("layout").value;
    state.axes = null;
    app.arrange();
    app.fit();
    app.details();
  });
  $("lasso").addEventListener("click", () => setLasso(!state.lasso));
  function setLasso(on) {
    state.lasso = on;
    $("lasso").setAttribute("aria-pressed", String(on));
    for (const panel of panels) panel.labels.classList.toggle("lasso", on);
  }
  const show = (view) => {
    state.view = state.view === view ? "word" : view;
    app.choose();
    app.details();
    $("side").focus({ preventScroll: true });
  };
  $("list-button").addEventListener("click", () => show("list"));
  $("about-button").addEventListener("click", () => show("about"));
  $("play").addEventListener("click", play);
  $("frame").addEventListener("input", () => { stop(); app.setFrame(Number($("frame").value)); });

  // ---- Pointers and keys ---------------------------------------------------------------------------------

  for (const panel of panels) {
    const pointers = new Map();
    let moved = 0;
    const { labels } = panel;
    const at = (event) => {
      const box = labels.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    labels.addEventListener("pointerdown", (event) => {
      labels.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      if (pointers.size === 1) moved = 0;
      if (state.lasso && pointers.size === 1) panel.loop = [at(event)];
    });
    labels.addEventListener("pointermove", (event) => {
      const now = at(event);
      const before = pointers.get(event.pointerId);
      if (before === undefined) {
        const over = panel.pick(...now, 12);
        labels.classList.toggle("over", over !== null);
        if (over !== panel.hovered) app.hover(panel, over);
        return;
      }
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (panel.loop && pointers.size === 1) panel.loop.push(now);
      else if (pointers.size === 1) {
        camera.x -= (now[0] - before[0]) / camera.scale;
        camera.y += (now[1] - before[1]) / camera.scale;
      } else {
        // Two fingers: the distance between them zooms, and the point between them moves the map.
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
        const middle = (a) => [(a[0] + other[0]) / 2, (a[1] + other[1]) / 2];
        const apart = (a) => Math.max(Math.hypot(a[0] - other[0], a[1] - other[1]), 1);
        const [from, to] = [middle(before), middle(now)];
        camera.x -= (to[0] - from[0]) / camera.scale;
        camera.y += (to[1] - from[1]) / camera.scale;
        app.zoom(panel, apart(now) / apart(before), ...to);
        panel.loop = null;
      }
      pointers.set(event.pointerId, now);
      app.changed();
    });
    const release = (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (panel.loop && event.type === "pointerup" && moved > 6) enclose(panel);
      else if (event.type === "pointerup" && moved <= 6 && !pointers.size) {
        const place = panel.pick(...at(event), event.pointerType === "touch" ? 26 : 14);
        const word = place === null ? null : panel.words.tokens[place];
        if (word !== null && event.shiftKey) app.toggle(word);
        else app.select(word, { centre: false });
      }
      panel.loop = null;
      if (state.view === "list" && moved > 6) app.details();
      app.changed();
    };
    labels.addEventListener("pointerup", release);
    labels.addEventListener("pointercancel", release);
    labels.addEventListener("pointerleave", () => app.hover(panel, null));
    labels.addEventListener("wheel", (event) => {
      event.preventDefault();
      app.zoom(panel, Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), ...at(event));
    }, { passive: false });
    labels.addEventListener("dblclick", (event) => app.zoom(panel, 2, ...at(event)));
  }

  // Selects the words within a loop (a point is inside if a ray from it crosses the loop an odd
  // number of times).
  function enclose(panel) {
    const loop = panel.loop.map(([x, y]) => panel.onMap(x, y));
    for (let i = 0; i < panel.words.size; i++) {
      const [x, y] = panel.place(i);
      let inside = false;
      for (let a = 0, b = loop.length - 1; a < loop.length; b = a++) {
        const [[ax, ay], [bx, by]] = [loop[a], loop[b]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
      }
      if (inside) state.selected.add(panel.words.tokens[i]);
    }
    setLasso(false);
    state.view = "word";
    app.choose();
    app.details();
    $("live").textContent = `${count(state.selected.size)} words are selected.`;
  }

  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (state.lasso) setLasso(false);
      else app.select(null);
      return;
    }
    if (typing) return;
    const step = 80 / camera.scale;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key === "/") { event.preventDefault(); $("search").focus(); }
    else if (event.key === "+" || event.key === "=") app.zoom(panels[0], 1.3);
    else if (event.key === "-") app.zoom(panels[0], 1 / 1.3);
    else if (event.key === "0") app.fit();
    else if (event.key in moves && event.target.closest(".labels, body") && !event.target.closest("aside")) {
      event.preventDefault();
      camera.x += moves[event.key][0];
      camera.y += moves[event.key][1];
      app.changed();
    }
  });

  // ---- Start ---------------------------------------------------------------------------------------------

  function resize() {
    const zoom = panels[0].width ? camera.scale / fitting() : 1;
    for (const panel of panels) panel.resize();
    camera.scale = zoom * fitting();
    app.changed();
  }

  $("title").append(data.title, element("span", {}, `${count(first.size)} words${panels.length > 1 ? " in both" : ""}`));
  for (const each of first.attributes) $("colour").append(element("option", { value: each.name }, cut(each.name, 40)));
  for (const each of first.layouts) $("layout").append(element("option", { value: each.name }, LAYOUTS[each.name]));
  $("layout-label").hidden = first.layouts.length < 2;
  for (const panel of panels) Object.assign(panel, { hovered: null, chosen: null, near: [], selected: new Set() });
  resize();
  app.recall();
  new ResizeObserver(resize).observe($("maps"));
  addEventListener("hashchange", () => app.recall());
  dark.addEventListener("change", () => app.choose());
})();
