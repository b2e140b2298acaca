// The job's checkpoints: where each comes from, and whether its bytes were read again and found whole.
import { all, post, session } from './api.js';
import { element, fill, note, table } from './dom.js';
import { bytes, clock, number, running } from './format.js';

const kVerifyMs = 1000; // between looks while one is verified

const jobOf = (name) => name.includes('/') ? name.slice(0, name.indexOf('/')) : name;

function parentLink(parent, job) {
  if (!parent) return null;
  if (jobOf(parent) === job || jobOf(parent) === 'base') return parent;
  return element('a', { href: `#/jobs/${encodeURIComponent(jobOf(parent))}/checkpoints` }, parent);
}

function verified(row, verify) {
  const state = row.verified;
  const button = (text) =>
    session.server.role === 'viewer' ? null : element('button', {
      type: 'button',
      class: 'small',
      'data-key': `verify-${row.name}`,
      onclick: () => verify(row.name),
      'aria-label': `Verify ${row.name}`,
    }, text);
  if (!state) return element('span', {}, 'not yet ', button('Verify'));
  if (state.state === 'waiting' || state.state === 'reading') {
    return state.state === 'waiting' ? 'waits for its turn' : 'being read';
  }
  const when = clock(state.unix_ms);
  if (state.state === 'whole') {
    return element(
      'span',
      {},
      element('span', { class: 'good' }, 'whole'),
      ` · ${bytes(state.bytes_read)} read, ${when} `,
      button('Again'),
    );
  }
  return element(
    'span',
    {},
    element('span', { class: 'bad' }, state.state),
    ` · ${when} `,
    button('Again'),
    element('ul', {}, state.problems.map((problem) => element('li', {}, problem))),
  );
}

// Parents as a line of descent, oldest first.
export function lineage(rows, name) {
  const byName = new Map(rows.map((row) => [row.name, row]));
  const line = [];
  for (let at = name; at && !line.includes(at); at = byName.get(at)?.parent) line.unshift(at);
  return line;
}

const columns = [
  { title: 'Checkpoint' },
  { title: 'Comes from' },
  { title: 'Made' },
  { title: 'Loss', number: true },
  { title: 'Size', number: true },
  { title: 'New bytes', number: true },
  { title: 'Bytes verified' },
];

export function checkpointsPart(root, watched) {
  const rows = element('div', { id: 'checkpoints', 'aria-busy': 'true' }),
    descent = element('div', {}),
    problem = element('p', { class: 'error', role: 'alert' });
  let timer = null, stopped = false, known = '';

  async function verify(name) {
    problem.textContent = '';
    try {
      await post('/checkpoints/verify', { name });
      draw();
    } catch (error) {
      problem.textContent = error.message;
    }
  }
  async function draw() {
    clearTimeout(timer);
    let found;
    try {
      found = await all(`/checkpoints?job=${encodeURIComponent(watched.id)}`, 'checkpoints');
    } catch (error) {
      if (error.status > 0) problem.textContent = error.message;
      return;
    }
    if (stopped) return;
    rows.setAttribute('aria-busy', 'false');
    if (found.length === 0) return fill(rows, note(running(watched.job) ? 'None yet.' : 'It has none.'));
    fill(
      rows,
      table(
        'Checkpoints, newest first',
        columns,
        [...found].reverse().map((row) => ({
          attributes: { 'data-checkpoint': row.name },
          cells: [
            element(
              'span',
              {},
              `${row.stage}@${row.step}`,
              row.stage_complete ? element('span', { class: 'tag' }, 'stage complete') : null,
              row.tags.map((tag) => element('span', { class: 'tag' }, tag)),
              row.pinned ? element('span', { class: 'tag' }, 'pinned') : null,
            ),
            parentLink(row.parent, watched.id),
            clock(row.created_unix_ms),
            row.metrics.loss === undefined ? null : number(Number(row.metrics.loss)),
            bytes(row.logical_bytes),
            bytes(row.new_bytes),
            verified(row, verify),
          ],
        })),
      ),
    );
    const newest = found.reduce((a, b) => b.created_unix_ms > a.created_unix_ms ? b : a);
    fill(
      descent,
      element('ol', { class: 'descent' }, lineage(found, newest.name).map((name) => element('li', {}, name))),
    );
    if (found.some((row) => row.verified && ['waiting', 'reading'].includes(row.verified.state))) {
      timer = setTimeout(draw, kVerifyMs);
    }
  }
  fill(
    root,
    element('h2', {}, 'Checkpoints'),
    problem,
    rows,
    element('h2', {}, 'Descent of the newest'),
    descent,
    note(
      'What was verified is remembered until the coordinator ends. History and differences tensor by tensor: tephra ckpt log, tephra ckpt diff.',
    ),
  );
  watched.listen((kind, event) => {
    if (kind === 'checkpoint') draw();
    if (kind !== 'job') return;
    const now = event.stages.map((stage) => stage.checkpoints.join()).join();
    if (now !== known) draw();
    known = now;
  });
  draw();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
