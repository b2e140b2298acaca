// The overview of a job: its stages as a line of time, and live charts.
import { TrainingCharts } from './charts.js';
import { element, fill, note } from './dom.js';
import { ended, number, plural } from './format.js';

// What a stage goes through, each with its state: done, now, or to come.
function milestones(job, stage, index) {
  const present = job.stages.findIndex((other) => other.name === job.stage);
  const here = index === present && !ended(job);
  const trained = stage.complete;
  const total = job.progress && job.progress.stage === stage.name ? job.progress.total_steps : null;
  const trainingNow = here && job.phase === 'training';
  const steps = trainingNow && job.progress
    ? `step ${number(job.progress.step)} of ${number(total)}`
    : stage.step
    ? `${plural(stage.step, 'step')}`
    : '';
  const rows = [{
    title: 'Train',
    state: trained ? 'done' : trainingNow ? 'now' : ended(job) && present >= index ? 'stopped' : 'ahead',
    text: steps,
    bar: trainingNow && total ? [job.progress.step, total] : null,
  }];
  for (const [bench, done] of Object.entries(stage.benches)) {
    rows.push({
      title: bench,
      state: done
        ? 'done'
        : here && job.phase === 'evaluating' && job.bench === bench
        ? 'now'
        : ended(job) && !done
        ? 'stopped'
        : 'ahead',
      text: here && job.phase === 'evaluating' && job.bench === bench ? plural(job.answers, 'answer') : '',
    });
  }
  return rows;
}

const words = { done: 'done', now: 'in progress', ahead: 'to come', stopped: 'not done' };
const marks = { done: '✓', now: '●', ahead: '○', stopped: '–' };

function milestone(row, stage) {
  return element(
    'li',
    { class: row.state },
    element('span', { class: 'mark', 'aria-hidden': 'true' }, marks[row.state]),
    element(
      'span',
      {},
      row.title,
      element('span', { class: 'hidden' }, ` ${words[row.state]}`),
      row.text ? element('small', {}, row.text) : null,
      row.bar
        ? element('progress', { value: row.bar[0], max: row.bar[1], 'aria-label': `steps of ${stage.name}` })
        : null,
    ),
  );
}

export function timeline(job) {
  const stages = job.stages.map((stage, i) =>
    element(
      'li',
      {},
      element('h3', {}, `${i + 1}. ${stage.name}`),
      stage.init ? element('small', {}, `from ${stage.init}`) : null,
      element('ul', {}, milestones(job, stage, i).map((row) => milestone(row, stage))),
    )
  );
  const reported = job.report && ended(job)
    ? 'done'
    : job.phase === 'reporting'
    ? 'now'
    : ended(job)
    ? 'stopped'
    : 'ahead';
  const report = element(
    'li',
    {},
    element('h3', {}, 'Report'),
    element(
      'ul',
      {},
      element(
        'li',
        { class: reported },
        element('span', { class: 'mark', 'aria-hidden': 'true' }, marks[reported]),
        element(
          'span',
          {},
          job.report
            ? element(
              'a',
              { href: `#/jobs/${encodeURIComponent(job.id)}/evaluation` },
              ended(job) ? 'Read it' : 'Read what there is so far',
            )
            : 'One page for all stages',
          element('span', { class: 'hidden' }, ` ${words[reported]}`),
        ),
      ),
    ),
  );
  return element('ol', { class: 'timeline' }, stages, report);
}

// Lines of the charts: stages behind each other.
function linesOf(steps, job) {
  let offset = 0;
  const order = job.stages.map((stage) => stage.name).filter((name) => steps.has(name));
  return order.map((name) => {
    const line = { label: name, steps: steps.get(name), offset };
    const last = [...line.steps.values()].at(-1);
    offset += last?.total_steps || line.steps.size;
    return line;
  });
}

export function overviewPart(root, watched) {
  const stages = element('div', {}), charts = new TrainingCharts({ xTitle: 'step' });
  const empty = note('No step has been made yet; charts begin with the first.');
  const draw = () => fill(stages, timeline(watched.job));
  const drawSteps = () => {
    empty.hidden = watched.steps.size > 0;
    charts.root.hidden = watched.steps.size === 0;
    charts.setLines(linesOf(watched.steps, watched.job));
  };
  fill(root, element('h2', {}, 'Stages'), stages, element('h2', {}, 'Training'), empty, charts.root);
  watched.listen((kind) => {
    if (kind === 'job') draw();
    if (kind === 'steps') drawSteps();
  });
  draw();
  drawSteps();
  return () => charts.destroy();
}
