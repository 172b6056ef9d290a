// The page around the charts: theme, sorting and filtering. Tables and words read without it.

const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const dark = matchMedia('(prefers-color-scheme: dark)');
const theme = document.querySelector('#theme');
if (theme) {
  theme.hidden = false;
  theme.onclick = () => {
    const now = root.dataset.theme ?? (dark.matches ? 'dark' : 'light');
    root.dataset.theme = now === 'dark' ? 'light' : 'dark';
    repaint();
  };
}
dark.addEventListener('change', repaint);

for (const table of all('table.sortable')) {
  const body = table.tBodies[0], rows = [...body.rows];
  all('th', table.tHead).forEach((head, column) => {
    head.tabIndex = 0;
    head.setAttribute('role', 'button');
    const key = ({ cells: { [column]: cell } }) => ('v' in cell.dataset ? +cell.dataset.v : cell.textContent);
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
    const words = find.value.toLowerCase().split(/\s+/);
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  };
}
