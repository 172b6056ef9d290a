// From what a chart says it shows (the JSON beside it) to a chart by uPlot: zoom, crosshair, readout, legend, scales.

const PHONE = matchMedia('(max-width: 640px)');
const WIDTHS = { strong: 2.4, thin: 1 };
const MONTH = 30.44 * 86400;
const SPANS = [['1M', 1], ['3M', 3], ['6M', 6], ['1Y', 12], ['3Y', 36], ['5Y', 60]];
const charts = []; // { host, spec, u }
const together = uPlot.sync('time');
let zoom = null; // seconds [from, to] that all dated charts show, or all that they have

const placesOf = x => {
  if (x.kind === 'names') return x.names.map((_, i) => i);
  if (x.kind === 'number') return x.values;
  let now = 0;
  return x.steps.map(step => (now += step) * x.seconds);
};

/** Which of uPlot's columns holds a series: lines are drawn last to first, so that the first lies on top. */
const columnOf = (spec, i) => (spec.drawn || spec.stacked ? i + 1 : spec.series.length - i);
const inOrder = (spec, items) => (spec.drawn || spec.stacked ? items : [...items].reverse());

/** The columns that are drawn: the values as they are, or each on top of those before it. */
const columnsOf = spec => {
  if (!spec.stacked) return spec.series.map(one => one.v);
  let below = null;
  return spec.series.map(one => (below = one.v.map((value, i) => value + (below ? below[i] : 0))));
};

const fullRange = (spec, xs) => {
  const first = xs[0], last = xs.at(-1);
  if (spec.x.kind === 'names') return [first - 0.5, last + 0.5];
  if (spec.x.kind === 'number') return [first - (spec.step ?? 0) / 2, last + (spec.step ?? 0) / 2];
  return first === last ? [first - 43200, last + 43200] : [first, last];
};

const rangeOfY = spec => (u, low, high) => {
  if (low == null || !Number.isFinite(low)) return spec.log ? [1, 10] : [0, 1];
  if (spec.log) {
    const room = low < high ? (high / low) ** 0.05 : 1.01;
    return [low / room, high * room];
  }
  if (spec.zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const room = 0.06 * (high - low) || 0.01 * Math.abs(high) || 0.01;
  return [spec.zero && low === 0 ? 0 : low - room, spec.zero && high === 0 ? 0 : high + room];
};

const seriesOf = (spec, few) => one => {
  const line = !['bars', 'hidden'].includes(one.kind);
  return {
    label: one.name, show: !one.off, pxAlign: 0, width: WIDTHS[one.kind] ?? 1.4, spanGaps: false,
    stroke: line ? () => ink(one.color) : null,
    dash: one.kind === 'dashed' ? [5, 4] : null,
    fill: line && one.fill && !spec.stacked ? () => faded(one.color, one.fill) : null,
    fillTo: 0,
    paths: line ? uPlot.paths.linear() : () => null,
    points: { show: line && few },
  };
};

const axesOf = spec => {
  const text = { stroke: () => ink('faint'), font: '12px system-ui, sans-serif', ticks: { show: false } };
  const dated = spec.x.kind === 'time';
  const x = {
    ...text, grid: { show: false }, size: spec.joined ? 6 : 40, space: dated ? 62 : 54, gap: 6,
    values: dated ? TIME_LABELS : (u, ticks) => tickLabels(ticks, spec.x.unit),
  };
  if (spec.joined) x.values = (u, ticks) => ticks.map(() => '');
  if (spec.x.kind === 'names') {
    const few = Math.ceil(spec.x.names.length / (PHONE.matches ? 6 : 16));
    x.splits = () => spec.x.names.map((_, i) => i).filter(i => i % few === 0);
    x.values = (u, ticks) => ticks.map(i => spec.x.names[i] ?? '');
  }
  const y = {
    ...text, size: PHONE.matches ? 48 : 56, gap: 6, space: 40,
    grid: { stroke: () => ink('line'), width: 1 },
    values: (u, ticks) => tickLabels(ticks, spec.unit),
  };
  if (spec.log) Object.assign(y, { splits: u => logTicks(u.scales.y.min, u.scales.y.max), filter: (u, ticks) => ticks });
  return [x, y];
};

const hooksOf = chart => {
  const { spec } = chart, all = spec.series.length;
  return {
    drawClear: [u => drawBands(u, spec.bands ?? [])],
    drawAxes: [u => {
      if (spec.unit !== 'dollars' && u.scales.y.min < 0 && u.scales.y.max > 0) {
        clipped(u, (ctx, box) => {
          ctx.fillStyle = ink('faint');
          ctx.fillRect(box.left, Math.round(u.valToPos(0, 'y', true)), box.width, 1);
        });
      }
      if (spec.series.some(one => one.kind === 'bars')) drawBars(u, spec, spec.step ?? 1);
      if (spec.drawn === 'candles') drawCandles(u);
    }],
    draw: [u => {
      if (spec.drawn === 'boxes') drawBoxes(u);
      if (spec.marks) drawMarks(u, spec.marks);
      if (spec.uprights) drawUprights(u, spec.uprights);
      if (spec.bands) drawBandLabels(u, spec.bands);
      if (spec.ends && !PHONE.matches) drawEnds(u, spec.ends.map(end => ({ ...end, column: columnOf(spec, end.series) })));
    }],
    ready: [() => { chart.ready = true; if (zoom && spec.x.kind === 'time') queueMicrotask(() => showZoom(chart)); }],
    setCursor: [() => readUnder(chart)],
    setScale: [(u, key) => { if (key === 'x' && spec.x.kind === 'time' && all) zoomTogether(chart); }],
  };
};

const build = chart => {
  const { spec, frame } = chart;
  chart.u?.destroy();
  chart.u = null;
  chart.ready = false; // until the first drawing, a scale that is set is nobody's wish
  const xs = placesOf(spec.x), dated = spec.x.kind === 'time';
  chart.full = fullRange(spec, xs);
  const height = (PHONE.matches ? Math.min(spec.height, 260) : spec.height) + (spec.joined ? 6 : 40);
  const stops = spec.stacked ? spec.series.slice(1).map((one, i) => (
    { series: [i + 2, i + 1], fill: () => faded(one.color, 0.75) })) : null;
  const series = inOrder(spec, spec.series.map(seriesOf(spec, xs.length < 3)));
  if (spec.stacked) {
    series.forEach((one, i) => { one.width = 0.5; });
    series[0].fill = () => faded(spec.series[0].color, 0.75);
  }
  const options = {
    width: frame.clientWidth, height, legend: { show: false }, bands: stops,
    padding: [10, spec.ends && !PHONE.matches ? 190 : 18, 0, 0],
    tzDate: seconds => uPlot.tzDate(new Date(seconds * 1e3), 'UTC'),
    scales: {
      x: { time: dated, min: chart.full[0], max: chart.full[1],
        range: (u, low, high) => (low == null || (low === xs[0] && high === xs.at(-1)) ? chart.full : [low, high]) },
      y: { range: rangeOfY(spec), ...(spec.log ? { distr: 100, fwd: Math.log, bwd: Math.exp } : {}) },
    },
    axes: axesOf(spec), series: [{}, ...series], hooks: hooksOf(chart),
    cursor: {
      y: false, ...(dated ? { sync: { key: together.key, setSeries: false, scales: ['x', null] } } : {}),
      drag: { x: spec.x.kind !== 'names', y: false, dist: 6 },
      points: { show: spec.series.length > 0 && !spec.stacked && spec.drawn == null, size: 6 },
      bind: { dblclick: (u, target, handler) => event => { if (dated) setZoom(null); else handler(event); return null; } },
    },
  };
  chart.u = new uPlot(options, [xs, ...inOrder(spec, columnsOf(spec))], frame);
  chart.u.over.addEventListener('mouseenter', () => { chart.hovered = true; });
  chart.u.over.addEventListener('mouseleave', () => { chart.hovered = false; chart.tip.remove(); });
  followFingers(chart);
};

const showZoom = chart => {
  const [low, high] = zoom ?? chart.full, [first, last] = chart.full;
  const range = [Math.max(low, first), Math.min(high, last)];
  const [min, max] = range[0] < range[1] ? range : chart.full;
  const now = chart.u.scales.x;
  if (now.min !== min || now.max !== max) chart.u.setScale('x', { min, max });
};

let zooming = false;
const setZoom = range => {
  zoom = range;
  zooming = true;
  for (const chart of charts) if (chart.ready && chart.spec.x.kind === 'time') showZoom(chart);
  zooming = false;
  for (const button of document.querySelectorAll('.spans .reset')) button.hidden = zoom === null;
};

const zoomTogether = chart => {
  if (zooming || !chart.ready) return;
  const { min, max } = chart.u.scales.x, [first, last] = chart.full;
  // The scale changes before the chart has redrawn: the others follow when it has.
  queueMicrotask(() => setZoom(min <= first && max >= last ? null : [min, max]));
};

/** One finger moves the crosshair, two zoom. */
const followFingers = chart => {
  const { over } = chart.u;
  let start = null;
  const at = touch => touch.clientX - over.getBoundingClientRect().left;
  const show = event => {
    chart.hovered = true;
    chart.u.setCursor({ left: at(event.touches[0]), top: 20 }, true, true);
  };
  over.addEventListener('touchstart', event => {
    if (event.touches.length === 1) return show(event);
    start = [...event.touches].slice(0, 2).map(touch => chart.u.posToVal(at(touch), 'x'));
  }, { passive: true });
  over.addEventListener('touchmove', event => {
    if (event.touches.length === 1) return show(event);
    if (!start || chart.spec.x.kind !== 'time') return;
    event.preventDefault();
    const [a, b] = [...event.touches].slice(0, 2).map(at);
    if (Math.abs(b - a) < 10) return;
    const slope = (start[1] - start[0]) / (b - a), low = start[0] - slope * a;
    if (slope > 0) setZoom([Math.max(low, chart.full[0]), Math.min(low + slope * over.clientWidth, chart.full[1])]);
  }, { passive: false });
  over.addEventListener('touchend', () => { start = null; }, { passive: true });
};

/** What the crosshair of a chart reads: the moment, every line that is shown, and the trades of that bar. */
const readUnder = chart => {
  const { u, spec, tip, frame } = chart;
  const row = u.cursor.idx;
  if (!chart.hovered || row == null || u.cursor.left < 0) return void tip.remove();
  const { x } = spec, place = u.data[0][row];
  const head = x.kind === 'time' ? writeTime(place, x.whole) : x.kind === 'names' ? x.names[row]
    : x.unit === 'percent' && spec.step ? `${write(place - spec.step / 2, 'percent')} to ${write(place + spec.step / 2, 'percent')}`
      : tickLabels([place], x.unit)[0];
  tip.replaceChildren(head);
  const add = (name, text, color) => {
    const [line, swatch, number] = ['div', 'i', 'b'].map(tag => document.createElement(tag));
    swatch.style.background = `var(--${color})`;
    number.textContent = text;
    line.append(swatch, name, number);
    tip.append(line);
  };
  const rows = spec.series.map((one, i) => ({ one, value: one.v[row] })).filter(({ one }, i) => one.name && u.series[columnOf(spec, i)].show);
  if (spec.ends) rows.sort((a, b) => b.value - a.value);
  for (const { one, value } of rows) add(one.name, write(value, one.unit ?? spec.unit), one.color);
  const fills = (spec.marks ?? []).flatMap(set => (set.hidden ? [] : set.row.flatMap((at, i) => (at === row ? [[set, i]] : []))));
  for (const [set, i] of fills.slice(0, 5)) {
    add(`${set.name}: ${set.shares[i].toLocaleString('en-US')} at`, write(set.price[i], 'dollars'), set.color);
  }
  if (fills.length > 5) add(`and ${fills.length - 5} more`, '', 'faint');
  frame.append(tip);
  const left = u.over.offsetLeft + u.valToPos(place, 'x');
  const onLeft = left < frame.clientWidth / 2;
  tip.style.left = onLeft ? `${left + 12}px` : 'auto';
  tip.style.right = onLeft ? 'auto' : `${frame.clientWidth - left + 12}px`;
};

const button = (text, press, kind = '') => {
  const one = document.createElement('button');
  one.type = 'button';
  one.textContent = text;
  one.className = kind;
  one.onclick = () => press(one);
  return one;
};

/** Names that switch their lines on and off, and buttons for spans of time and the logarithmic scale. */
const addTools = chart => {
  const { spec, host, frame } = chart, tools = document.createElement('div');
  tools.className = 'chart-tools';
  const legend = document.createElement('div');
  legend.className = `legend${spec.ends ? ' phone' : ''}`;
  const key = (name, color, press) => {
    const one = button('', self => self.setAttribute('aria-pressed', String(press())), 'key');
    const swatch = document.createElement('i');
    swatch.style.background = `var(--${color})`;
    one.append(swatch, name);
    one.setAttribute('aria-pressed', 'true');
    legend.append(one);
  };
  if (spec.drawn == null && spec.series.length > 1) {
    spec.series.forEach((one, i) => one.name && key(one.label ?? one.name, one.color, () => {
      one.off = !one.off;
      chart.u.setSeries(columnOf(spec, i), { show: !one.off });
      return !one.off;
    }));
  }
  for (const set of spec.marks ?? []) {
    key(`${set.name} (${set.row.length})`, set.color, () => { set.hidden = !set.hidden; chart.u.redraw(false); return !set.hidden; });
  }
  if (legend.childElementCount) tools.append(legend);
  const buttons = document.createElement('div');
  buttons.className = 'spans';
  if (spec.spans) {
    const [first, last] = fullRange(spec, placesOf(spec.x));
    for (const [label, months] of SPANS) {
      if (months * MONTH < 0.9 * (last - first)) buttons.append(button(label, () => setZoom([last - months * MONTH, last])));
    }
    const reset = button('Whole span', () => setZoom(null), 'reset');
    reset.hidden = zoom === null;
    buttons.append(reset);
  }
  if (spec.mayLog) {
    const log = button('Log scale', self => {
      spec.log = !spec.log;
      self.setAttribute('aria-pressed', String(spec.log));
      build(chart);
    });
    log.setAttribute('aria-pressed', String(Boolean(spec.log)));
    buttons.append(log);
  }
  if (buttons.childElementCount) tools.append(buttons);
  if (tools.childElementCount) host.insertBefore(tools, frame);
};

const start = host => {
  const frame = host.querySelector('.frame'), tip = document.createElement('div');
  tip.className = 'tip';
  const chart = { host, frame, tip, spec: JSON.parse(host.querySelector('script').textContent), u: null };
  charts.push(chart);
  addTools(chart);
  build(chart);
  let width = frame.clientWidth;
  new ResizeObserver(() => {
    if (frame.clientWidth === width || !frame.clientWidth) return;
    width = frame.clientWidth;
    build(chart);
  }).observe(frame);
};

const repaint = () => { for (const chart of charts) chart.u.redraw(false, true); };

// The first charts at once, the others between frames: a page of hundreds stays answerable meanwhile.
const waiting = [...document.querySelectorAll('.chart')];
const startSome = () => {
  const until = performance.now() + 60;
  while (waiting.length && performance.now() < until) start(waiting.shift());
  if (waiting.length) setTimeout(startSome);
  else root.dataset.charts = 'ready';
};
startSome();
