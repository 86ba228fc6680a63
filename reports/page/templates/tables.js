"use strict";
// Sorts and filters the report's tables. Without it they are there, whole, in the report's order.
// A filter has words that a row must have (best, cosine) and comparisons of a column by its name in
// the CSV file (lr<0.001, val_loss_nats<=7.3, seed=2, notes=best).
const COMPARISON = /^([a-z_]+)(<=|>=|<|>|=)(.+)$/;
const MEANS = {
  "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b,
};

function valueOf(cell) {
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : text.toLowerCase();
}

function order(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
  return typeof a === "number" ? -1 : 1; // a dash after every number, in both directions
}

function sortBy(table, heading, column) {
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows].map(row => [valueOf(row.cells[column]), row]);
  const sign = (a, b) => up || typeof a !== typeof b ? 1 : -1;
  rows.sort(([a], [b]) => sign(a, b) * order(a, b));
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function matches(row, term, names) {
  const found = COMPARISON.exec(term);
  const column = found ? names.indexOf(found[1]) : -1;
  if (column < 0) return row.textContent.toLowerCase().includes(term);
  const value = valueOf(row.cells[column]), wanted = found[3];
  if (found[2] !== "=") return typeof value === "number" && MEANS[found[2]](value, Number(wanted));
  return typeof value === "number" ? value === Number(wanted) : value.includes(wanted);
}

function filter(table, text, count) {
  const names = [...table.tHead.rows[0].cells].map(heading => heading.dataset.name);
  const terms = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !terms.every(term => matches(row, term, names));
  table.classList.toggle("filtered", terms.length > 0);
  const left = rows.filter(row => !row.hidden).length;
  count.textContent = terms.length ? `${left} of ${rows.length} rows` : "";
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    button.addEventListener("click", () => sortBy(table, heading, column));
    heading.append(button);
  });
  if (table.tBodies[0].rows.length < 5) continue; // all seen at a glance
  const names = [...table.tHead.rows[0].cells].map(heading => heading.dataset.name);
  const bar = document.createElement("p"), label = document.createElement("label");
  const input = document.createElement("input"), count = document.createElement("output");
  input.type = "search";
  input.placeholder = `best ${names[0]}=… val_loss_nats<…`;
  input.addEventListener("input", () => filter(table, input.value, count));
  bar.className = "filter";
  label.append("Filter ", input);
  bar.append(label, " ", count);
  table.closest(".scroll").before(bar);
}
