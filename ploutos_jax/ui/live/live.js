// Live curves of chosen runs, from server-sent events. Nothing is kept here that the server does not send again.
"use strict";

const COLOURS = {
  light: ["#1f5fe0", "#d97706", "#0f9d76", "#c2408f", "#7a5af0", "#8a6d3b", "#0c8fb3", "#c0392b", "#5c7a29", "#6b7280"],
  dark: ["#6ea1ff", "#f5a742", "#3ccfa0", "#ee7fc0", "#a994ff", "#c9a96a", "#48c4e8", "#ff8a7a", "#a3c45c", "#9aa3b0"],
};
const SHOWN_FIRST = ["held_out_sharpe", "equity", "episode_return_mean", "loss"];
const NAMES = {
  episode_return_mean: "mean return of episodes", held_out_sharpe: "Sharpe ratio, held out", equity: "equity ($)",
  held_out_total_return: "total return, held out", approx_kl: "approximate KL", grad_norm: "norm of the gradient",
  host_memory_bytes: "memory of the host (bytes)", device_memory_bytes: "memory of the device (bytes)",
  steps_per_second: "steps a second", update_seconds: "seconds of an update",
};
const MOST_LINES = 200;
const asked = new URLSearchParams(location.search);
const chosen = new Set(asked.getAll("run"));
const points = new Map(), logs = new Map();
let runs = [], source = null, redraw = 0;

const byId = (id) => document.getElementById(id);
const words = (name) => NAMES[name] || name.replaceAll("_", " ");
const make = (tag, text, more = {}) => Object.assign(document.createElement(tag), { textContent: text }, more);
const isCurvesAlone = asked.get("view") === "curves";  // the page around it chooses runs then
const colourOf = (name) => {
  const colours = COLOURS[document.documentElement.dataset.theme];
  return colours[[...chosen].indexOf(name) % colours.length];
};

function say(text, kind = "") {
  Object.assign(byId("connection"), { textContent: text, className: kind });
}

function setTheme() {
  const dark = asked.get("theme") ? asked.get("theme") === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

function connect() {
  if (source) source.close();
  points.clear(); logs.clear();
  const query = [...chosen].map((name) => "run=" + encodeURIComponent(name)).join("&");
  source = new EventSource("/api/runs/live?" + query);
  source.onopen = () => say("Live: what is written is shown within two seconds.");
  source.onerror = () => say("The server does not answer; asking again …", "bad");
  source.addEventListener("runs", (event) => { runs = JSON.parse(event.data); chooseFirst(); showRuns(); });
  source.addEventListener("figures", (event) => {
    const news = JSON.parse(event.data);
    points.set(news.run, news.all ? news.points : (points.get(news.run) || []).concat(news.points));
    offerFigures(); drawSoon();
  });
  source.addEventListener("log", (event) => {
    const news = JSON.parse(event.data);
    logs.set(news.run, (news.all ? [] : logs.get(news.run) || []).concat(news.lines).slice(-MOST_LINES));
    showLog();
  });
}

// Without a choice: what runs now, or else the newest.
function chooseFirst() {
  if (chosen.size || !runs.length) return;
  const running = runs.filter((run) => run.state === "running").slice(0, 4);
  for (const run of running.length ? running : runs.slice(0, 1)) chosen.add(run.run);
  connect();
}

function toggle(name) {
  if (chosen.has(name)) chosen.delete(name); else chosen.add(name);
  if (!chosen.size) chosen.add(name);
  connect(); showRuns(); drawSoon();
}

function showRuns() {
  const focused = document.activeElement && document.activeElement.dataset.run;
  byId("chooser").replaceChildren(...runs.map((run) => {
    const button = make("button", "", { type: "button", onclick: () => toggle(run.run) });
    button.dataset.run = run.run;
    button.setAttribute("aria-pressed", String(chosen.has(run.run)));
    const dot = make("span", "", { className: "dot" });
    dot.style.background = chosen.has(run.run) ? colourOf(run.run) : "transparent";
    button.append(dot, run.run, make("span", run.state, { className: "state" }));
    if (focused === run.run) setTimeout(() => button.focus(), 0);
    return button;
  }));
  if (!runs.length) byId("chooser").replaceChildren(make("p", "No run yet: start one on the page Train."));
  byId("cards").replaceChildren(...runs.filter((run) => chosen.has(run.run)).map(card));
}

function card(run) {
  const box = make("div", "", { className: "card" });
  box.style.borderLeftColor = colourOf(run.run);
  const share = run.total_timesteps ? Math.min(run.timesteps / run.total_timesteps, 1) : 0;
  const left = run.state === "running" && run.steps_per_second && run.total_timesteps
    ? `, about ${Math.ceil(Math.max(run.total_timesteps - run.timesteps, 0) / run.steps_per_second)} s left` : "";
  const whole = run.total_timesteps ? run.total_timesteps.toLocaleString("en") : "?";
  const speed = run.steps_per_second ? `${Math.round(run.steps_per_second).toLocaleString("en")} steps/s` : "";
  box.append(make("h2", run.run), make("progress", "", { max: 1, value: share }));
  box.lastChild.setAttribute("aria-label", "progress");
  box.append(make("p", `${run.state}: ${run.timesteps.toLocaleString("en")} of ${whole} steps ${speed}${left}`));
  box.append(make("p", `${run.data || "?"}, ${run.algorithm || "?"}, preset ${run.preset || "?"}`));
  if (run.score && run.score.sharpe !== null) {
    box.append(make("p", `Final score: Sharpe ${run.score.sharpe.toFixed(2)}`
      + `, return ${(100 * run.score.total_return).toFixed(1)} %`));
  }
  if (run.problem) box.append(make("p", run.problem, { className: "bad" }));
  if (run.state === "running") box.append(action("Stop with a checkpoint", "/api/runs/stop", run.run));
  if (run.state === "stopped") box.append(action("Go on", "/api/runs/resume", run.run));
  return box;
}

function action(label, address, name) {
  const button = make("button", label, { type: "button" });
  button.onclick = async () => {
    button.disabled = true;
    const answer = await fetch(address, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ run: name }),
    });
    const said = await answer.json();
    say(answer.ok ? `${label}: asked for.` : said.detail, answer.ok ? "" : "bad");
  };
  return button;
}

function offerFigures() {
  const place = byId("figures");
  const there = new Set([...points.values()].flatMap((rows) => rows.slice(-20).flatMap((row) => Object.keys(row))));
  for (const name of ["update", "timesteps", "seconds"]) there.delete(name);
  const known = new Set([...place.querySelectorAll("input")].map((box) => box.value));
  for (const name of [...SHOWN_FIRST.filter((each) => there.has(each)), ...there]) {
    if (known.has(name)) continue;
    const box = make("input", "", { type: "checkbox", value: name, checked: SHOWN_FIRST.includes(name) });
    const label = make("label", "");
    label.append(box, words(name));
    place.append(label);
    known.add(name);
  }
}

function drawSoon() {
  if (!redraw) redraw = setTimeout(() => { redraw = 0; draw(); }, 100);
}

function draw() {
  const style = getComputedStyle(document.documentElement), along = byId("along").value;
  const [ink, grid, panel] = ["--ink", "--line", "--panel"].map((name) => style.getPropertyValue(name).trim());
  const names = [...byId("figures").querySelectorAll("input:checked")].map((box) => box.value);
  for (const old of [...byId("charts").children]) {
    if (names.includes(old.id.slice(6))) continue;
    if (window.Plotly) Plotly.purge(old);
    old.remove();
  }
  for (const name of names) {
    let place = byId("chart-" + name);
    if (!place) byId("charts").append(place = make("div", "", { id: "chart-" + name, className: "chart" }));
    const lines = [...chosen].map((run) => {
      const rows = (points.get(run) || []).filter((row) => row[name] !== undefined && row[along] !== undefined);
      return { x: rows.map((row) => row[along]), y: rows.map((row) => row[name]), name: run, colour: colourOf(run) };
    });
    drawLines(place, lines, { title: words(name), along: byId("along").selectedOptions[0].text, ink, grid, panel });
  }
  showLegend();
  if (names.length) readPlotly(drawSoon);
}

function showLegend() {
  byId("legend").replaceChildren(...[...chosen].map((name) => {
    const dot = make("span", "", { className: "dot" });
    dot.style.background = colourOf(name);
    const entry = make("span", "");
    entry.append(dot, name);
    return entry;
  }));
}

function showLog() {
  const pre = byId("log"), atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 20;
  pre.textContent = [...logs].map(([run, lines]) => (logs.size > 1 ? `${run}\n` : "") + lines.join("\n")).join("\n\n");
  if (atEnd) pre.scrollTop = pre.scrollHeight;
}

// Within another page of this server: as high as what it holds, and so are the boxes that it stands in.
function fitFrame() {
  if (!window.frameElement) return;
  new ResizeObserver(() => {
    const height = `${document.body.scrollHeight + 8}px`;
    for (let box = window.frameElement; box && box.dataset.testid !== "stVerticalBlock"; box = box.parentElement) {
      box.style.height = height;
    }
  }).observe(document.body);
}

setTheme();
document.body.dataset.view = isCurvesAlone ? "curves" : "all";
fitFrame();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { setTheme(); showRuns(); drawSoon(); });
byId("figures").addEventListener("change", drawSoon);
byId("along").addEventListener("change", drawSoon);
addEventListener("resize", drawSoon);
addEventListener("pagehide", () => source && source.close());
connect();
