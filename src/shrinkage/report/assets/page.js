// The page comes alive: one slider moves every chart; knobs and metric; light and dark; widths.

let measured = 0;
let chosen = 0;

function draw() {
  for (const one of panels) one.draw(chosen);
}

function select(k) {
  if (k === chosen) return;
  chosen = k;
  showChoice();
  draw();
}

function showChoice() {
  const slider = byId("strength");
  const label = data.strengths.labels[chosen];
  slider.value = chosen;
  byId("now").textContent = label;
  data.readout.forEach(([, texts], i) => {
    byId("readout").children[i].lastChild.textContent = texts[chosen];
  });
  slider.setAttribute("aria-valuetext", `strength ${label}, ${data.readout.slice(0, 3)
    .map(([name, texts]) => `${name} ${texts[chosen]}`).join(", ")}`);
  for (const button of byId("jumps").children) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.place) === chosen));
  }
}

// Shows one combination of knobs: its words, its tables, its charts.
function show(slice) {
  data = slices[slice];
  panels = [];
  for (const part of document.querySelectorAll("[data-slice]")) part.hidden = part.dataset.slice !== String(slice);
  byId("verdict").dataset.answer = data.answer;
  measured = Math.min(measured, data.validation.metrics.length - 1);
  chosen = data.validation.metrics[0].marks[0]?.place ?? 0;
  drawEffect();
  drawValidation();
  drawLayers();
  drawLearning();
  if (data.residuals) {
    drawResiduals();
  } else {
    drawCalibration();
    drawConfusion();
  }
  drawNoise();
  fillDial();
  showChoice();
  draw();
}

function fillDial() {
  const slider = byId("strength");
  slider.max = data.strengths.labels.length - 1;
  slider.disabled = data.strengths.labels.length < 2;
  const names = new Map([[0, [["0", "no penalty"]]]]);
  for (const { rule, place } of data.validation.metrics[0].marks) {
    names.set(place, [...(names.get(place) ?? []), [RULES[rule].short, RULES[rule].name]]);
  }
  byId("jumps").replaceChildren();
  for (const [place, words] of names) {
    const [name, title] = [0, 1].map((i) => words.map((word) => word[i]).join(" = "));
    const button = put(byId("jumps"), "button", name, { type: "button", title });
    button.dataset.place = place;
    button.addEventListener("click", () => select(place));
  }
  byId("readout").replaceChildren();
  for (const [name] of data.readout) {
    const pair = put(byId("readout"), "div");
    put(pair, "dt", name);
    put(pair, "dd", "");
  }
}

function setUpChoices() {
  byId("strength").addEventListener("input", (event) => select(Number(event.target.value)));
  byId("dial").addEventListener("submit", (event) => event.preventDefault());
  byId("dial").hidden = false;
  byId("slice")?.addEventListener("change", (event) => show(Number(event.target.value)));
  byId("metric")?.addEventListener("change", (event) => {
    measured = Number(event.target.value);
    panels = panels.filter(({ host }) => host !== byId("validation"));
    drawValidation();
    draw();
  });
  for (const pick of document.querySelectorAll(".pick")) pick.hidden = false;
}

function setUpTheme() {
  const root = document.documentElement;
  byId("theme").addEventListener("click", () => {
    const system = window.matchMedia("(prefers-color-scheme: dark)").matches;
    const dark = root.classList.contains("dark") || (system && !root.classList.contains("light"));
    root.classList.toggle("dark", !dark);
    root.classList.toggle("light", dark);
  });
}

// Paper cannot be clicked on.
function setUpPrint() {
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
}

setUpChoices();
setUpTheme();
setUpPrint();
show(0);
new ResizeObserver(draw).observe(document.querySelector("main"));
