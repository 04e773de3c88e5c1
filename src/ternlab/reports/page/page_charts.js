"use strict";
// Charts: drawn once for each width, filled again when the filter changes.
// Levels of what Vega says on the console.
const ERRORS = 1, WARNINGS = 2;
const drawn = new Map();

function visibleRows(name, extra) {
  let found = rows[name] || [];
  if (extra) found = found.filter((row) => extra(row, name));
  // Means are always over all seeds: the filter selects what is shown and computes nothing.
  return found.filter((row) => {
    if (row.role === "baseline") return baselinesInSight.has(row.run);
    if (row.run !== undefined) return allowed.has(row.run);
    return row.group === undefined || allowedGroups.has(row.group);
  });
}

let baselinesInSight = new Set();
function lookForBaselines() {
  baselinesInSight = new Set(runs.filter((run) => allowed.has(run.run_id)).map((run) => run.baseline));
  for (const run of runs) if (allowed.has(run.run_id)) baselinesInSight.add(run.run_id);
}

function legendColumns(chart, width) {
  return Math.max(1, Math.floor((width + 6) / (chart.series * 6.3 + 34)));
}

async function drawChart(place, name, extra) {
  const chart = page.charts[name];
  const width = place.clientWidth;
  const config = structuredClone(page.config);
  if (chart.series) config.legend.columns = legendColumns(chart, width);
  const spec = structuredClone(chart.spec);
  spec.datasets = Object.fromEntries(chart.data.map((data) => [data, visibleRows(data, extra)]));
  for (const layer of spec.layer || []) if (layer.mark.limit) layer.mark.limit = width - 16;
  const before = drawn.get(place);
  const options = {
    config, ast: true, renderer: "svg", defaultStyle: " ", logLevel: WARNINGS, downloadFileName: name.replace(/\W+/g, "-"),
    actions: place.dataset.small ? false : { export: { svg: true, png: true }, source: false, compiled: false, editor: false },
    tooltip: { theme: "page", disableDefaultStyle: true },
  };
  const result = await vegaEmbed(place, spec, options);
  if (before) before.view.finalize();
  // While the filter lets nothing through, Vega would say that nothing has no extent.
  result.view.logLevel(ERRORS);
  // By itself Vega shows what a line says only near its points.
  result.view.addEventListener("pointermove", (event, item) => {
    if (item && item.tooltip && item.mark.marktype === "line") result.view.tooltip()(null, event, item, item.tooltip);
  });
  result.view.addEventListener("click", (event, item) => chosen(item && item.datum));
  drawn.set(place, { view: result.view, name, extra, columns: legendColumns(chart, width), width });
}

function chosen(datum) {
  if (!datum) return;
  if (datum.run !== undefined && runById.has(datum.run)) openRun(datum.run);
  else if (datum.group !== undefined) setFilter(datum.group);
}

async function refill() {
  lookForBaselines();
  for (const { view, name, extra } of drawn.values()) {
    for (const data of page.charts[name].data) view.data(data, visibleRows(data, extra));
    await view.runAsync();
  }
}

async function redrawForWidth() {
  for (const [place, { name, extra, columns }] of [...drawn]) {
    const chart = page.charts[name];
    if (place.isConnected && chart.series && legendColumns(chart, place.clientWidth) !== columns) {
      await drawChart(place, name, extra);
    }
  }
}

function choice(label, options, onchange) {
  const select = element("select", {}, ...options.map(([value, text]) => element("option", { value }, text)));
  select.addEventListener("change", () => onchange(select.value));
  return element("label", {}, label, select);
}

function place(id) {
  return document.getElementById(id);
}

async function drawHeat() {
  if (!page.charts.heat) return;
  let shown = 0;
  const one = (row) => row.map === undefined || row.map === shown;
  const again = (value) => { shown = Number(value); return refill(); };
  if (page.maps.length > 1) {
    place("heat-controls").append(choice("Other settings", page.maps.map((words, at) => [at, words || "all"]), again));
  }
  await drawChart(place("chart-heat"), "heat", one);
}

async function drawCurves() {
  const names = Object.keys(page.charts).filter((name) => name.startsWith("curves:"));
  if (!names.length) return;
  const title = (name) => page.curves[name.slice(7)];
  if (names.length > 1) {
    place("curves-controls").append(
      choice("Curve", names.map((name) => [name, title(name)]), (name) => drawChart(place("chart-curves"), name)));
  }
  await drawChart(place("chart-curves"), names[0]);
}

async function drawLayers() {
  const names = Object.keys(page.charts).filter((name) => name.startsWith("layers-"));
  let shown = page.close[0];
  const one = (row) => row.run === shown;
  const title = (id) => `${runById.get(id).words}, seed ${runById.get(id).seed}`;
  const again = async (value) => { shown = value; for (const two of twins) two.value = value; await refill(); await drawWeights(shown); };
  const twins = [];
  for (const id of ["layers-controls", "weights-controls"]) {
    if (!page.close.length || !place(id)) continue;
    const label = choice("Run", page.close.map((run) => [run, title(run)]), again);
    twins.push(label.querySelector("select"));
    place(id).append(label, element("button", { type: "button", onclick: () => openRun(shown) }, "Details"));
  }
  for (const name of names) await drawChart(place(`chart-${name}`), name, one);
  await drawWeights(shown);
}

async function drawWeights(run) {
  const grid = place("chart-weights");
  if (!grid || !page.charts.weights) return;
  for (const [old] of [...drawn]) if (grid.contains(old)) { drawn.get(old).view.finalize(); drawn.delete(old); }
  grid.replaceChildren();
  const layers = new Map(rows.bins.filter((row) => row.run === run).map((row) => [row.layer, row]));
  if (!layers.size) grid.append(element("p", { class: "note" }, "The weights of this run are not there, or cannot be read."));
  for (const [layer, row] of layers) {
    const holder = element("div", { class: "chart", "data-small": "1", role: "figure", "aria-label": `Histogram of the weights of ${layer}` });
    const zeros = row.zeros === null ? "" : `${row.zeros.toFixed(1)} % zeros`;
    grid.append(element("div", {}, element("h3", {}, layer), element("p", {}, zeros), holder));
    await drawChart(holder, "weights", (bin) => bin.run === run && bin.layer === layer);
  }
}
