// Line charts over steps, drawn by Chart.js (chart.min.js, a global of its own), each with words and a table for those who do not see it.
import { element, fill, table } from './dom.js';
import { exponential, number } from './format.js';

const { Chart } = globalThis;
const kDrawMs = 200; // at most so often while steps come
const kTableRows = 40;
const kDashed = 120; // points up to which lines differ in dashes too
const kDrawnPoints = 600; // of a line; Chart.js picks those that keep its shape
const dashes = [[], [6, 3], [2, 2], [10, 3, 2, 3], [1, 3], [8, 2]];
const kColours = 6;

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (index) => style(`--line-${index % kColours}`);

// Ticks of an axis are written alike.
function tick(value, ticks) {
  const largest = Math.max(...ticks.map((other) => Math.abs(other.value)));
  return largest < 0.01 && value !== 0 ? exponential(value) : number(value, 3);
}

// An exponential mean, as training curves are mostly looked at.
export function smoothed(points, share = 0.9) {
  let mean = null;
  return points.map(({ x, y }) => {
    mean = mean === null ? y : share * mean + (1 - share) * y;
    return { x, y: mean };
  });
}

export function describe(line) {
  const { points } = line;
  if (points.length === 0) return `${line.label}: nothing yet`;
  const first = points[0], last = points.at(-1);
  const low = points.reduce((a, b) => b.y < a.y ? b : a), high = points.reduce((a, b) => b.y > a.y ? b : a);
  return `${line.label}: ${points.length} steps, ${number(first.y)} at step ${first.x} to ${
    number(last.y)
  } at step ${last.x}; ` +
    `lowest ${number(low.y)} at step ${low.x}, highest ${number(high.y)} at step ${high.x}`;
}

export class LineChart {
  // Lines: {label, points: [{x, y}], raw: true for a pale one that is not told of}. `x` is told in tables and words as the step.
  constructor(title, { xTitle = 'step', latest = true } = {}) {
    this.title = title;
    this.xTitle = xTitle;
    this.lines = [];
    this.canvas = element('canvas', { role: 'img' });
    this.latest = element('output', { class: 'latest', hidden: !latest });
    this.values = element('div', {});
    this.details = element(
      'details',
      { ontoggle: () => this.fillTable() },
      element('summary', {}, 'Table of values'),
      this.values,
    );
    this.root = element(
      'figure',
      { class: 'chart' },
      element('figcaption', {}, element('b', {}, title), this.latest),
      element('div', { class: 'canvas' }, this.canvas),
      this.details,
    );
    this.onTheme = () => this.draw();
    document.addEventListener('themechange', this.onTheme);
    this.chart = null;
  }
  setLines(lines) {
    this.lines = lines;
    this.draw();
  }
  draw() {
    if (!this.canvas.isConnected) return;
    const told = this.lines.filter((line) => !line.raw);
    this.canvas.setAttribute(
      'aria-label',
      `${this.title} by ${this.xTitle}. ${told.map(describe).join('. ') || 'Nothing yet.'}`,
    );
    const newest = told.length > 0 && told.at(-1).points.at(-1);
    this.latest.textContent = newest ? number(newest.y) : '';
    if (this.details.open) this.fillTable();
    const datasets = this.lines.map((line) => ({
      label: line.label,
      data: line.points,
      parsing: false,
      normalized: true,
      borderColor: colour(line.colour) + (line.raw ? '55' : ''),
      backgroundColor: colour(line.colour),
      borderWidth: line.raw ? 1 : 1.8,
      borderDash: line.raw || line.points.length > kDashed ? [] : dashes[line.colour % dashes.length],
      pointRadius: line.points.length === 1 ? 3 : 0,
      pointHitRadius: 8,
      hidden: false,
    }));
    if (this.chart === null) {
      this.chart = new Chart(this.canvas, { type: 'line', data: { datasets }, options: this.options() });
      return;
    }
    this.chart.data.datasets = datasets;
    this.chart.options = this.options();
    this.chart.update('none');
  }
  options() {
    const text = style('--dim'), grid = style('--line');
    const axis = {
      type: 'linear',
      ticks: { color: text, maxTicksLimit: 6, font: { size: 11 } },
      grid: { color: grid, borderColor: grid, tickColor: grid },
    };
    const several = this.lines.filter((line) => !line.raw).length > 1;
    return {
      animation: false,
      responsive: true,
      maintainAspectRatio: false,
      interaction: { mode: 'nearest', axis: 'x', intersect: false },
      font: { family: 'system-ui, sans-serif' },
      scales: {
        x: { ...axis, ticks: { ...axis.ticks, precision: 0 } },
        y: { ...axis, ticks: { ...axis.ticks, callback: (value, _, ticks) => tick(value, ticks) } },
      },
      plugins: {
        legend: {
          display: several,
          position: 'bottom',
          align: 'start',
          labels: {
            color: style('--ink'),
            boxWidth: 22,
            boxHeight: 0,
            font: { size: 11 },
            filter: (item) => !this.lines[item.datasetIndex].raw,
          },
        },
        decimation: { enabled: true, algorithm: 'lttb', samples: kDrawnPoints, threshold: kDrawnPoints * 2 },
        tooltip: {
          filter: (item) => !this.lines[item.datasetIndex].raw,
          callbacks: {
            title: (items) => items.length ? `${this.xTitle} ${number(items[0].parsed.x)}` : '',
            label: (item) => `${item.dataset.label}: ${number(item.parsed.y, 5)}`,
          },
        },
      },
    };
  }
  fillTable() {
    if (!this.details.open) return;
    const told = this.lines.filter((line) => !line.raw);
    const byStep = new Map();
    told.forEach((line, i) =>
      line.points.forEach((point) => {
        if (!byStep.has(point.x)) byStep.set(point.x, []);
        byStep.get(point.x)[i] = point.y;
      })
    );
    const steps = [...byStep.keys()].sort((a, b) => a - b);
    const every = Math.ceil(steps.length / kTableRows);
    const shown = steps.filter((_, i) => i % every === 0 || i === steps.length - 1);
    const rows = shown.map((step) => [number(step), ...told.map((_, i) => number(byStep.get(step)[i] ?? null, 5))]);
    fill(
      this.values,
      table(`${this.title} by ${this.xTitle}`, [
        { title: this.xTitle },
        ...told.map((line) => ({ title: line.label, number: true })),
      ], rows),
      every > 1 ? element('p', { class: 'note' }, `Every ${every}th of ${number(steps.length)} steps.`) : '',
    );
  }
  destroy() {
    document.removeEventListener('themechange', this.onTheme);
    this.chart?.destroy();
  }
}

// The four charts of training, over `lines`: [{label, steps: Map of step to stepOf(), offset}].
export const trainingSeries = [
  ['loss', 'Loss'],
  ['learning_rate', 'Learning rate'],
  ['gradient_norm', 'Gradient norm'],
  ['tokens_per_second', 'Tokens per second'],
];

export class TrainingCharts {
  constructor(options) {
    this.charts = trainingSeries.map(([, title]) => new LineChart(title, options));
    this.smooth = element('input', { type: 'checkbox', id: 'smooth', onchange: () => this.setLines(this.lines) });
    this.lines = [];
    this.timer = null;
    this.drawn = false;
    this.root = element(
      'div',
      {},
      element('div', { class: 'chart-options' }, element('label', {}, this.smooth, ' Smooth')),
      element('div', { class: 'charts' }, this.charts.map((chart) => chart.root)),
    );
  }
  // Steps may come faster than they are worth drawing.
  setLines(lines) {
    this.lines = lines;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.draw();
    }, this.drawn ? kDrawMs : 0);
  }
  draw() {
    this.drawn = true;
    this.charts.forEach((chart, i) => {
      const [key] = trainingSeries[i];
      chart.setLines(this.lines.flatMap((line, n) => this.linesOf(key, line, n)));
    });
  }
  linesOf(key, line, colour) {
    const points = [...line.steps.values()].sort((a, b) => a.step - b.step).map((step) => ({
      x: step.step + (line.offset || 0),
      y: step[key] ?? null,
    })).filter((point) => point.y !== null);
    if (!this.smooth.checked || key === 'learning_rate') return [{ label: line.label, colour, points }];
    return [{ label: `${line.label} (each step)`, colour, points, raw: true }, {
      label: line.label,
      colour,
      points: smoothed(points),
    }];
  }
  destroy() {
    clearTimeout(this.timer);
    this.charts.forEach((chart) => chart.destroy());
  }
}
