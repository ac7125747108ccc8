// The charts over strengths and epochs: the effect, validation, layers, learning.

const RULES = {
  minimum: { name: "minimum", short: "min", color: "orange" },
  one_standard_error: { name: "one standard error", short: "1 SE", color: "green" },
};

// The marked places from left to right, rules at one place joined: [{ place, name, color }].
// The loss marks them, but for the chart of another metric.
function marks(metric = data.validation.metrics[0]) {
  const places = new Map();
  const named = (rule) => (metric.more && rule === "minimum" ? { ...RULES[rule], name: "best" } : RULES[rule]);
  for (const { rule, place } of metric.marks) places.set(place, [...(places.get(place) ?? []), named(rule)]);
  return [...places].sort(([a], [b]) => a - b).map(([place, rules]) => ({
    place, color: rules[0].color, name: rules.length > 1 ? `${rules[0].name} = ${rules[1].short}` : rules[0].name,
  }));
}

function drawEffect() {
  const host = byId("effect");
  host.hidden = false;
  if (!data.effect || !finite([data.effect.low, data.effect.high]).length || data.effect.low === data.effect.high) {
    host.hidden = true;
    return;
  }
  const { low, high, difference } = data.effect;
  panel(host, `difference in loss from no penalty: ${short(difference)}, 95 % interval ${short(low)} to ${short(high)}`,
    (root, full) => {
      const width = Math.min(full, 680);
      const reach = Math.max(Math.abs(low), Math.abs(high)) * 1.25;
      const scale = linear(-reach, reach, 24, width - 24, 5);
      const zero = scale(0);
      add(root, "text", { x: zero - 12, y: 14, class: "end" }, "← better than no penalty");
      add(root, "text", { x: zero + 12, y: 14 }, "worse →");
      add(root, "path", { d: `M${scale(low)} 42H${scale(high)}M${scale(low)} 35v14M${scale(high)} 35v14`, class: "line accent" });
      add(root, "circle", { cx: scale(difference), cy: 42, r: 6.5, class: "fill accent" });
      add(root, "path", { d: `M${zero} 4V62`, class: "zero" });
      horizontalAxis(root, scale, 62, width < 500 ? "difference in loss, 95 % interval"
        : "difference in validation loss from no penalty, with its 95 % interval", width / 2, 24, width - 24);
      return 106;
    });
}

function drawValidation() {
  const host = byId("validation");
  const { top, metrics } = data.validation;
  const metric = metrics[measured];
  const { name, valid, error, train, frame } = metric;
  byId("validation-title").textContent = train ? "Validation and training loss" : `Validation: ${name}`;
  byId("validation-caption").textContent = train
    ? "Loss on held-out rows and on training rows, without the penalty term. The distance between them is the generalization gap. Bars: one standard error over the folds."
    : `On held-out rows; ${metric.more ? "more" : "less"} is better. The marks show what this metric would choose; the rest of the page goes by the loss. Bars: one standard error over the folds.`;
  byId("validation-note").textContent = "";
  byId("validation-legend").replaceChildren();
  if (!frame) {
    empty(host, "No strength has a validation loss, because a training diverged at each of them. Lower the learning rate, or standardize the inputs.");
    return;
  }
  if (valid.length < 2) {
    empty(host, "This path has no strength other than 0, so there is no curve to draw.");
    return;
  }
  const several = finite([error]).length > 0;
  legend(byId("validation-legend"), [
    ["line", "line blue", several ? "validation, ± one standard error" : "validation (one fold: no standard error)"],
    ...(train ? [["line", "line faint", "training"], ["band", "gap", "generalization gap"]] : []),
    ["line", "line blue thin dashed", "validation without a penalty"],
  ]);
  const beyond = valid.filter((value) => known(value) && (metric.more ? value < frame[0] : value > frame[1]));
  const leftOut = valid.filter((value) => !known(value)).length;
  byId("validation-note").textContent = [
    beyond.length ? `${beyond.length} of ${valid.length} strengths lie ${metric.more ? "below the frame, down" : "above the frame, up"} to ${short(Math[metric.more ? "min" : "max"](...beyond))}.` : "",
    leftOut ? `${leftOut} of ${valid.length} strengths are left out, because training diverged.` : "",
    data.total > valid.length ? `${valid.length} of ${data.total.toLocaleString("en")} strengths are shown, evenly chosen.` : "",
  ].join(" ");
  panel(host, train ? "validation and training loss against strength" : `validation ${name} against strength`, (root, width, k) => {
    const narrow = width < 560;
    const found = marks(metric).reverse();
    const high = 20 * found.length + (top ? 46 : 10);
    const bottom = high + (narrow ? 260 : 330);
    const y = linear(frame[0], frame[1], bottom, high, narrow ? 5 : 7);
    const left = Math.max(56, 7.4 * Math.max(...y.ticks.map(([, label]) => label.length)) + 28);
    const right = width - 12;
    const scale = strengthScale(left, right);
    const { xs } = scale;
    verticalAxis(root, y, left, right);
    add(root, "text", { x: 13, y: (high + bottom) / 2, class: "middle", transform: `rotate(-90 13 ${(high + bottom) / 2})` }, metric.label);
    strengthAxis(root, scale, bottom, left, right);
    const inside = add(root, "svg", { class: "clip", x: left, y: high, width: right - left, height: bottom - high,
      viewBox: `${left} ${high} ${right - left} ${bottom - high}` });
    const v = valid.map(y);
    const t = (train ?? valid.map(() => null)).map(y);
    area(inside, xs.slice(1), t.slice(1), v.slice(1), "gap");
    if (known(v[0])) add(inside, "path", { d: `M${left} ${v[0]}H${right}`, class: "line thin dashed blue" });
    xs.forEach((x, i) => {
      if (known(v[i]) && known(error[i])) {
        const cap = xs.length > 60 ? 0 : 3;
        const [a, b] = [y(valid[i] - error[i]), y(valid[i] + error[i])];
        add(inside, "path", { class: "line thin blue", d: `M${x} ${a}V${b}M${x - cap} ${a}h${2 * cap}M${x - cap} ${b}h${2 * cap}` });
      }
    });
    line(inside, xs.slice(1).map((x, i) => [x, t[i + 1]]), "faint");
    line(inside, xs.slice(1).map((x, i) => [x, v[i + 1]]), "blue");
    const radius = xs.length > 60 ? 2 : 3.2;
    xs.forEach((x, i) => {
      if (known(v[i])) add(inside, "circle", { cx: x, cy: v[i], r: radius, class: i ? "fill blue" : "open blue" });
      if (known(t[i]) && (!i || xs.length < 8)) add(inside, "circle", { cx: x, cy: t[i], r: radius, class: i ? "fill faint" : "open faint" });
    });
    found.forEach((mark, row) => add(root, "path", { d: `M${xs[mark.place]} ${6 + 20 * row}V${bottom}`, class: `line thin ${mark.color}` }));
    if (top) topAxis(root, scale, top, high, left, right, narrow);
    found.forEach((mark, row) => markLabel(root, xs[mark.place], 16 + 20 * row, mark, row ? xs[found[row - 1].place] : width));
    nowLine(root, xs[k], high, bottom);
    if (train) gapLabel(root, xs[k], v[k], t[k], valid[k] - train[k], high, right);
    touch(root, xs, { x: left, y: high, width: right - left, height: bottom - high + 24 });
    return bottom + 44;
  });
}

function topAxis(root, scale, top, y, left, right, narrow) {
  const room = narrow ? 52 : 64;
  let free = -Infinity;
  add(root, "text", { x: left, y: y - 28, class: "halo" }, narrow ? top.title.split(",")[0] : top.title);
  scale.xs.forEach((x, i) => {
    if (x < free || !known(top.percent[i])) return;
    free = x + room;
    add(root, "path", { d: `M${x} ${y - 4}v4`, class: "axis" });
    add(root, "text", { x, y: y - 9, class: "middle halo" }, `${Math.round(top.percent[i])} %`);
  });
  add(root, "path", { d: `M${left} ${y}H${right}`, class: "rule" });
}

// Marks come from the right, each a row lower, so that a label meets no line of another mark.
function markLabel(root, x, y, mark, next) {
  const label = `${mark.name} ${data.strengths.labels[mark.place]}`;
  const width = 6.8 * label.length + 8;
  const reads = next - x > width || x < width;
  add(root, "text", { x: reads ? x + 6 : x - 6, y, class: `${mark.color} halo${reads ? "" : " end"}` }, label);
}

function gapLabel(root, x, valid, train, gap, high, right) {
  if (!known(valid) || !known(train)) return;
  for (const [y, classes] of [[valid, "blue"], [train, "faint"]]) {
    if (y >= high) add(root, "circle", { cx: x, cy: y, r: 5.5, class: `open ${classes}` });
  }
  const y = Math.max((valid + train) / 2, high + 14) + 4;
  const reads = right - x > 90;
  add(root, "text", { x: reads ? x + 10 : x - 10, y, class: `strong halo${reads ? "" : " end"}` }, `gap ${short(gap)}`);
}

function drawLayers() {
  const { names, named, total, norms, zeros, source } = data.layers;
  const caption = byId("layers-caption");
  byId("layers-legend").replaceChildren();
  if (!total) {
    caption.textContent = "No tensor was penalized in this run.";
    byId("norms").hidden = true;
    byId("zeros").hidden = true;
    return;
  }
  const thinned = names.length < total ? ` ${names.length} of ${total.toLocaleString("en")} tensors are drawn, evenly chosen.` : "";
  caption.textContent = `From ${source}, means over seeds.${thinned}${zeros ? "" : " No weight is exactly zero at any strength."}`;
  const colors = names.map((_, p) => viridis(names.length > 1 ? p / (names.length - 1) : 0.35));
  legend(byId("layers-legend"), named.map((p) => ["line", "line", names[p], colors[p]]));
  overStrengths(byId("norms"), "Frobenius norm", norms, colors, null);
  if (zeros) overStrengths(byId("zeros"), "exact zeros", zeros, colors, 100);
  byId("zeros").parentElement.hidden = !zeros;
  byId("norms").closest(".pair").classList.toggle("single", !zeros);
}

function overStrengths(host, title, lines, colors, ceiling) {
  const values = finite([lines]);
  if (data.strengths.logs.length < 2) {
    empty(host, "This path has no strength other than 0, so there is nothing to show.");
    return;
  }
  if (!values.length) {
    empty(host, `No ${title}: training diverged at every strength.`);
    return;
  }
  panel(host, `${title} of each penalized tensor against strength`, (root, width, k) => {
    const [left, right, high, bottom] = [46, width - 12, 34, 264];
    const scale = strengthScale(left, right);
    const y = linear(0, ceiling ?? (Math.max(...values) * 1.05 || 1), bottom, high);
    if (ceiling) y.ticks = y.ticks.map(([value, label]) => [value, `${label} %`]);
    verticalAxis(root, y, left, right);
    add(root, "text", { x: 0, y: 14, class: "title" }, title);
    strengthAxis(root, scale, bottom, left, right);
    for (const mark of marks()) add(root, "path", { d: `M${scale.xs[mark.place]} ${high}V${bottom}`, class: `line thin ${mark.color}` });
    nowLine(root, scale.xs[k], high, bottom);
    lines.forEach((series, p) => {
      const points = scale.xs.map((x, i) => [x, y(series[i])]);
      line(root, points.slice(1), lines.length > 12 ? "series thin" : "series").style.stroke = colors[p];
      const dot = (i, classes, r) => {
        if (!known(points[i][1])) return;
        const node = add(root, "circle", { cx: points[i][0], cy: points[i][1], r, class: classes });
        node.style.stroke = colors[p];
      };
      if (lines.length <= 12) dot(0, "open", 3);
      if (lines.length <= 12 && k) dot(k, "open", 4);
      if (points.length === 2) dot(1, "open", 3);
    });
    touch(root, scale.xs, { x: left, y: high, width: right - left, height: bottom - high + 24 });
    return bottom + 44;
  });
}

function drawLearning() {
  if (!data.learning) return;
  const host = byId("learning");
  host.replaceChildren();
  byId("learning-legend").replaceChildren();
  const { epochs, train, valid, low, high } = data.learning;
  const fixed = [{ place: 0, name: "no penalty", color: "ink" }, ...marks().filter((mark) => mark.place > 0)];
  const shown = fixed.map((mark) => mark.place);
  const values = finite(shown.flatMap((k) => [train[k], low[k], high[k]]));
  if (!values.length) {
    empty(host, "No learning curves, because training diverged at the strengths to compare.");
    return;
  }
  legend(byId("learning-legend"), [["line", "line blue", "validation"], ["line", "line faint", "training"]]);
  const smallest = Math.min(...values);
  const largest = Math.max(...values);
  const log = smallest > 0 && largest / smallest > 8;
  const draw = (place, name, color, index) => (root, width, k) => {
    const at = place ?? k;
    const [left, right, top, bottom] = [44, width - 10, 44, 204];
    const y = log ? logarithmic(smallest / 1.1, largest * 1.1, bottom, top)
      : linear(smallest - 0.05 * (largest - smallest), largest + 0.05 * (largest - smallest) || 1, bottom, top);
    const x = linear(epochs[0], epochs[epochs.length - 1], left, right, 3);
    if (epochs.length === 1) x.ticks = [[epochs[0], String(epochs[0])]];
    x.ticks = x.ticks.filter(([value]) => Number.isInteger(value)).map(([value]) => [value, String(value)]);
    verticalAxis(root, y, left, right);
    add(root, "text", { x: 0, y: 14, class: `title ${color}` }, name);
    add(root, "text", { x: 0, y: 31 }, `strength ${data.strengths.labels[at]}`);
    horizontalAxis(root, x, bottom, index ? "epoch" : `epoch${log ? " (loss on a log scale)" : ""}`, (left + right) / 2, left, right);
    const xs = epochs.map((epoch) => (epochs.length > 1 ? x(epoch) : (left + right) / 2));
    const inside = add(root, "svg", { class: "clip", x: left, y: top, width: right - left, height: bottom - top,
      viewBox: `${left} ${top} ${right - left} ${bottom - top}` });
    area(inside, xs, low[at].map(y), high[at].map(y), "band fill blue");
    for (const [series, classes] of [[train, "faint"], [valid, "blue"]]) {
      const points = xs.map((place, i) => [place, y(series[at][i])]);
      line(inside, points, classes);
      if (points.length === 1 && known(points[0][1])) add(inside, "circle", { cx: points[0][0], cy: points[0][1], r: 3.5, class: `open ${classes}` });
    }
    if (!finite([valid[at]]).length) add(root, "text", { x: (left + right) / 2, y: (top + bottom) / 2, class: "middle" }, "diverged");
    return bottom + 44;
  };
  fixed.forEach(({ place, name, color }, index) => {
    panel(put(host, "div"), `learning curves, ${name}`, draw(place, capital(name), color, index));
  });
  panel(put(host, "div", undefined, { id: "learning-now" }), "learning curves at the slider's strength", draw(null, "Selected", "ink", 1));
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
