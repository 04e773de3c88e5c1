"use strict";
// The page: filter, charts, table, one after the other.
async function applyFilter(typed) {
  const found = fitting(typed);
  allowed = new Set(found.map((run) => run.run_id));
  allowedGroups = new Set(found.map((run) => run.words));
  place("filter-count").textContent = `${found.length} of ${runs.length} runs`;
  shownRows = ROWS_AT_FIRST;
  drawTable();
  await refill();
}

function setFilter(typed) {
  place("filter").value = typed;
  return applyFilter(typed);
}

function later(action, milliseconds) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(action, milliseconds); };
}

async function start() {
  lookForBaselines();
  drawHead();
  drawTable();
  place("filter-count").textContent = `${runs.length} runs`;
  place("filter").addEventListener("input", later(() => applyFilter(place("filter").value), 150));
  place("filter-clear").addEventListener("click", () => setFilter(""));
  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-run]");
    if (row) openRun(row.dataset.run);
  });
  for (const name of ["settings", "size", "parallel", "published"]) if (page.charts[name]) await drawChart(place(`chart-${name}`), name);
  await drawHeat();
  await drawCurves();
  await drawLayers();
  window.addEventListener("resize", later(redrawForWidth, 200));
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  console.error(error);
  place("trouble").textContent = `The charts could not be drawn: ${error}`;
});
