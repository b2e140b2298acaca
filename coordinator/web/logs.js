// What the ranks wrote, as they write it.
import { follow, jobPath } from './api.js';
import { element, fill } from './dom.js';
import { ended } from './format.js';

const nothing =
  'The ranks wrote nothing: they do so when something is amiss. What the job went through is in its history.';
const waiting = 'Lines come as they are written. Ranks write little, unless something is amiss.';
const kLines = 5000; // kept here; the file on the coordinator has all

export function logsPart(root, watched) {
  const shown = element('pre', { class: 'log', id: 'log', tabindex: '0', role: 'region', 'aria-label': 'Log' });
  const state = element('p', { class: 'note', role: 'status', id: 'log-state' });
  const rank = element(
    'select',
    { id: 'log-rank' },
    element('option', { value: '' }, 'all'),
    Array.from({ length: watched.job.ranks }, (_, i) => element('option', { value: i }, i)),
  );
  const attempt = element('select', { id: 'log-attempt' }, element('option', { value: '' }, 'newest'));
  const drawAttempts = () => {
    for (let n = attempt.options.length; n <= watched.job.attempt; ++n) {
      attempt.append(element('option', { value: n }, n));
    }
  };
  const filter = element('input', { id: 'log-filter', type: 'search', placeholder: 'words in the line' });
  const tail = element('input', { type: 'checkbox', id: 'log-tail', checked: true });
  let lines = [], rest = '', stop = null, drawing = null;

  function draw() {
    drawing = null;
    const wanted = filter.value.toLowerCase();
    const kept = wanted ? lines.filter((line) => line.toLowerCase().includes(wanted)) : lines;
    shown.textContent = kept.join('\n');
    if (tail.checked) shown.scrollTop = shown.scrollHeight;
    if (wanted) state.textContent = `${kept.length} of ${lines.length} lines`;
  }
  const drawSoon = () => {
    drawing ??= setTimeout(draw, 100);
  };
  async function run() {
    stop?.abort();
    const mine = stop = new AbortController();
    for (let wait = 500; !mine.signal.aborted; wait = Math.min(8000, 2 * wait)) {
      lines = [];
      rest = '';
      draw();
      state.textContent = 'Reading';
      const query = new URLSearchParams({ follow: '1' });
      if (rank.value) query.set('rank', rank.value);
      if (attempt.value) query.set('attempt', attempt.value);
      try {
        await follow(jobPath(watched.id, `/logs?${query}`), mine.signal, (chunk) => {
          const parts = (rest + chunk).split('\n');
          rest = parts.pop();
          lines.push(...parts);
          if (lines.length > kLines) lines = lines.slice(-kLines);
          drawSoon();
        }, {
          opened: () => {
            state.textContent = ended(watched.job) ? '' : waiting;
          },
        });
        if (ended(watched.job) || attempt.value) {
          state.textContent = lines.length ? 'The whole log' : nothing;
          return;
        }
      } catch (error) {
        if (mine.signal.aborted || error.status === 401) return;
        state.textContent = error.status ? error.message : 'The connection broke; trying again';
      }
      await new Promise((done) => setTimeout(done, wait));
    }
  }
  const field = (name, label, made) => element('div', { class: 'field' }, element('label', { for: name }, label), made);
  fill(
    root,
    element('h2', {}, 'Logs'),
    element(
      'form',
      { class: 'filters', onsubmit: (event) => event.preventDefault() },
      field('log-rank', 'Rank', rank),
      field('log-attempt', 'Attempt', attempt),
      field('log-filter', 'Filter', filter),
      element('label', { class: 'check' }, tail, ' Follow'),
    ),
    state,
    shown,
  );
  rank.addEventListener('change', run);
  attempt.addEventListener('change', run);
  filter.addEventListener('input', drawSoon);
  tail.addEventListener('change', draw);
  // Who scrolls up wants to read; who scrolls to the end wants to follow.
  shown.addEventListener('scroll', () => {
    tail.checked = shown.scrollHeight - shown.scrollTop - shown.clientHeight < 24;
  });
  // What ranks and coordinator said to each other is in no file of the ranks.
  watched.listen((kind, event) => {
    if (kind === 'job') drawAttempts();
    if (kind !== 'log' || attempt.value || rank.value && rank.value !== String(event.rank)) return;
    lines.push(`${event.rank < 0 ? 'coordinator' : `rank ${event.rank}`}, ${event.level}: ${event.message}`);
    drawSoon();
  });
  drawAttempts();
  run();
  return () => {
    stop?.abort();
    clearTimeout(drawing);
  };
}
