"""The script of the report page: theme, readout under the pointer, sorting and filtering. The page reads without it."""

SCRIPT = """
(() => {
  const root = document.documentElement, all = (s, from = document) => [...from.querySelectorAll(s)];
  const button = document.querySelector('#theme');
  button.hidden = false;
  button.onclick = () => {
    const now = root.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
    root.dataset.theme = now === 'dark' ? 'light' : 'dark';
  };

  const tip = document.createElement('div'), dot = document.createElement('div');
  tip.className = 'tip'; dot.className = 'hair';
  const write = (v, unit) => {
    const digits = unit === 'dollars' ? (Math.abs(v) < 20 ? 2 : 0) : unit === 'percent' ? 1 : 2;
    const text = Math.abs(unit === 'percent' ? 100 * v : v).toLocaleString('en-US',
      { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return (v < 0 ? '\\u2212' : '') + (unit === 'dollars' ? '$' : '') + text + (unit === 'percent' ? '%' : '');
  };
  const pointsOf = path => path.points ??= path.getAttribute('d').slice(1).split(/[ML]/)
    .map(pair => pair.split(' ').map(Number));
  const readingOf = path => {
    if (path.reading) return path.reading;
    const [kind, ...steps] = path.dataset.t.split(' ');
    let now = 0;
    const times = steps.map(step => now += Number(step));
    return path.reading = { times, ms: kind === 'd' ? 864e5 : 6e4, values: path.dataset.v.split(' ').map(Number) };
  };
  for (const plot of all('.plot[data-unit]')) {
    const lines = all('[data-name]', plot).reverse();
    if (!lines.length) continue;
    const unit = plot.dataset.unit;
    const drawing = plot.querySelector('svg');
    plot.onpointermove = event => {
      const box = drawing.getBoundingClientRect(), share = (event.clientX - box.left) / box.width;
      if (share < 0 || share > 1) return plot.onpointerleave();
      let at = 0, moment = '';
      const rows = lines.map(path => {
        const points = pointsOf(path);
        let low = 0, high = points.length - 1;
        while (high - low > 1) { const m = (low + high) >> 1; points[m][0] > 1000 * share ? high = m : low = m; }
        const nearer = 2000 * share < points[low][0] + points[high][0] ? low : high;
        const { times, ms, values } = readingOf(path), iso = new Date(times[nearer] * ms).toISOString();
        at = points[nearer][0] / 1000;
        moment = ms === 864e5 ? iso.slice(0, 10) : iso.slice(0, 16).replace('T', ' ');
        return { name: path.dataset.name, value: values[nearer], color: path.style.stroke };
      });
      tip.replaceChildren(moment);
      for (const row of rows) {
        const [line, swatch, number] = ['div', 'i', 'b'].map(tag => document.createElement(tag));
        swatch.style.background = row.color; number.textContent = write(row.value, unit);
        line.append(swatch, row.name, number); tip.append(line);
      }
      plot.append(dot, tip);
      const place = box.left - plot.getBoundingClientRect().left + at * box.width;
      dot.style.left = place + 'px';
      if (at < 0.5) { tip.style.left = place + 12 + 'px'; tip.style.right = 'auto'; }
      else { tip.style.right = plot.clientWidth - place + 12 + 'px'; tip.style.left = 'auto'; }
    };
    plot.onpointerleave = () => { tip.remove(); dot.remove(); };
  }

  for (const table of all('table.sortable')) {
    const body = table.tBodies[0], rows = [...body.rows];
    all('th', table.tHead).forEach((head, column) => {
      head.tabIndex = 0; head.setAttribute('role', 'button');
      const key = ({ cells: { [column]: cell } }) => 'v' in cell.dataset ? +cell.dataset.v : cell.textContent;
      const sort = () => {
        const down = head.getAttribute('aria-sort') === 'ascending';
        all('th', table.tHead).forEach(other => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
        const order = (p, q) => (p < q ? -1 : p > q ? 1 : 0) * (down ? -1 : 1);
        rows.sort((a, b) => order(key(a), key(b)));
        body.append(...rows);
      };
      head.onclick = sort;
      head.onkeydown = event => { if (event.key === 'Enter') sort(); };
    });
    const find = table.closest('section').querySelector('input[type=search]');
    if (!find) continue;
    find.hidden = false;
    find.oninput = () => {
      const words = find.value.toLowerCase().split(/\\s+/);
      for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    };
  }
})();
"""
