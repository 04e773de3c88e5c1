"use strict";
// The table of all runs, and what is known of one.
const ROWS_AT_FIRST = 200;
let order = { name: "", down: false };
let shownRows = ROWS_AT_FIRST;

const COLUMNS = [
  ["run", (run) => run.run_id, null],
  ["state", (run) => run.state, null],
  ["settings", (run) => run.words, null],
  ["seed", (run) => run.seed, 0],
  ["val top-1 (%)", (run) => run.metrics["val/top1"], 2],
  ["test top-1 (%)", (run) => run.metrics["test/top1"], 2],
  ["degradation (points)", (run) => run.metrics["degradation/top1"], "+"],
  ["size (kB)", (run) => kilo(run.metrics["size/quantized_bytes"]), 1],
  ["zeros (%)", (run) => (run.quant === "none" ? undefined : times(100, run.metrics["quant/sparsity"])), 1],
  ["training (s)", (run) => run.facts.seconds, 0],
];

function times(factor, value) {
  return value === undefined || value === null ? undefined : factor * value;
}

function kilo(bytes) {
  return times(0.001, bytes);
}

function numeral(value, digits) {
  if (value === undefined || value === null) return "";
  if (digits === null) return written(value);
  const text = value.toFixed(digits === "+" ? 2 : digits).replace(/^-(0(\.0*)?)$/, "$1").replace("-", "\u2212");
  return digits === "+" && !text.startsWith("\u2212") ? `+${text}` : text;
}

function compare(a, b) {
  const empty = (value) => value === undefined || value === null || value === "";
  if (empty(a) || empty(b)) return empty(a) - empty(b);
  const sign = order.down ? -1 : 1;
  return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
}

function drawTable() {
  const get = (COLUMNS.find(([name]) => name === order.name) || [null, null])[1];
  const found = runs.filter((run) => allowed.has(run.run_id));
  if (get) found.sort((a, b) => compare(get(a), get(b)));
  place("runs-body").replaceChildren(...found.slice(0, shownRows).map(rowOf));
  place("runs-more").replaceChildren();
  if (found.length > shownRows) {
    const more = () => { shownRows = Infinity; drawTable(); };
    place("runs-more").append(
      `The first ${shownRows} of ${found.length}. `, element("button", { type: "button", class: "more", onclick: more }, "Show all"));
  }
  for (const head of document.querySelectorAll("#runs-head th")) {
    head.setAttribute("aria-sort", head.dataset.name !== order.name ? "none" : order.down ? "descending" : "ascending");
  }
}

function rowOf(run) {
  const cells = COLUMNS.map(([name, get, digits]) => {
    if (name === "run") {
      return element("td", { class: "id" }, element("button", { type: "button", class: "link mono", "data-run": run.run_id }, run.run_id));
    }
    const kind = name === "state" ? `state ${run.state}` : digits === null ? "words" : "number";
    return element("td", { class: kind }, numeral(get(run), digits));
  });
  return element("tr", { class: "run", "data-run": run.run_id }, ...cells);
}

function drawHead() {
  for (const [name, , digits] of COLUMNS) {
    const sort = () => {
      order = { name, down: order.name === name ? !order.down : false };
      drawTable();
    };
    const head = element("th", { scope: "col", class: digits === null ? "" : "number" }, element("button", { type: "button", onclick: sort }, name));
    head.dataset.name = name;
    place("runs-head").append(head);
  }
}

function pairs(title, entries) {
  const found = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  if (!found.length) return [];
  const lines = found.map(([name, value]) => element("tr", {}, element("td", {}, name), element("td", { class: "mono" }, written(value))));
  return [element("h3", {}, title), element("table", {}, element("tbody", {}, ...lines))];
}

function openRun(id) {
  const run = runById.get(id);
  if (!run) return;
  const dialog = place("details");
  const only = () => { dialog.close(); setFilter(run.run_id); };
  const siblings = () => { dialog.close(); setFilter(run.words); };
  const baseline = runById.has(run.baseline) ? () => openRun(run.baseline) : null;
  const buttons = [
    element("button", { type: "button", onclick: only }, "Show this run alone"), " ",
    run.quant === "none" ? null : element("button", { type: "button", onclick: siblings }, "Show all its seeds"), " ",
    baseline && element("button", { type: "button", onclick: baseline }, "Show its baseline"),
  ];
  const about = { state: run.state, data: run.data, network: run.model, rule: run.quant, seed: run.seed, baseline: run.baseline,
    epochs: run.facts.epochs, "seconds of training": run.facts.seconds, started: run.facts.started,
    machine: run.facts.host, CPU: run.facts.cpu, folder: run.path };
  dialog.replaceChildren(
    element("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
    element("h2", { id: "details-title" }, run.run_id),
    element("p", { class: "soft" }, run.words), element("div", { class: "controls screen" }, ...buttons),
    ...(run.error ? [element("h3", {}, "Error"), element("pre", {}, run.error)] : []),
    element("h3", {}, "Command"), element("pre", { id: "details-command" }, run.command || "none"),
    ...pairs("Run", Object.entries(about)), ...pairs("Metrics, as in its record", Object.entries(run.metrics)),
    ...pairs("Settings that differ from their defaults", Object.entries({ ...settingsOf(run), ...run.axes })));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}
