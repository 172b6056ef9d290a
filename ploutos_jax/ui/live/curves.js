// Line charts. Plotly draws them, but its script (4.7 MB) takes a browser a second to read: until it is there, and as
// long as nobody points at a chart, the same lines are a plain picture.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const [HIGH, LEFT, RIGHT, TOP, BOTTOM] = [300, 56, 10, 34, 46];
const IDLE_MILLISECONDS = 2500;
let reading = null;

function drawn(tag, more, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(more)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function short(value) {
  const size = Math.abs(value);
  for (const [unit, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit) return `${Number((value / unit).toPrecision(4))}${sign}`;
  }
  return String(Number(value.toPrecision(4)));
}

function ticks(low, high, most) {
  const rough = (high - low) / most, unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 2.5, 5, 10].find((each) => each * unit >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(at);
  return found;
}

function span(rows) {
  let [low, high] = [Infinity, -Infinity];
  for (const row of rows) for (const value of row) { low = Math.min(low, value); high = Math.max(high, value); }
  if (!(low < Infinity)) return [0, 1];
  return low < high ? [low, high] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
}

// Draw lines [{ x, y, name, colour }] as a picture; ink and grid are colours.
function sketch(place, lines, { title, along, ink, grid }) {
  const wide = Math.max(place.clientWidth, 200);
  const [left, right] = span(lines.map((each) => each.x));
  let [low, high] = span(lines.map((each) => each.y));
  const air = (high - low) * 0.06;
  low -= air; high += air;
  const across = (x) => LEFT + (x - left) / (right - left) * (wide - LEFT - RIGHT);
  const up = (y) => HIGH - BOTTOM - (y - low) / (high - low) * (HIGH - TOP - BOTTOM);
  const picture = drawn("svg", { class: "sketch", viewBox: `0 0 ${wide} ${HIGH}`, width: wide, height: HIGH, role: "img" });
  picture.append(drawn("title", {}, title));
  const said = (x, y, text, more = {}) => picture.append(drawn("text", { x, y, fill: ink, "font-size": 12, ...more }, text));
  said(8, 20, title, { "font-size": 14 });
  for (const at of ticks(low, high, 5)) {
    picture.append(drawn("line", { x1: LEFT, x2: wide - RIGHT, y1: up(at), y2: up(at), stroke: grid }));
    said(LEFT - 6, up(at) + 4, short(at), { "text-anchor": "end" });
  }
  for (const at of ticks(left, right, Math.max(2, Math.floor(wide / 110)))) {
    picture.append(drawn("line", { x1: across(at), x2: across(at), y1: TOP, y2: HIGH - BOTTOM, stroke: grid }));
    said(across(at), HIGH - BOTTOM + 16, short(at), { "text-anchor": "middle" });
  }
  said(LEFT + (wide - LEFT - RIGHT) / 2, HIGH - 10, along, { "text-anchor": "middle" });
  for (const { x, y, colour } of lines) {
    const points = x.map((each, row) => `${across(each).toFixed(1)},${up(y[row]).toFixed(1)}`);
    if (points.length === 1) picture.append(drawn("circle", { cx: across(x[0]), cy: up(y[0]), r: 3, fill: colour }));
    picture.append(drawn("polyline", { points: points.join(" "), fill: "none", stroke: colour, "stroke-width": 2 }));
  }
  place.replaceChildren(picture);
}

// Read Plotly's script once, when nothing else is to be done or a person points at a chart; then call back.
function readPlotly(then) {
  if (reading) return;
  const read = () => {
    if (reading) return;
    reading = document.createElement("script");
    reading.src = "/plotly.js";
    reading.onload = then;
    document.head.append(reading);
  };
  setTimeout(read, IDLE_MILLISECONDS);
  for (const kind of ["pointerover", "touchstart"]) {
    document.getElementById("charts").addEventListener(kind, read, { once: true, passive: true });
  }
}

// Draw lines into a place: by Plotly if it is there, else as a picture.
function drawLines(place, lines, look) {
  if (!window.Plotly) {
    sketch(place, lines, look);
    return;
  }
  if (place.querySelector(".sketch")) place.replaceChildren();
  const axis = { gridcolor: look.grid, zerolinecolor: look.grid, automargin: true };
  Plotly.react(place, lines.map(({ x, y, name, colour }) => ({ x, y, name, mode: "lines", line: { color: colour, width: 2 } })), {
    title: { text: look.title, font: { size: 14 }, x: 0.02, y: 0.96 }, paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)", font: { color: look.ink, size: 12 }, showlegend: false,
    xaxis: { ...axis, title: { text: look.along } }, yaxis: axis, height: HIGH,
    margin: { l: LEFT, r: RIGHT, t: TOP, b: BOTTOM }, uirevision: look.along, hovermode: "x unified",
    hoverlabel: { bgcolor: look.panel, bordercolor: look.grid, font: { color: look.ink } },
  }, { responsive: true, displaylogo: false, displayModeBar: false });
}
