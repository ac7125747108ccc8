"use strict";
// Pieces of charts: SVG elements, scales, ticks, axes. Every text goes in as textContent.

const slices = JSON.parse(document.getElementById("data").textContent);
let data = slices[0];
let panels = [];
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];

function byId(id) {
  return document.getElementById(id);
}

function add(parent, name, attributes = {}, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function put(parent, name, text, attributes = {}) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

// A panel draws itself for a width and a strength; page.js calls it when either changes.
function panel(host, label, draw) {
  panels.push({
    host,
    draw(k) {
      const width = Math.max(Math.floor(host.clientWidth), 140);
      const root = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const height = draw(root, width, k);
      for (const [key, value] of Object.entries({
        width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label,
      })) root.setAttribute(key, value);
      host.replaceChildren(root);
    },
  });
}

function empty(host, text) {
  host.replaceChildren();
  put(host, "p", text, { class: "empty" });
}

function legend(list, entries) {
  list.replaceChildren();
  for (const [mark, classes, name, color] of entries) {
    const item = put(list, "li");
    const icon = add(item, "svg", { width: 22, height: 12, "aria-hidden": "true" });
    const shape = { line: ["path", { d: "M1 6H21" }], dot: ["circle", { cx: 11, cy: 6, r: 4 }],
      band: ["rect", { x: 1, y: 0, width: 20, height: 12 }] }[mark];
    const node = add(icon, shape[0], { ...shape[1], class: classes });
    if (color) node.style.stroke = color;
    put(item, "span", name);
  }
}

function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function finite(lists) {
  return lists.flat(Infinity).filter(known);
}

function trace(points) {
  let path = "";
  let drawing = false;
  for (const [x, y] of points) {
    if (known(y)) path += `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    drawing = known(y);
  }
  return path;
}

function line(parent, points, classes) {
  return add(parent, "path", { d: trace(points), class: `line ${classes}` });
}

// The area between two lines, wherever both are known.
function area(parent, xs, lows, highs, classes) {
  let run = [];
  const close = () => {
    if (run.length > 1) {
      const up = run.map(([x, low]) => [x, low]);
      const down = run.map(([x, , high]) => [x, high]).reverse();
      add(parent, "path", { d: `${trace([...up, ...down])}Z`, class: classes });
    }
    run = [];
  };
  xs.forEach((x, i) => (known(lows[i]) && known(highs[i]) ? run.push([x, lows[i], highs[i]]) : close()));
  close();
}

function linear(low, high, from, to, count = 5) {
  const span = high - low || 1;
  const scale = (value) => (known(value) ? from + ((value - low) / span) * (to - from) : null);
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.75);
  scale.ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * span; i += 1) {
    scale.ticks.push([i * step, decimal(i * step, step)]);
  }
  return scale;
}

function logarithmic(low, high, from, to) {
  const inner = linear(Math.log10(low), Math.log10(high), from, to);
  const scale = (value) => (known(value) && value > 0 ? inner(Math.log10(value)) : null);
  const factors = high / low > 300 ? [1] : high / low > 30 ? [1, 3] : [1, 2, 5];
  scale.ticks = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += 1) {
    for (const factor of factors) {
      const value = factor * 10 ** p;
      if (value >= low * 0.999 && value <= high * 1.001) scale.ticks.push([value, decimal(value, value)]);
    }
  }
  return scale;
}

function decimal(value, step) {
  if (Math.abs(value) < step * 1e-6) return "0";
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  if (digits > 5 || Math.abs(value) >= 1e6) return value.toExponential(0).replace("-", "−");
  return value.toFixed(digits).replace(/^-/, "−");
}

function short(value) {
  if (!known(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e5 || (size > 0 && size < 1e-4)) return value.toExponential(1).replace(/-/g, "−");
  return String(Number(value.toPrecision(3))).replace("-", "−");
}

function verticalAxis(root, scale, left, right, classes = "end") {
  for (const [value, label] of scale.ticks) {
    const y = scale(value);
    add(root, "path", { d: `M${left} ${y}H${right}`, class: "rule" });
    add(root, "text", { x: left - 8, y: y + 4, class: classes }, label);
  }
}

function horizontalAxis(root, scale, y, title, middle, left, right) {
  add(root, "path", { d: `M${left} ${y}H${right}`, class: "axis" });
  for (const [value, label] of scale.ticks) {
    add(root, "path", { d: `M${scale(value)} ${y}v4`, class: "axis" });
    add(root, "text", { x: scale(value), y: y + 18, class: "middle" }, label);
  }
  add(root, "text", { x: middle, y: y + 38, class: "middle" }, title);
}

// The log axis of strengths, with a place for 0 broken off on its left.
function strengthScale(left, right) {
  const { logs } = data.strengths;
  const logsOnly = logs.filter(known);
  const zero = left + 12;
  const first = zero + Math.min(46, 0.1 * (right - left));
  const low = Math.min(...logsOnly);
  const span = Math.max(...logsOnly) - low;
  const place = (log) => first + (span ? (log - low) / span : 0.5) * (right - 10 - first);
  const alone = logsOnly.length === 0;
  return { xs: logs.map((log) => (known(log) ? place(log) : alone ? (left + right) / 2 : zero)),
    place, zero: alone ? (left + right) / 2 : zero, first, low, high: low + span, alone };
}

function strengthAxis(root, scale, y, left, right) {
  const superscript = (power) => `10${[...String(power)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`;
  const cut = (scale.zero + scale.first) / 2;
  add(root, "path", { class: "axis", d: scale.alone ? `M${left} ${y}H${right}`
    : `M${left} ${y}H${cut - 4}M${cut - 7} ${y + 5}l6 -10M${cut + 1} ${y + 5}l6 -10M${cut + 4} ${y}H${right}` });
  const tick = (x, label) => {
    add(root, "path", { d: `M${x} ${y}v4`, class: "axis" });
    add(root, "text", { x, y: y + 18, class: "middle" }, label);
  };
  tick(scale.zero, "0");
  if (!scale.alone) {
    const powers = [];
    for (let p = Math.ceil(scale.low - 0.01); p <= scale.high + 0.01; p += 1) powers.push(p);
    const every = Math.ceil((powers.length * 46) / Math.max(right - scale.first, 46));
    powers.filter((_, i) => i % every === 0).forEach((p) => tick(scale.place(p), superscript(p)));
    if (powers.length < 2) {
      const last = data.strengths.labels.length - 1;
      [...new Set([1, last])].filter((i) => !Number.isInteger(data.strengths.logs[i]))
        .forEach((i) => tick(scale.xs[i], data.strengths.labels[i]));
    }
  }
  add(root, "text", { x: (left + right) / 2, y: y + 38, class: "middle" }, `strength of ${data.penalty}`);
}

// Wherever strengths lie along a chart, a press or a drag chooses the nearest one.
function touch(root, xs, box) {
  const target = add(root, "rect", { ...box, class: "touch" });
  const choose = (event) => {
    const x = ((event.clientX - root.getBoundingClientRect().left) / root.getBoundingClientRect().width)
      * root.viewBox.baseVal.width;
    const distances = xs.map((place) => Math.abs(place - x));
    select(distances.indexOf(Math.min(...distances)));
  };
  target.addEventListener("pointerdown", choose);
  target.addEventListener("pointermove", (event) => event.buttons && choose(event));
}

function nowLine(root, x, top, bottom) {
  add(root, "rect", { x: x - 4, y: top, width: 8, height: bottom - top, class: "now" });
  add(root, "path", { d: `M${x - 5} ${bottom}h10l-5 -8z`, class: "fill ink" });
}

function viridis(share) {
  const color = (t) => VIRIDIS[Math.round(t * (VIRIDIS.length - 1))];
  const mixed = (t) => {
    const at = t * (VIRIDIS.length - 1);
    const part = Math.round(100 * (at - Math.floor(at)));
    const next = VIRIDIS[Math.min(Math.floor(at) + 1, VIRIDIS.length - 1)];
    return part ? `color-mix(in srgb, ${next} ${part}%, ${VIRIDIS[Math.floor(at)]})` : color(t);
  };
  return `light-dark(${mixed(0.82 * share)}, ${mixed(0.45 + 0.55 * share)})`;
}
