// The charts of out-of-fold predictions: calibration and confusion, or residuals.

function percent(share) {
  return known(share) ? `${(100 * share).toFixed(1)} %` : "–";
}

function drawCalibration() {
  const host = byId("calibration");
  if (!data.calibration) {
    empty(host, "No calibration, because with this loss the outputs may not be logits and then give no probabilities.");
    return;
  }
  byId("calibration-note").textContent = "Larger dots stand for more rows; open gray dots are without a penalty. On the diagonal, the model is right as often as its confidence says.";
  if (!data.calibration.some(({ bins }) => bins.length)) {
    empty(host, "No calibration, because training diverged at every strength.");
    return;
  }
  panel(host, "how often the model is right, by its confidence", (root, width, k) => {
    const { bins, error, confidence, accuracy } = data.calibration[k];
    const [left, right, top] = [50, width - 12, 56];
    const bottom = top + (right - left);
    const x = linear(0, 100, left, right);
    const y = linear(0, 100, bottom, top);
    for (const scale of [x, y]) scale.ticks = scale.ticks.map(([value, label]) => [value, `${label} %`]);
    add(root, "text", { x: 0, y: 14, class: "title" }, "Calibration");
    add(root, "text", { x: 0, y: 34 }, bins.length
      ? `confidence ${percent(confidence)}, accuracy ${percent(accuracy)}; mean gap ${(100 * error).toFixed(1)} points`
      : "no predictions: training diverged");
    verticalAxis(root, y, left, right);
    horizontalAxis(root, x, bottom, "confidence", (left + right) / 2, left, right);
    add(root, "path", { d: `M${left} ${bottom}L${right} ${top}`, class: "line thin dashed faint" });
    add(root, "text", { x: x(14), y: y(88) }, "underconfident");
    add(root, "text", { x: x(86), y: y(12), class: "end" }, "overconfident");
    const draw = (rows, classes, filled) => {
      const points = rows.map(([said, was]) => [x(100 * said), y(100 * was)]);
      line(root, points, classes);
      rows.forEach(([, , share], i) => add(root, "circle", { cx: points[i][0], cy: points[i][1],
        r: 2.5 + 9 * Math.sqrt(share), class: filled ? `fill ${classes}` : `open ${classes}` }));
    };
    if (k) draw(data.calibration[0].bins, "faint", false);
    draw(bins, "blue", true);
    return bottom + 44;
  });
}

function drawConfusion() {
  const host = byId("confusion");
  const { classes, total, counts, rows: all, right: hits } = data.confusion;
  if (!finite([counts]).some((count) => count > 0)) {
    empty(host, "No confusion matrix, because training diverged at every strength.");
    return;
  }
  byId("confusion-note").textContent = `Numbers of rows, mean over seeds.${classes.length < total
    ? ` Shown are the ${classes.length} of ${total.toLocaleString("en")} classes with the most mistakes.` : ""}`;
  panel(host, "rows by true and predicted class", (root, full, k) => {
    const longest = 7.2 * Math.max(...classes.map((name) => name.length));
    const [left, top] = [Math.max(50, longest + 34), 56];
    const size = Math.min((full - 12 - left) / classes.length, 110);
    const right = left + size * classes.length;
    const bottom = top + size * classes.length;
    const tilted = longest > size - 4;
    const below = tilted ? 0.71 * longest + 22 : 38;
    const rows = counts[k].map((row) => row.map((value) => value ?? 0));
    add(root, "text", { x: 0, y: 14, class: "title" }, "Confusion");
    add(root, "text", { x: 0, y: 34 }, all[k]
      ? `${percent(hits[k] / all[k])} right, ${Math.round(all[k] - hits[k]).toLocaleString("en")} of ${Math.round(all[k]).toLocaleString("en")} rows wrong`
      : "no predictions: training diverged");
    rows.forEach((row, i) => {
      const sum = row.reduce((a, b) => a + b, 0) || 1;
      row.forEach((value, j) => {
        const share = i === j ? value / sum : Math.min(1, Math.sqrt(value / sum) * 1.6);
        const box = { x: left + j * size, y: top + i * size, width: size, height: size };
        add(root, "rect", { ...box, class: "fill empty-cell" });
        add(root, "rect", { ...box, class: `cell fill ${i === j ? "blue" : "orange"}`, "fill-opacity": (0.85 * share).toFixed(3) });
        const label = value >= 9.5 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
        if (value > 0 && size > 7.4 * label.length + 3) {
          add(root, "text", { x: box.x + size / 2, y: box.y + size / 2 + 4.5, class: `middle ${share > 0.55 ? "on" : "strong"}` }, label);
        }
      });
      add(root, "text", { x: left - 8, y: top + (i + 0.5) * size + 4, class: "end" }, classes[i]);
      const [x, y] = [left + (i + 0.5) * size, bottom + 18];
      add(root, "text", tilted ? { x, y: y - 4, class: "end", transform: `rotate(-45 ${x} ${y - 4})` }
        : { x, y, class: "middle" }, classes[i]);
    });
    add(root, "text", { x: (left + right) / 2, y: bottom + below, class: "middle" }, "predicted class");
    add(root, "text", { x: 14, y: (top + bottom) / 2, class: "middle", transform: `rotate(-90 14 ${(top + bottom) / 2})` }, "true class");
    return bottom + below + 6;
  });
}

function drawResiduals() {
  byId("residuals").hidden = false;
  const { points, observed, total, reach, bars, error, spread } = data.residuals;
  if (!points.length) {
    empty(byId("observed"), "No residuals, because training diverged at every strength or the model has several outputs.");
    byId("residuals").hidden = true;
    return;
  }
  const values = finite([observed, points[0], points[points.length - 1]]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  panel(byId("observed"), "predicted against observed", (root, width, k) => {
    const [left, right, top] = [50, width - 12, 56];
    const bottom = top + 0.8 * (right - left);
    const x = linear(low, high, left + 6, right - 6);
    const y = linear(low, high, bottom - 6, top + 6);
    add(root, "text", { x: 0, y: 14, class: "title" }, "Predicted against observed");
    add(root, "text", { x: 0, y: 34 }, `typical error ${short(error[k])}; spread of the target ${short(spread)}`);
    verticalAxis(root, y, left, right);
    horizontalAxis(root, x, bottom, "observed", (left + right) / 2, left, right);
    add(root, "path", { d: `M${x(low)} ${y(low)}L${x(high)} ${y(high)}`, class: "line thin dashed faint" });
    const inside = add(root, "svg", { class: "clip", x: left, y: top, width: right - left, height: bottom - top,
      viewBox: `${left} ${top} ${right - left} ${bottom - top}` });
    points[k].forEach((value, i) => {
      if (known(value)) add(inside, "circle", { cx: x(observed[i]), cy: y(value), r: 3, class: "fill blue point" });
    });
    return bottom + 44;
  });
  byId("observed-note").textContent = observed.length < total
    ? `${observed.length} of ${total.toLocaleString("en")} rows are drawn, evenly chosen; mean over seeds.` : "Mean over seeds.";
  byId("residuals-note").textContent = "Rows and seeds together; the outermost bars also hold what lies beyond them.";
  const tallest = Math.max(...finite([bars])) || 1;
  panel(byId("residuals"), "histogram of predicted minus observed", (root, width, k) => {
    const [left, right, top] = [50, width - 12, 56];
    const bottom = top + 0.8 * (right - left);
    const x = linear(-reach, reach, left, right);
    const y = linear(0, tallest * 1.05, bottom, top);
    y.ticks = y.ticks.map(([value, label]) => [value, `${label} %`]);
    const size = (right - left) / bars[k].length;
    add(root, "text", { x: 0, y: 14, class: "title" }, "Residuals");
    add(root, "text", { x: 0, y: 34 }, `share of rows${k ? "; gray line: no penalty" : ""}`);
    verticalAxis(root, y, left, right);
    bars[k].forEach((value, i) => add(root, "rect", { x: left + i * size + 0.5, y: y(value), width: size - 1,
      height: Math.max(bottom - y(value), 0), class: "fill blue bar" }));
    if (k) {
      line(root, bars[0].flatMap((value, i) => [[left + i * size, y(value)], [left + (i + 1) * size, y(value)]]), "thin faint");
    }
    horizontalAxis(root, x, bottom, "predicted − observed", (left + right) / 2, left, right);
    add(root, "path", { d: `M${x(0)} ${top}V${bottom}`, class: "line thin dashed faint" });
    return bottom + 44;
  });
}

function drawNoise() {
  const { rows, sentence } = data.noise;
  byId("noise-caption").textContent = sentence;
  byId("noise-note").textContent = "";
  byId("noise").replaceChildren();
  if (!rows.length) return;
  byId("noise-note").textContent = `Standard deviations of the held-out loss${rows.some(({ kind }) => kind === "effect")
    ? ", and the difference that the penalty makes (blue)" : ""}. Gray cancels when strengths are compared; orange does not, and more folds and seeds average it out.`;
  const largest = Math.max(...rows.map(({ size }) => size)) || 1;
  const looks = { shared: "faint", left: "orange", effect: "blue" };
  panel(byId("noise"), "standard deviation of the held-out loss by its source", (root, width) => {
    const narrow = width < 640;
    const [left, step] = [narrow ? 0 : 390, narrow ? 56 : 34];
    rows.forEach(({ name, why, size, kind }, i) => {
      const y = 18 + i * step;
      const at = narrow ? y + 22 : y - 11;
      const length = Math.max((size / largest) * (width - left - 70), 1);
      add(root, "text", { x: 0, y, class: "title" }, capital(name));
      add(root, "text", narrow ? { x: 0, y: y + 16 } : { x: 134, y }, why);
      add(root, "rect", { x: left, y: at, width: length, height: 14, class: `fill bar ${looks[kind]}` });
      add(root, "text", { x: left + length + 8, y: at + 11.5, class: "strong" }, short(size));
    });
    return rows.length * step + (narrow ? 0 : 4);
  });
}
