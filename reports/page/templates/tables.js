"use strict";
// Sorts and filters the report's tables. Without it they are there, whole, in the report's order.
// A filter has words that a row must have (best, cosine) and comparisons of a column by its name in
// the CSV file (lr<0.001, val_loss_nats <= 7.3, seed=2, beta1!=0.9, notes=best).
const OPERATOR = /\s*(<=|>=|!=|==|<|>|=)\s*/g;
const COMPARISON = /^([^<>=!]+)(<=|>=|!=|==|<|>|=)(.*)$/;
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

function equals(value, wanted) {
  return typeof value === "number" ? value === Number(wanted) : value.includes(wanted);
}

function matches(row, term, names) {
  const found = COMPARISON.exec(term);
  if (!found) return row.textContent.toLowerCase().includes(term);
  const [, name, sign, wanted] = found, column = names.indexOf(name);
  if (wanted === "") return true; // it is still being typed
  const value = valueOf(row.cells[column]);
  if (sign === "!=") return !equals(value, wanted);
  if (sign in MEANS) return typeof value === "number" && MEANS[sign](value, Number(wanted));
  return equals(value, wanted);
}

function filter(table, text, count) {
  const names = [...table.tHead.rows[0].cells].map(heading => heading.dataset.name.toLowerCase());
  const terms = text.toLowerCase().replace(OPERATOR, "$1").split(/\s+/).filter(Boolean);
  const compared = terms.map(term => COMPARISON.exec(term)?.[1]).filter(Boolean);
  const unknown = compared.find(name => !names.includes(name));
  const asked = unknown ? [] : terms, rows = [...table.tBodies[0].rows];
  for (const row of rows) row.hidden = !asked.every(term => matches(row, term, names));
  table.classList.toggle("filtered", asked.length > 0);
  const left = rows.filter(row => !row.hidden).length;
  count.textContent = asked.length ? `${left} of ${rows.length} rows` : "";
  if (unknown) count.textContent = `no column '${unknown}'; there are ${names.join(", ")}`;
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
