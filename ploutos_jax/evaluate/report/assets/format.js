// Numbers and times in words: what the axes and the readout under the pointer say.

const withMinus = text => text.replace('-', '\u2212');

/** A value in full: dollars with cents, shares of one as per cent. */
const write = (value, unit) => {
  if (value == null) return '\u2013';
  const size = Math.abs(unit === 'percent' ? 100 * value : value);
  const little = size > 0 && size < (unit === 'percent' ? 0.1 : 1);
  const digits = unit === 'number' ? (Number.isInteger(value) ? 0 : 3) : little ? 4 : 2;
  const text = size.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const sign = value < 0 && +size.toFixed(digits) > 0 ? '\u2212' : '';
  return sign + (unit === 'dollars' ? '$' : '') + text + (unit === 'percent' ? '%' : '');
};

/** Labels of an axis: as many digits as tell all of them apart, thousands and millions shortened. */
const tickLabels = (values, unit) => {
  const largest = Math.max(0, ...values.map(Math.abs));
  const [size, sign] = unit === 'percent' ? [0.01, '%'] : unit === 'times' ? [1, '\u00d7']
    : largest >= 2e6 ? [1e6, 'M'] : largest >= 1e4 ? [1e3, 'k'] : [1, ''];
  const scaled = values.map(value => value / size);
  let digits = 0;
  const rough = value => Math.abs(value - Number(value.toFixed(digits))) > 1e-9 * Math.max(1, Math.abs(value));
  while (digits < 6 && scaled.some(rough)) digits += 1;
  if (unit === 'dollars' && size === 1 && digits) digits = Math.max(2, digits);
  const dollar = unit === 'dollars' ? '$' : '';
  const form = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return scaled.map(value => (value < 0 ? '\u2212' : '') + dollar + Math.abs(value).toLocaleString('en-US', form) + sign);
};

/** A moment as the tables write it: the time of day only where bars are shorter than a day. */
const writeTime = (seconds, whole) => {
  const iso = new Date(seconds * 1e3).toISOString();
  return whole ? iso.slice(0, 10) : iso.slice(0, 16).replace('T', ' ');
};

// Least distance of ticks in seconds, label, and what is added where a year or a day begins (see uPlot's axis.values).
const TIME_LABELS = [
  [365 * 86400, '{YYYY}', null, null, null, null, null, null, 1],
  [28 * 86400, '{MMM}', '\n{YYYY}', null, null, null, null, null, 1],
  [86400, '{D} {MMM}', '\n{YYYY}', null, null, null, null, null, 1],
  [60, '{HH}:{mm}', '\n{D} {MMM} {YYYY}', null, '\n{D} {MMM}', null, null, null, 1],
];

/** Grid lines of a logarithmic axis. */
const logTicks = (low, high) => {
  const span = high / low;
  const parts = span > 20 ? [1, 2, 5] : span > 4 ? [1, 1.5, 2, 3, 5, 7] : null;
  const found = [];
  if (parts) {
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      for (const part of parts) found.push(Number((part * 10 ** power).toPrecision(3)));
    }
  } else {
    const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find(part => part * power >= rough) * power;
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(Number(value.toPrecision(9)));
  }
  return found.filter(value => value >= low && value <= high);
};
