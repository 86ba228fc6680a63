// The live page's script: asks for the state, and changes what changed. No library.
// Names and values get in by textContent alone.
"use strict";
const EVERY = 2000, SELDOM = 10000; // milliseconds between two questions
const SVG = "http://www.w3.org/2000/svg";
const el = (id) => document.getElementById(id);
let state = null, chosen = null, spots = [];

function put(node, text) { // only what changed: a selection stays, and nothing flickers
  const now = text ?? "–";
  if (node.textContent !== now) node.textContent = now;
}
const nats = (loss) => loss === null || loss === undefined ? "–" : loss.toFixed(4);

function keyed(parent, items, key, make, fill) { // a child for each item, in their order
  const have = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let at = parent.firstElementChild;
  for (const item of items) {
    let child = have.get(key(item));
    have.delete(key(item));
    if (!child) { child = make(item); child.dataset.key = key(item); }
    if (child !== at) parent.insertBefore(child, at); else at = at.nextElementSibling;
    fill(child, item);
  }
  for (const child of have.values()) child.remove();
}

function make(name, attributes = {}, parent = null) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function row(cells) {
  const line = document.createElement("tr");
  cells.forEach((kind, n) => {
    const cell = document.createElement(n ? "td" : "th");
    if (!n) cell.scope = "row";
    if (kind) cell.className = kind;
    line.append(cell);
  });
  return line;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  const minutes = seconds / 60;
  return minutes < 90 ? `${minutes.toFixed(minutes < 10 ? 1 : 0)} min` : `${(minutes / 60).toFixed(1)} h`;
}

function clock() { // also between two answers: the time left falls
  if (!state) return;
  const ends = state.ends_at && Date.parse(state.ends_at);
  const left = ends ? (ends - Date.now()) / 1000 : null;
  const day = ends && new Date(ends).toDateString() !== new Date().toDateString();
  const form = { hour: "2-digit", minute: "2-digit", hour12: false, ...(day ? { weekday: "short" } : {}) };
  put(el("left"), left !== null ? duration(left) : state.state === "complete" ? "none" : null);
  put(el("ends"), ends ? new Date(ends).toLocaleTimeString([], form) : null);
}

function show(now) {
  state = now;
  document.title = `${Math.floor(100 * (now.share ?? 0))}% · ${now.name}`;
  put(el("name"), now.name);
  put(el("words"), now.words);
  put(el("state"), now.state);
  el("command").hidden = !now.command;
  put(el("command"), now.command);
  el("state").classList.toggle("caution", ["cut short", "broken"].includes(now.state));
  if (now.state === "broken") return;
  put(el("begun"), `Hyperparameter search begun ${now.begun}` +
    (now.predicted ? `; predicted were ${now.predicted}` : ""));
  el("bar").value = now.share;
  put(el("share"), `${Math.floor(100 * now.share)}%`);
  put(el("speed"), now.speed);
  put(el("counted"), `${now.counted}.`);
  clock();
  el("answer-section").hidden = !now.answer.length;
  put(el("answer-title"), now.over ? "Found" : "Found so far");
  keyed(el("answer"), now.answer.map((line, n) => [...line, n]), ([, , n]) => `${n}`, () => {
    const part = document.createElement("div");
    part.append(document.createElement("dt"), document.createElement("dd"));
    return part;
  }, (part, [title, text]) => {
    part.classList.toggle("command", title === "Command");
    put(part.children[0], title);
    put(part.children[1], text);
  });
  el("running-section").hidden = !now.running.length;
  put(el("running-title"), now.state === "running" ? "Training now" : "Were training");
  keyed(el("running"), now.running, (each) => each.id, () => row(["", "number", "number", "number"]),
    (line, each) => {
      const texts = [each.label, `${each.step} of ${each.total_steps}`, nats(each.train), nats(each.val)];
      texts.forEach((text, n) => put(line.children[n], text));
    });
  put(el("more-running"), now.more_running ? `${now.more_running} more train.` : "");
  el("table-section").hidden = !now.rows.length;
  keyed(el("rows"), now.rows, (each) => each.id, () => row(["", "number", "number", "number", ""]),
    (line, each) => {
      line.classList.toggle("best", each.best);
      const note = each.reason ? `${each.state}: ${each.reason}` : each.best ? "best" : "";
      [each.label, nats(each.val), nats(each.train), each.time, note]
        .forEach((text, n) => put(line.children[n], text));
    });
  put(el("more-rows"), now.more_rows ? `${now.more_rows} more: the report has all.` : "");
  draw();
}

// ---- the figure ----

function steps(low, high, most) { // round numbers in between
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const size = [1, 2, 5, 10].map((n) => n * power).find((each) => each >= raw);
  const found = [];
  for (let n = Math.ceil(low / size - 1e-9); n * size <= high + 1e-9 * size; n++) found.push(n * size);
  return found;
}
const short = (n) => n >= 1e6 ? `${+(n / 1e6).toPrecision(4)}M` : n >= 1e3 ? `${+(n / 1e3).toPrecision(4)}k` : `${n}`;

function range(series, counting) { // the first steps' fall would flatten all that follows
  const end = Math.max(1, ...series.flatMap((s) => [...s.train, ...s.val].map((p) => p[0])));
  const late = series.flatMap((s) => [...s.train, ...s.val].filter((p) => p[0] >= 0.08 * end));
  const losses = (late.length ? late : series.flatMap((s) => [...s.train, ...s.val])).map((p) => p[1]);
  if (!losses.length) return [end, 0, 1];
  let low = Math.min(...losses), high = Math.max(...losses);
  const near = counting.map((c) => c.loss).filter((l) => l > low - 0.3 * (high - low + 0.2) && l < high);
  low = Math.min(low, ...near);
  const room = 0.06 * (high - low || 1);
  return [end, low - room, high + room];
}

function draw() {
  const svg = el("figure"), { series, counting } = state;
  const width = svg.clientWidth, height = svg.clientHeight;
  const left = 44, right = width - 10, top = 8, bottom = height - 38;
  const [end, low, high] = range(series, counting);
  const x = (tokens) => left + (right - left) * tokens / end;
  const y = (loss) => bottom - (bottom - top) * (loss - low) / (high - low);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  if (!svg.firstChild) {
    const clip = make("clipPath", { id: "inside" }, make("defs", {}, svg));
    make("rect", { id: "clip" }, clip);
    make("g", { id: "axes" }, svg);
    make("g", { id: "lines", "clip-path": "url(#inside)" }, svg);
    make("g", { id: "labels" }, svg); // above the curves
  }
  for (const [key, value] of Object.entries({ x: left, y: top - 4, width: right - left + 5, height: bottom - top + 8 }))
    el("clip").setAttribute(key, value);
  axes(x, y, [left, right, top, bottom], [end, low, high], counting);
  spots = [];
  keyed(el("lines"), series, (s) => s.id, (s) => {
    const group = make("g", { class: "series" });
    make("path", {}, group); make("path", {}, group); make("g", {}, group);
    return group;
  }, (group, s) => fill(group, s, x, y));
  legend(series);
  const under = counting.filter((c) => c.loss <= low).map((c) => ` ${c.name} ${c.loss.toFixed(2)}`);
  const below = under.length ? ` Below what is shown: ${under.join(",")}, by counting.`.replace("  ", " ") : "";
  const many = state.more_series ? ` ${state.more_series} more are not drawn: the report has all.` : "";
  put(el("caption"), series.length ? "Thick with dots: validation, between epochs on a few windows; " +
    `thin: training, with dropout. Grey: other trials, validation alone.${below}${many}` :
    "There are curves as soon as a trial has trained a little.");
  svg.setAttribute("aria-label", `Loss in nats against training tokens of ${series.length} trials`);
  choose(chosen);
}

function fill(group, s, x, y) {
  const colour = s.colour === null ? "none" : `k${s.colour}`;
  const d = (points) => points.map((p, n) => `${n ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");
  const [train, val, dots] = group.children;
  train.setAttribute("class", `curve train ${colour}`);
  val.setAttribute("class", `curve ${colour}`);
  train.setAttribute("d", d(s.train));
  val.setAttribute("d", d(s.val));
  const spotted = s.colour === null && s.val.length > 1 ? [] : s.val;
  keyed(dots, spotted, (p) => `${p[0]}`, () => make("circle", { r: 3 }), (dot, p) => {
    dot.setAttribute("class", `dot ${colour}`);
    dot.setAttribute("cx", x(p[0])); dot.setAttribute("cy", y(p[1]));
  });
  for (const [kind, points] of [["training", s.train], ["validation", s.val]])
    for (const p of points) spots.push({ id: s.id, label: s.label, kind, loss: p[1], at: p[0], x: x(p[0]), y: y(p[1]) });
}

function axes(x, y, [left, right, top, bottom], [end, low, high], counting) {
  const group = el("axes"), labels = el("labels");
  group.replaceChildren();
  labels.replaceChildren();
  for (const loss of steps(low, high, 6)) {
    make("line", { class: "grid", x1: left, x2: right, y1: y(loss), y2: y(loss) }, group);
    make("text", { x: left - 6, y: y(loss) + 4, "text-anchor": "end" }, group).textContent = `${+loss.toPrecision(6)}`;
  }
  for (const tokens of steps(0, end, Math.max(2, Math.min(8, (right - left) / 90))))
    make("text", { x: Math.min(x(tokens), right - 14), y: bottom + 16, "text-anchor": "middle" }, group).textContent = short(tokens);
  make("text", { x: (left + right) / 2, y: bottom + 33, "text-anchor": "middle" }, group).textContent =
    "training tokens seen; upwards: loss, nats per token";
  for (const each of counting.filter((c) => c.loss > low && c.loss < high)) {
    make("line", { class: "counting", x1: left, x2: right, y1: y(each.loss), y2: y(each.loss) }, group);
    const above = y(each.loss) - top > 14;
    make("text", { x: right, y: y(each.loss) + (above ? -4 : 14), "text-anchor": "end" }, labels).textContent = `${each.name} ${each.loss.toFixed(2)}`;
  }
}

function legend(series) {
  const named = series.filter((s) => s.colour !== null);
  keyed(el("legend"), named, (s) => s.id, () => {
    const item = document.createElement("li"), mark = make("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" });
    make("line", { x1: 1, x2: 25, y1: 5, y2: 5, "stroke-width": 2.5 }, mark);
    item.append(mark, document.createElement("span"));
    item.addEventListener("pointerenter", () => choose(item.dataset.key));
    item.addEventListener("pointerleave", () => choose(null));
    return item;
  }, (item, s) => {
    item.querySelector("line").setAttribute("class", `k${s.colour}`);
    const word = s.state === "complete" ? (s.best ? " · best" : "") : ` · ${s.state}`;
    put(item.querySelector("span"), s.label + (s.loss === null ? "" : ` ${nats(s.loss)}`) + word);
  });
}

function choose(id) {
  chosen = id;
  const lines = el("lines");
  if (!lines) return;
  lines.classList.toggle("quieter", id !== null && [...lines.children].some((g) => g.dataset.key === id));
  for (const group of lines.children) group.classList.toggle("chosen", group.dataset.key === id);
}

function point(event) { // names the nearest curve
  const box = el("figure").getBoundingClientRect(), tip = el("tip");
  const px = event.clientX - box.left, py = event.clientY - box.top;
  let best = null, nearest = 28 ** 2;
  for (const spot of spots) {
    const distance = (spot.x - px) ** 2 + (spot.y - py) ** 2;
    if (distance < nearest) [best, nearest] = [spot, distance];
  }
  choose(best ? best.id : null);
  tip.hidden = !best;
  if (!best) return;
  put(tip, `${best.label}: ${best.kind} ${nats(best.loss)} at ${short(best.at)} tokens`);
  tip.style.left = `${Math.min(best.x + 10, box.width - tip.offsetWidth)}px`;
  const above = best.y - tip.offsetHeight - 12; // beside the curve, not on it
  tip.style.top = `${above < 0 ? best.y + 14 : above}px`;
}

el("figure").addEventListener("pointermove", point);
el("figure").addEventListener("pointerdown", point);
el("figure").addEventListener("pointerleave", () => { el("tip").hidden = true; choose(null); });
new ResizeObserver(() => { if (state && state.series) draw(); }).observe(el("figure"));

// ---- asking ----

const isFile = location.protocol === "file:";

async function answer() {
  if (!isFile) {
    const found = await fetch("state.json", { cache: "no-store" });
    if (!found.ok) throw new Error(`status ${found.status}`);
    return found.json();
  }
  return new Promise((resolve, reject) => { // a page of a file may load scripts, not read files
    const script = document.createElement("script");
    globalThis.told = resolve;
    script.src = `live-state.js?${Date.now()}`;
    script.onload = () => script.remove();
    script.onerror = () => { script.remove(); reject(new TypeError("no file")); };
    document.head.append(script);
  });
}

function isOld(now) { // a file stays when who writes it is gone
  return isFile && !now.over && Date.now() - Date.parse(now.now) > 15 * EVERY;
}

async function ask() {
  if (document.hidden) return setTimeout(ask, EVERY);
  let wait = EVERY;
  try {
    const now = await answer();
    show(now);
    if (now.over) return; // nothing will change
    if (["cut short", "broken"].includes(now.state)) wait = SELDOM; // somebody may resume it
    if (isOld(now)) throw new TypeError("nobody writes it");
  } catch (error) {
    if (!(error instanceof TypeError)) console.error(error); // a TypeError: nobody answers
    wait = SELDOM;
    put(el("state"), "not served");
    el("state").classList.add("caution");
    put(el("words"), "This page's command has ended; what it shows is how far it knew.");
  }
  setTimeout(ask, wait);
}
setInterval(clock, 1000);
ask();
