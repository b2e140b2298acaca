// The list of jobs: filters, pages, and choosing those to compare. Filters are in the address, so that a list can be shared.
import { events, get, jobPath } from './api.js';
import { element, fill, table } from './dom.js';
import { clock, ended, number, phases, plural, progressText, running } from './format.js';

const kRefreshMs = 1000; // at most so often while jobs make steps
const kPage = 25;
const groups = { active: phases.filter((phase) => !['done', 'failed', 'cancelled'].includes(phase)).join(',') };

export function badge(job) {
  return element('span', { class: `badge ${job.phase}` }, job.phase);
}

export function jobLink(id, part = '') {
  return `#${jobPath(id, part)}`;
}

// How far the job is, as a bar: of a stage's steps.
export function progressBar(job) {
  const p = job.progress;
  if (job.phase !== 'training' || !p || !p.total_steps) return null;
  return element('progress', {
    max: p.total_steps,
    value: p.step,
    'aria-label': `${job.id}: steps of stage ${job.stage}`,
  });
}

function row(job, chosen, choose) {
  const box = element('input', {
    type: 'checkbox',
    'aria-label': `Compare ${job.id}`,
    'data-key': `box-${job.id}`,
    onchange: (event) => choose(job.id, event.target.checked),
  });
  box.checked = chosen.has(job.id);
  const name = element(
    'span',
    {},
    element('a', { href: jobLink(job.id), 'data-key': `link-${job.id}` }, job.id),
    element('small', {}, [job.recipe_name, job.user, clock(job.submitted_unix_ms)].filter((word) => word).join(' · ')),
  );
  const state = element(
    'span',
    {},
    badge(job),
    job.restarts ? element('small', {}, plural(job.restarts, 'restart')) : null,
  );
  const progress = element('span', { class: 'doing' }, progressText(job), progressBar(job));
  const loss = running(job) && job.progress && job.progress.loss !== null ? number(job.progress.loss) : null;
  return [name, state, progress, loss, element('label', { class: 'pick' }, box)];
}

const columns = [{ title: 'Job' }, { title: 'State' }, { title: 'Progress' }, { title: 'Loss', number: true }, {
  title: 'Compare',
}];

export function jobsView(root, place, setTitle) {
  setTitle('Jobs');
  const chosen = new Set();
  const list = element('div', { id: 'job-list', 'aria-busy': 'true' });
  const summary = element('p', { id: 'job-count', class: 'note', role: 'status' });
  const pages = element('nav', { 'aria-label': 'Pages', class: 'pages' });
  const compare = element('a', { class: 'button', id: 'compare-chosen', hidden: true }, '');
  const query = place.query;
  const trail = []; // cursors of the pages before
  let stopped = false, timer = null, busy = false, again = false;

  const field = (name, label, made) =>
    element('div', { class: 'field' }, element('label', { for: `filter-${name}` }, label), made);
  const textInput = element('input', {
    id: 'filter-text',
    type: 'search',
    placeholder: 'job, recipe or user',
    value: query.get('text'),
  });
  const userInput = element('input', {
    id: 'filter-user',
    type: 'search',
    autocomplete: 'off',
    value: query.get('user'),
  });
  const stateInput = element(
    'select',
    { id: 'filter-phase' },
    element('option', { value: '' }, 'any'),
    element('option', { value: 'active' }, 'not ended'),
    phases.map((phase) => element('option', { value: phase }, phase)),
  );
  stateInput.value = query.get('phase') || '';

  function address(cursor = '') {
    const wanted = new URLSearchParams();
    for (
      const [key, value] of [['text', textInput.value.trim()], ['phase', stateInput.value], [
        'user',
        userInput.value.trim(),
      ], ['cursor', cursor]]
    ) {
      if (value) wanted.set(key, value);
    }
    return wanted;
  }
  function apply(cursor = '') {
    const wanted = address(cursor).toString();
    history.replaceState(null, '', `#/jobs${wanted && `?${wanted}`}`);
    load();
  }
  const filters = element(
    'form',
    {
      class: 'filters',
      role: 'search',
      'aria-label': 'Jobs',
      onsubmit: (event) => event.preventDefault(),
    },
    field('text', 'Search', textInput),
    field('phase', 'State', stateInput),
    field('user', 'User', userInput),
    compare,
  );
  let typing = null;
  const typed = () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      trail.length = 0;
      apply();
    }, 250);
  };
  for (const input of [textInput, userInput]) input.addEventListener('input', typed);
  stateInput.addEventListener('change', () => {
    trail.length = 0;
    apply();
  });

  function choose(id, isChosen) {
    isChosen ? chosen.add(id) : chosen.delete(id);
    compare.hidden = chosen.size < 2;
    compare.textContent = `Compare ${chosen.size} jobs`;
    compare.setAttribute('href', `#/compare?jobs=${[...chosen].map(encodeURIComponent).join(',')}`);
  }
  function draw(page) {
    const filtered = address().size > 0;
    list.setAttribute('aria-busy', 'false');
    if (page.jobs.length === 0) {
      fill(
        list,
        element(
          'div',
          { class: 'panel' },
          filtered ? 'No job is like that.' : element(
            'span',
            {},
            'No jobs yet. ',
            element('a', { href: '#/submit' }, 'Submit a recipe'),
            ', or run ',
            element('code', {}, 'tephra submit recipe.yaml'),
            '.',
          ),
        ),
      );
    } else {
      fill(
        list,
        table(
          'Jobs, newest first',
          columns,
          page.jobs.map((job) => ({ cells: row(job, chosen, choose), attributes: { 'data-job': job.id } })),
          { class: 'jobs' },
        ),
      );
    }
    summary.textContent = page.jobs.length === 0
      ? ''
      : `${plural(page.jobs.length, 'job')} on this page, ${page.jobs.filter((job) => !ended(job)).length} not ended`;
    fill(
      pages,
      trail.length || query.get('cursor')
        ? element('button', { type: 'button', id: 'newer', onclick: () => apply(trail.pop() || '') }, 'Newer')
        : null,
      page.next
        ? element('button', {
          type: 'button',
          id: 'older',
          onclick: () => {
            trail.push(new URLSearchParams(location.hash.split('?')[1] || '').get('cursor') || '');
            apply(page.next);
          },
        }, 'Older')
        : null,
    );
  }
  async function load() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    const wanted = new URLSearchParams(location.hash.split('?')[1] || '');
    if (groups[wanted.get('phase')]) wanted.set('phase', groups[wanted.get('phase')]);
    wanted.set('order', 'newest');
    wanted.set('limit', kPage);
    try {
      const page = await get(`/jobs?${wanted}`);
      if (!stopped) draw(page);
    } catch (error) {
      if (!stopped && error.status > 0) fill(list, element('p', { class: 'error', role: 'alert' }, error.message));
    }
    busy = false;
    if (again && !stopped) {
      again = false;
      load();
    }
  }
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      load();
    }, kRefreshMs);
  };

  fill(root, element('h1', {}, 'Jobs'), filters, summary, list, pages);
  load();
  const stopEvents = events(
    '/events',
    (kind) => {
      if (kind !== 'log') soon();
    },
    () => false,
    load,
  );
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(typing);
    stopEvents();
  };
}
