// What the charts show besides lines, drawn on their canvas in its own pixels: bands, bars, boxes, candles, marks.

const root = document.documentElement;
const ink = name => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
const faded = (name, share) => ink(name) + Math.round(255 * share).toString(16).padStart(2, '0');

const LEAST_CANDLE = 4; // pixels from one candle to the next, below which neighbours are merged
const LEAST_BAND = 3; // pixels of a stretch of time
const WIDEST_BARS = 110; // pixels of all bars of one place
const FEW_MARKS = 250; // trades in view up to which their marks are large

const clipped = (u, draw) => {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  draw(ctx, bbox, u.pxRatio ?? devicePixelRatio);
  ctx.restore();
};

const drawBands = (u, bands) => clipped(u, (ctx, box, ratio) => {
  for (const [first, last, color, label] of bands) {
    const left = u.valToPos(first, 'x', true), right = u.valToPos(last, 'x', true);
    // One bar of hundreds would be lost: where it has a name, it is a little wider, and stronger.
    const thin = label && right - left < LEAST_BAND * ratio, half = LEAST_BAND * ratio / 2;
    ctx.fillStyle = faded(color, thin ? 0.4 : 0.12);
    ctx.fillRect(thin ? (left + right) / 2 - half : left, box.top, thin ? 2 * half : Math.max(right - left, ratio), box.height);
  }
});

const drawBandLabels = (u, bands) => clipped(u, (ctx, box, ratio) => {
  ctx.font = `${12 * ratio}px system-ui, sans-serif`;
  ctx.textAlign = 'center';
  const rows = []; // how far to the right the labels of each row reach
  const shown = bands.filter(([first, last, , label]) => label && last >= u.scales.x.min && first <= u.scales.x.max);
  for (const [first, last, color, label] of shown.sort((a, b) => a[0] + a[1] - b[0] - b[1])) {
    const [a, b] = [first, last].map(at => Math.min(Math.max(u.valToPos(at, 'x', true), box.left), box.left + box.width));
    const half = ctx.measureText(label).width / 2;
    const at = Math.min(Math.max((a + b) / 2, box.left + half), box.left + box.width - half);
    let row = rows.findIndex(right => right < at - half - 4 * ratio);
    if (row < 0) row = rows.push(0) - 1;
    rows[row] = at + half;
    ctx.fillStyle = ink(color);
    ctx.fillText(label, at, box.top + (13 + 15 * row) * ratio);
  }
});

const drawUprights = (u, uprights) => clipped(u, (ctx, box, ratio) => {
  ctx.font = `${12 * ratio}px system-ui, sans-serif`;
  ctx.lineWidth = ratio;
  uprights.forEach(([value, color, label], row) => {
    const at = u.valToPos(value, 'x', true), left = at < box.left + 0.6 * box.width;
    ctx.strokeStyle = ctx.fillStyle = ink(color);
    ctx.setLineDash([4 * ratio, 3 * ratio]);
    ctx.beginPath();
    ctx.moveTo(at, box.top);
    ctx.lineTo(at, box.top + box.height);
    ctx.stroke();
    ctx.setLineDash([]);
    ctx.textAlign = left ? 'left' : 'right';
    ctx.fillText(label, at + (left ? 5 : -5) * ratio, box.top + (13 + 16 * row) * ratio);
  });
});

/** Bars from 0, side by side where several series have them; `step` is the distance from one place to the next. */
const drawBars = (u, spec, step) => clipped(u, (ctx, box, ratio) => {
  const shown = spec.series.map((one, i) => [one, columnOf(spec, i)]).filter(([one, i]) => one.kind === 'bars' && u.series[i].show);
  const slot = Math.abs(u.valToPos(step, 'x', true) - u.valToPos(0, 'x', true));
  const room = Math.min(slot * (shown.length > 1 ? 0.78 : 0.84), WIDEST_BARS * ratio);
  const zero = u.valToPos(0, 'y', true), width = room / shown.length;
  shown.forEach(([one, i], place) => {
    ctx.fillStyle = ink(one.color);
    u.data[i].forEach((value, row) => {
      if (value == null) return;
      const left = u.valToPos(u.data[0][row], 'x', true) - room / 2 + place * width, top = u.valToPos(value, 'y', true);
      ctx.fillRect(left, Math.min(top, zero), Math.max(width - 1, 1), Math.abs(top - zero));
    });
  });
});

/** Boxes of seven rising series: lowest, 5 %, 25 %, median, 75 %, 95 %, highest. */
const drawBoxes = u => clipped(u, (ctx, box, ratio) => {
  const [places, ...columns] = u.data, room = box.width / places.length;
  places.forEach((place, row) => {
    const at = u.valToPos(place, 'x', true), values = columns.map(column => column[row]);
    if (values[3] == null) return;
    const [lowest, low, under, middle, over, high, highest] = values.map(value => u.valToPos(value, 'y', true));
    const half = Math.min(0.28 * room, 40 * ratio);
    ctx.strokeStyle = ink('c0');
    ctx.lineWidth = 1.4 * ratio;
    ctx.beginPath();
    for (const [from, to] of [[low, under], [over, high]]) { ctx.moveTo(at, from); ctx.lineTo(at, to); }
    for (const end of [low, high]) { ctx.moveTo(at - half / 2, end); ctx.lineTo(at + half / 2, end); }
    ctx.stroke();
    ctx.fillStyle = faded('c0', 0.25);
    ctx.fillRect(at - half, over, 2 * half, under - over);
    ctx.strokeRect(at - half, over, 2 * half, under - over);
    ctx.lineWidth = 2.4 * ratio;
    ctx.beginPath();
    ctx.moveTo(at - half, middle);
    ctx.lineTo(at + half, middle);
    ctx.stroke();
    for (const [end, color] of [[lowest, 'loss-line'], [highest, 'gain-line']]) {
      ctx.fillStyle = ink(color);
      ctx.beginPath();
      ctx.arc(at, end, 2.5 * ratio, 0, 2 * Math.PI);
      ctx.fill();
    }
  });
});

/** Candles of the first four series; where there is no room for each, neighbours become one. */
const drawCandles = u => clipped(u, (ctx, box, ratio) => {
  const [times, open, high, low, close] = u.data, { min, max } = u.scales.x;
  let first = 0, last = times.length - 1;
  while (first < last && times[first + 1] < min) first += 1;
  while (last > first && times[last - 1] > max) last -= 1;
  const ends = [first, last].map(row => u.valToPos(times[row], 'x', true));
  const room = last > first ? (ends[1] - ends[0]) / (last - first) : 12 * ratio;
  const merged = Math.max(1, Math.ceil(LEAST_CANDLE * ratio / room));
  const body = Math.max(ratio, Math.min(0.7 * merged * room, 14 * ratio));
  for (let row = first - first % merged; row <= last; row += merged) {
    const rows = [];
    for (let i = row; i < Math.min(row + merged, times.length); i += 1) if (close[i] != null) rows.push(i);
    if (!rows.length) continue;
    const from = open[rows[0]], to = close[rows.at(-1)], middle = times[rows[rows.length >> 1]];
    const top = Math.max(...rows.map(i => high[i])), bottom = Math.min(...rows.map(i => low[i]));
    const at = u.valToPos(middle, 'x', true);
    const [a, b, c, d] = [top, Math.max(from, to), Math.min(from, to), bottom].map(v => u.valToPos(v, 'y', true));
    ctx.fillStyle = faded(to >= from ? 'gain-line' : 'loss-line', 0.75);
    ctx.fillRect(at - ratio / 2, a, ratio, d - a);
    ctx.fillRect(at - body / 2, b, body, Math.max(c - b, ratio));
  }
});

/** Trades: a hollow triangle under a buy, a full one over a sale, its tip at the price of the fill. */
const drawMarks = (u, marks) => clipped(u, (ctx, box, ratio) => {
  const { min, max } = u.scales.x, times = u.data[0];
  const inView = marks.map(set => set.row.map((row, i) => i).filter(i => times[set.row[i]] >= min && times[set.row[i]] <= max));
  const many = inView.reduce((sum, rows) => sum + rows.length, 0) > FEW_MARKS;
  const half = (many ? 2.6 : 4.5) * ratio, tall = (many ? 4.6 : 8) * ratio;
  marks.forEach((set, number) => {
    if (set.hidden) return;
    const down = set.side === 'buy' ? 1 : -1;
    ctx.fillStyle = ink(set.side === 'buy' ? 'paper' : set.color);
    ctx.strokeStyle = ink(set.side === 'buy' ? set.color : 'paper');
    ctx.lineWidth = (set.side === 'buy' ? 1.2 : 0.6) * ratio;
    for (const i of inView[number]) {
      const at = u.valToPos(times[set.row[i]], 'x', true), tip = u.valToPos(set.price[i], 'y', true);
      ctx.beginPath();
      ctx.moveTo(at, tip);
      ctx.lineTo(at + half, tip + down * tall);
      ctx.lineTo(at - half, tip + down * tall);
      ctx.closePath();
      ctx.fill();
      ctx.stroke();
    }
  });
});

/** Names at the right ends of lines, kept apart, on a screen that is wide enough. */
const drawEnds = (u, ends) => {
  const { ctx, bbox } = u, ratio = u.pxRatio ?? devicePixelRatio, gap = 16 * ratio;
  const placed = ends.filter(end => u.series[end.column].show).map(end => {
    const from = Math.min(Math.max(u.valToPos(end.value, 'y', true), bbox.top), bbox.top + bbox.height);
    return { ...end, from, to: from };
  }).sort((a, b) => a.from - b.from);
  // Blocks of neighbours that overlap share their middle.
  const blocks = [];
  for (const end of placed) {
    let block = { ends: [end], middle: end.from };
    while (blocks.length) {
      const before = blocks.at(-1), apart = gap * (before.ends.length + block.ends.length) / 2;
      if (block.middle - before.middle >= apart) break;
      blocks.pop();
      const all = [...before.ends, ...block.ends];
      block = { ends: all, middle: all.reduce((sum, one) => sum + one.from, 0) / all.length };
    }
    blocks.push(block);
  }
  ctx.save();
  ctx.textAlign = 'left';
  ctx.textBaseline = 'middle';
  ctx.lineWidth = ratio;
  const right = bbox.left + bbox.width;
  for (const block of blocks) {
    block.ends.forEach((end, i) => {
      const to = block.middle + gap * (i - (block.ends.length - 1) / 2);
      ctx.fillStyle = ctx.strokeStyle = ink(end.color);
      ctx.font = `${end.strong ? 650 : 400} ${12 * ratio}px system-ui, sans-serif`;
      ctx.beginPath();
      ctx.moveTo(right + ratio, end.from);
      ctx.lineTo(right + 12 * ratio, to);
      ctx.stroke();
      ctx.fillText(end.label, right + 16 * ratio, to);
    });
  }
  ctx.restore();
};
