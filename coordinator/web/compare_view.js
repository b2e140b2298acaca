// Several jobs: their curves over each other, what their recipes differ in, and what they measured.
import { events, get, jobPath, metrics, stepOf } from './api.js';
import { TrainingCharts } from './charts.js';
import { element, fill, note, table } from './dom.js';
import { ended, number, progressText } from './format.js';
import { badge, jobLink } from './jobs_view.js';
import { ownMeasuresOf, sameSettings } from './measures.js';
import { flatten } from './recipe.js';

const kJobs = 6; // colours that are told apart
const kMeasures = 2; // of a bench; its report has all

// Rows of what differs: [path, value of each job].
export function differences(recipes) {
  const flat = recipes.map((recipe) => flatten(recipe));
  const paths = [...new Set(flat.flatMap((values) => [...values.keys()]))];
  return paths.map((path) => [path, ...flat.map((values) => values.get(path) ?? null)]).filter(([, ...values]) =>
    new Set(values).size > 1
  );
}

// Rows of what was measured: [stage, bench and measure, value of each job].
export function scores(jobs) {
  const keys = jobs.flatMap((job) => job.results.map((result) => JSON.stringify([result.stage, result.bench])));
  return [...new Set(keys)].flatMap((key) => {
    const [stage, bench] = JSON.parse(key);
    const found = jobs.map((job) => job.results.find((result) => result.stage === stage && result.bench === bench));
    const there = found.filter((result) => result);
    const warning = sameSettings(there) ? '' : ' (asked in different ways: not to be compared)';
    return ownMeasuresOf(there).slice(0, kMeasures).map(([name, measure]) => [
      `${stage}, ${bench}: ${measure.label}${warning}`,
      ...found.map((result) => result && name in result.metrics ? measure.show(result.metrics[name]) : null),
    ]);
  });
}

export function compareView(root, place, setTitle) {
  setTitle('Compare');
  const ids = (place.query.get('jobs') || '').split(',').filter((id) => id).slice(0, kJobs);
  const picker = element('div', {}), body = element('div', {});
  const stage = element('select', { id: 'compare-stage' });
  const charts = new TrainingCharts({ latest: false });
  let jobs = [], stopped = false, stopEvents = () => {};

  const go = (wanted) => {
    location.hash = `#/compare${wanted.length ? `?jobs=${wanted.map(encodeURIComponent).join(',')}` : ''}`;
  };
  async function drawPicker() {
    const page = await get('/jobs?order=newest&limit=200').catch(() => ({ jobs: [] }));
    if (stopped) return;
    const others = page.jobs.filter((job) => !ids.includes(job.id));
    const add = element(
      'select',
      {
        id: 'compare-add',
        disabled: ids.length >= kJobs || others.length === 0,
        onchange: () => {
          if (add.value) go([...ids, add.value]);
        },
      },
      element('option', { value: '' }, others.length ? 'choose' : 'no other job'),
      others.map((job) => element('option', { value: job.id }, `${job.id} (${job.phase})`)),
    );
    fill(
      picker,
      element(
        'div',
        { class: 'filters' },
        element('div', { class: 'field' }, element('label', { for: 'compare-add' }, 'Add a job'), add),
      ),
    );
  }
  function drawCharts() {
    charts.setLines(jobs.map((job) => ({ label: job.id, steps: job.steps.get(stage.value) || new Map() })));
  }
  function draw() {
    const names = jobs.map((job) => ({ title: job.id }));
    const differ = differences(jobs.map((job) => job.recipe)).filter(([path]) => jobs.length > 1 && path !== 'name');
    const measured = scores(jobs);
    const stages = [...new Set(jobs.flatMap((job) => job.stages.map((one) => one.name)))];
    const before = stage.value;
    fill(stage, stages.map((name) => element('option', { value: name }, name)));
    stage.value = stages.includes(before)
      ? before
      : stages.findLast((name) => jobs.every((job) => job.steps.has(name))) ||
        stages.findLast((name) => jobs.some((job) => job.steps.has(name))) || stages[0];
    fill(
      body,
      table(
        'Jobs',
        [{ title: 'Job' }, { title: 'State' }, { title: 'Progress' }, { title: 'Loss', number: true }, {
          title: '',
          label: 'Leave out',
        }],
        jobs.map((job) => [
          element('a', { href: jobLink(job.id) }, job.id),
          badge(job),
          progressText(job),
          number(lastLoss(job)),
          element('button', {
            type: 'button',
            class: 'small',
            onclick: () => go(ids.filter((id) => id !== job.id)),
            'aria-label': `Leave out ${job.id}`,
          }, 'Leave out'),
        ]),
      ),
      element('h2', {}, 'Training'),
      element(
        'div',
        { class: 'filters' },
        element('div', { class: 'field' }, element('label', { for: 'compare-stage' }, 'Stage'), stage),
      ),
      charts.root,
      element('h2', {}, 'What was measured'),
      measured.length
        ? table(
          'Scores',
          [{ title: 'After stage, bench: measure' }, ...names.map((name) => ({ ...name, number: true }))],
          measured,
        )
        : note('Nothing yet.'),
      element('h2', {}, 'What the recipes differ in'),
      differ.length
        ? table('Differences of the recipes', [{ title: 'Field' }, ...names], differ, { class: 'differences' })
        : note(jobs.length > 1 ? 'Nothing but the name.' : 'Add a second job.'),
    );
    drawCharts();
  }
  const lastLoss = (job) => {
    const rows = job.steps.get(stage.value) || [...job.steps.values()].at(-1);
    return rows ? rows.get(Math.max(...rows.keys()))?.loss ?? null : null;
  };
  async function readOne(id) {
    const [job, found] = await Promise.all([get(jobPath(id)), get(jobPath(id, '/results'))]);
    const steps = job.progress || job.stages.some((one) => one.step > 0) ? await metrics(id) : new Map();
    return { ...job, steps, results: found.results };
  }
  async function read() {
    try {
      jobs = await Promise.all(ids.map(readOne));
    } catch (error) {
      if (stopped || error.status === 401) return;
      if (error.status === 0) {
        setTimeout(() => {
          if (!stopped) read();
        }, 1000);
      } else fill(body, element('p', { class: 'error', role: 'alert' }, error.message));
      return;
    }
    if (!stopped) draw();
  }
  stage.addEventListener('change', drawCharts);
  fill(root, element('h1', {}, 'Compare jobs'), picker, body);
  drawPicker();
  if (ids.length === 0) {
    fill(body, note(`Choose up to ${kJobs} jobs here, or mark them in the list of jobs.`));
    return () => {
      stopped = true;
    };
  }
  let timer = null;
  read().then(() => {
    if (stopped || jobs.every(ended)) return;
    stopEvents = events('/events', (kind, event) => {
      const job = jobs.find((one) => one.id === event.job);
      if (kind === 'gap') return read();
      if (!job) return;
      if (kind === 'step') {
        const step = stepOf(event.step);
        if (!job.steps.has(step.stage)) job.steps.set(step.stage, new Map());
        job.steps.get(step.stage).set(step.step, step);
        drawCharts();
      } else if (kind === 'state' || kind === 'bench_result') {
        timer ??= setTimeout(() => {
          timer = null;
          read();
        }, 500);
      }
    });
  });
  return () => {
    stopped = true;
    clearTimeout(timer);
    stopEvents();
    charts.destroy();
  };
}
