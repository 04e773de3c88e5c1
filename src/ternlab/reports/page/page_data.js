"use strict";
// What the page knows: rows by name, runs by id, and which of them the filter lets through.
const page = JSON.parse(document.getElementById("report-data").textContent);

function unfolded(table) {
  return table.rows.map((row) => Object.fromEntries(table.columns.map((name, place) => [name, row[place]])));
}

const rows = Object.fromEntries(Object.entries(page.data).map(([name, table]) => [name, unfolded(table)]));
const runs = unfolded(page.runs);
const runById = new Map(runs.map((run) => [run.run_id, run]));
const settingsOf = (run) => page.recipes[run.recipe] || {};

for (const run of runs) {
  const named = { ...settingsOf(run), ...run.axes, quant: run.quant, model: run.model, data: run.data, seed: run.seed };
  run.pairs = new Set(Object.entries(named).map(([name, value]) => `${name}=${written(value)}`.toLowerCase()));
  run.text = `${run.run_id} ${run.state} ${run.words} ${run.error} ${[...run.pairs].join(" ")}`.toLowerCase();
}

function written(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function fitting(typed) {
  // name=value fits whole settings, so that 0.01 is not 0.015; other words fit anywhere.
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  return runs.filter((run) => words.every((word) => (word.includes("=") ? run.pairs.has(word) : run.text.includes(word))));
}

let allowed = new Set(runs.map((run) => run.run_id));
let allowedGroups = new Set(runs.map((run) => run.words));

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else made.setAttribute(name, value);
  }
  // Strings become text, never markup.
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}
