// The live page: four views over one WebSocket, drawn as they change.
"use strict";

const STALE_AFTER_MS = 10_000; // Something is said at least every 3 seconds.
const ASSETS_SHOWN = 200, THRESHOLDS_SHOWN = 200, EVENTS_SHOWN = 50;
const EVENTS_KEPT = 1000; // The view has those of all times.
const byId = id => document.getElementById(id);
const state = { socket: null, heard: 0, epoch: 0, retry: 500, shown: null };
const views = { asset_health: new Map(), threshold_states: new Map(), events: new Map(),
  asset_metrics: new Map() };
const dirty = new Set();

// How bad a band, level or severity is: a class, a shape that needs no colour, and an order.
const LOOKS = {
  critical: ["critical", "\u25b2", 0], warning: ["warning", "\u25c6", 1],
  degraded: ["warning", "\u25c6", 1], healthy: ["good", "\u25cf", 3], normal: ["good", "\u25cf", 3],
  info: ["good", "\u25cf", 3],
};
const look = name => LOOKS[name] || ["unknown", "\u25cb", 2];
const marked = name => `${look(name)[1]} ${name || "unknown"}`;
const text = value => value === null || value === undefined ? "\u2013" : String(value);
const time = value => value ? value.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "\u2013";
const number = (value, digits) => value === null ? "\u2013" : value.toFixed(digits);

function cell(content, classes) {
  const td = document.createElement("td");
  if (content instanceof Node) td.append(content); else td.textContent = content;
  if (classes) td.className = classes;
  return td;
}

// Brings the rows of a table to those wanted; [key, cells, class] each. Rows that are as they were
// are not touched, so a screen reader and a selection stay where they are.
function draw(id, wanted, total = wanted.length) {
  const body = byId(id);
  const old = new Map([...body.children].map(row => [row.dataset.key, row]));
  const fresh = wanted.map(([key, cells, classes]) => {
    const built = document.createElement("tr");
    built.dataset.key = key;
    if (classes) built.className = classes;
    built.append(...cells);
    const known = old.get(key);
    if (known && known.innerHTML === built.innerHTML) return known;
    if (known) built.classList.add("changed");
    return built;
  });
  if (fresh.length !== body.children.length || fresh.some((row, i) => row !== body.children[i])) {
    body.replaceChildren(...fresh);
  }
  const none = byId(`${id}-none`), count = byId(`${id}-count`);
  if (none) none.hidden = wanted.length > 0;
  const all = total ? String(total) : "";
  if (count) count.textContent = total > wanted.length ? `${all}, shown: ${wanted.length}` : all;
}

function because(row) {
  const parts = JSON.parse(row.contributions || "[]");
  return parts.filter(part => part.points).map(part => `${part.rule} ${part.points.toFixed(1)}`).join(", ");
}

function assetButton(asset) {
  const button = document.createElement("button");
  button.className = "asset";
  button.textContent = asset;
  button.onclick = () => show(asset);
  return button;
}

const drawings = {
  asset_health() {
    const rows = [...views.asset_health.values()];
    const rank = row => row.score === null ? 1e9 : row.score;
    rows.sort((a, b) => rank(a) - rank(b) || (a.asset < b.asset ? -1 : 1));
    const bands = new Map();
    rows.forEach(row => bands.set(row.band || "unknown", (bands.get(row.band || "unknown") || 0) + 1));
    const order = [...bands].sort((a, b) => look(a[0])[2] - look(b[0])[2]);
    byId("bands").replaceChildren(...order.map(([band, count]) => {
      const span = document.createElement("span");
      span.className = look(band)[0];
      span.textContent = `${marked(band)} ${count}`;
      return span;
    }));
    draw("assets", rows.slice(0, ASSETS_SHOWN).map(row => [row.asset, [
      cell(number(row.score, 0), `number ${look(row.band)[0]}`), cell(marked(row.band), look(row.band)[0]),
      cell(assetButton(row.asset)), cell(row.asset_type), cell(because(row)), cell(time(row.event_time)),
    ]]), rows.length);
  },
  threshold_states() {
    const rows = [...views.threshold_states.values()];
    rows.sort((a, b) => look(a.level)[2] - look(b.level)[2] || (a.since < b.since ? 1 : -1));
    draw("thresholds", rows.slice(0, THRESHOLDS_SHOWN).map(row => [`${row.asset} ${row.rule}`, [
      cell(marked(row.level), look(row.level)[0]), cell(row.asset), cell(row.rule), cell(time(row.since)),
    ]]), rows.length);
  },
  events() {
    const rows = [...views.events.values()];
    rows.sort((a, b) => a.event_time < b.event_time ? 1 : -1);
    rows.slice(EVENTS_KEPT).forEach(row => views.events.delete(keyOf(row)));
    draw("events", rows.slice(0, EVENTS_SHOWN).map(row => [keyOf(row), [
      cell(time(row.event_time)), cell(marked(row.severity), look(row.severity)[0]), cell(row.asset),
      cell((row.message || row.event_type) + (row.suppressed ? " (within the cooldown)" : "")),
    ], row.suppressed ? "suppressed" : ""]));
  },
  asset_metrics() {
    const rows = [...views.asset_metrics.values()];
    rows.sort((a, b) => a.metric < b.metric ? -1 : 1);
    draw("metrics", rows.map(row => [row.metric, [
      cell(row.metric), cell(row.text === null ? text(row.value) : row.text, "number"),
      cell(row.unit || ""), cell(row.quality), cell(time(row.event_time)),
    ]]));
  },
};

// Rows of a change stream without a key are told apart by all that they say.
function keyOf(row) {
  const { diff, count, ...rest } = row;
  return JSON.stringify(rest);
}

function apply(view, rows) {
  for (const row of rows) {
    const { diff = 1, ...rest } = row, key = keyOf(rest), held = views[view].get(key);
    const count = (held ? held.count : 0) + diff;
    // Normal levels are most of all levels, and not shown.
    if (count > 0 && row.level !== "normal") views[view].set(key, { ...rest, count });
    else views[view].delete(key);
  }
  dirty.add(view);
}

function take(message) {
  state.heard = Date.now();
  state.epoch = Math.max(state.epoch, message.epoch || 0);
  const [view, asset] = message.id.split(/:(.*)/s);
  // What still comes of a subscription that was given up is of no interest.
  if (message.rows && (asset === undefined || asset === state.shown)) apply(view, message.rows);
  if (message.type === "snapshot_complete") dirty.add(view);
  if (message.type === "closed" || message.type === "error") state.socket.close();
}

const say = message => state.socket.send(JSON.stringify(message));

// The rows of a view, of one asset when it is named.
function subscribe(view, asset) {
  views[view].clear();
  const id = asset === undefined ? view : `${view}:${asset}`;
  say({ subscribe: { id, view, filter: asset === undefined ? {} : { asset } } });
}

function show(asset) {
  if (asset === state.shown || state.socket.readyState !== WebSocket.OPEN) return;
  if (state.shown !== null) say({ unsubscribe: { id: `asset_metrics:${state.shown}` } });
  state.shown = asset;
  byId("detail").hidden = false;
  byId("detail-asset").textContent = asset;
  subscribe("asset_metrics", asset);
  dirty.add("asset_metrics");
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = state.socket = new WebSocket(`${scheme}//${location.host}/api/v1/subscribe`);
  socket.onopen = () => {
    state.retry = 500;
    ["asset_health", "threshold_states", "events"].forEach(view => subscribe(view));
    if (state.shown !== null) subscribe("asset_metrics", state.shown);
  };
  socket.onmessage = event => take(JSON.parse(event.data));
  socket.onclose = () => {
    state.heard = 0;
    setTimeout(connect, state.retry);
    state.retry = Math.min(state.retry * 2, 10_000);
  };
}

function status() {
  const stale = Date.now() - state.heard > STALE_AFTER_MS;
  byId("plant").classList.toggle("stale", stale);
  byId("state").classList.toggle("lost", stale && state.epoch > 0);
  byId("state").textContent = !stale ? `live, epoch ${state.epoch}`
    : state.epoch ? "connection lost: what is shown may be old; trying again" : "connecting";
}

// Many changes in one frame of the screen are drawn once.
setInterval(() => {
  for (const view of dirty) drawings[view]();
  dirty.clear();
  status();
}, 200);
connect();
