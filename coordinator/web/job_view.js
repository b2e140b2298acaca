// A job's page: its head, and one of its parts (overview, ranks, logs, checkpoints, evaluation, recipe, history).
import { ApiError, events, get, jobPath, metrics, stepOf } from './api.js';
import { jobActions } from './actions.js';
import { checkpointsPart } from './checkpoints.js';
import { element, facts, fill } from './dom.js';
import { evaluationPart } from './evaluation.js';
import { clock, duration, ended, plural, progressText, running } from './format.js';
import { historyPart } from './history.js';
import { badge, jobLink, progressBar } from './jobs_view.js';
import { logsPart } from './logs.js';
import { overviewPart } from './overview.js';
import { ranksPart } from './ranks.js';
import { recipePart } from './recipe.js';

const kRefreshMs = 2000; // of what no event tells: heartbeats, time left
const parts = {
  overview: ['Overview', overviewPart],
  ranks: ['Ranks', ranksPart],
  logs: ['Logs', logsPart],
  checkpoints: ['Checkpoints', checkpointsPart],
  evaluation: ['Evaluation', evaluationPart],
  recipe: ['Recipe', recipePart],
  history: ['History', historyPart],
};

function ranks(job) {
  const elastic = job.ranks_min < job.ranks_max ? ` of ${job.ranks_min} to ${job.ranks_max}` : '';
  const why = job.ranks_reason ? `: ${job.ranks_reason}` : '';
  return `${job.ranks}${elastic} × ${plural(job.threads_per_rank, 'thread')}${why}`;
}

function head(job) {
  const took = job.started_unix_ms ? ((job.finished_unix_ms || Date.now()) - job.started_unix_ms) / 1000 : null;
  return facts([
    ['Recipe', job.recipe_name],
    ['User', job.user],
    ['Submitted', clock(job.submitted_unix_ms)],
    ['Ranks', ranks(job)],
    [
      'Attempt',
      job.attempt
        ? `${job.attempt}${job.restarts ? `, ${job.restarts} of ${job.max_restarts} restarts used` : ''}`
        : null,
    ],
    // Of a job that is done the line above says it.
    [job.finished_unix_ms ? 'Took' : 'Running for', took === null || job.phase === 'done' ? null : duration(took)],
    ['Left in this stage', job.eta_seconds === null ? null : duration(job.eta_seconds)],
  ]);
}

// What parts are given: `job`, `steps` (api.js metrics), and whom to tell of events.
class Watched {
  constructor(id) {
    this.id = id;
    this.job = null;
    this.steps = new Map();
    this.stepsAsked = false; // of the file; what came since is told by events
    this.listeners = new Set(); // (kind, event): kinds of the stream, and 'job' when the job was read again
    this.ended = false; // by what the stream told
    this.stopped = false;
    this.timer = null;
  }
  listen(listener) {
    this.listeners.add(listener);
  }
  tell(kind, event) {
    for (const listener of this.listeners) listener(kind, event);
  }
  async read() {
    const job = await get(jobPath(this.id));
    if (this.stopped) return;
    this.job = job;
    this.tell('job', job);
    if (this.stepsAsked || !job.progress && !job.stages.some((stage) => stage.step > 0)) return;
    this.stepsAsked = true;
    this.readSteps().catch(() => {
      this.stepsAsked = false;
    });
  }
  async readSteps() {
    const steps = await metrics(this.id);
    if (this.stopped) return;
    // Events that came while the file was read are newer than it.
    for (const [stage, rows] of this.steps) {
      for (const [step, row] of rows) {
        if (!steps.has(stage)) steps.set(stage, new Map());
        if (!steps.get(stage).has(step)) steps.get(stage).set(step, row);
      }
    }
    this.steps = steps;
    this.tell('steps');
  }
  // A stream has begun, or missed something: the file has the steps before.
  readAgain() {
    this.stepsAsked = false;
    this.soon(0);
  }
  soon(ms = 250) {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.read().catch(() => {});
    }, ms);
  }
  event(kind, event) {
    if (event.phase) this.ended = ended(event);
    if (kind === 'gap') {
      this.readAgain();
      return;
    }
    if (kind === 'job') {
      this.soon(); // without the recipe; what matters is read whole
      return;
    }
    if (kind === 'step') {
      const step = stepOf(event.step);
      if (!this.steps.has(step.stage)) this.steps.set(step.stage, new Map());
      const rows = this.steps.get(step.stage);
      rows.set(step.step, step);
      if (this.job) Object.assign(this.job, { progress: event.step, stage: step.stage, phase: event.phase });
      this.tell('steps');
    } else if (kind !== 'log') {
      this.soon();
    }
    this.tell(kind, event);
  }
}

export function jobView(root, place, setTitle) {
  const id = place.parts[1], part = parts[place.parts[2]] ? place.parts[2] : 'overview';
  setTitle(`${id}, ${parts[part][0].toLowerCase()}`);
  const watched = new Watched(id);
  const top = element('div', { class: 'job-head' }), doing = element('p', { class: 'doing', id: 'doing' });
  const said = element('p', { class: 'hidden', role: 'status', id: 'job-status' }); // changes of state, for screen readers
  const reason = element('p', { class: 'warning', hidden: true });
  const actions = jobActions(watched);
  const about = element('div', {});
  const body = element('div', { id: 'part' });
  const links = element(
    'nav',
    { class: 'parts', 'aria-label': `Parts of ${id}` },
    Object.entries(parts).map(([name, [title]]) =>
      element('a', {
        href: jobLink(id, name === 'overview' ? '' : `/${name}`),
        'aria-current': name === part ? 'page' : null,
      }, title)
    ),
  );
  let phase = '', leavePart = () => {}, stopEvents = () => {};

  function drawHead() {
    const { job } = watched;
    fill(top, element('h1', {}, job.id), badge(job), actions.root);
    fill(doing, progressText(job), progressBar(job) || '');
    fill(about, head(job));
    reason.hidden = !job.reason || job.phase === 'done';
    reason.textContent = running(job) && job.restarts > 0 ? `The attempt before was lost: ${job.reason}` : job.reason;
    reason.classList.toggle('mild', running(job));
    if (phase && phase !== job.phase) said.textContent = `${job.id} is ${job.phase}`;
    phase = job.phase;
  }
  fill(root, top, said, doing, reason, about, links, body);
  links.scrollLeft = links.querySelector('[aria-current]').offsetLeft - links.offsetLeft - 40;

  async function begin() {
    try {
      await watched.read();
    } catch (error) {
      if (watched.stopped || !(error instanceof ApiError)) return;
      if (error.status === 0) {
        setTimeout(() => {
          if (!watched.stopped) begin();
        }, 1000);
        return;
      }
      fill(
        root,
        element('h1', {}, id),
        element('p', { class: 'error', role: 'alert' }, error.message),
        element('a', { href: '#/jobs' }, 'All jobs'),
      );
      return;
    }
    if (watched.stopped) return;
    drawHead();
    let drawn = 0;
    watched.listen((kind) => {
      if (kind === 'job') drawHead();
      if (kind === 'steps' && Date.now() - drawn > 500) {
        drawn = Date.now();
        drawHead();
      }
    });
    leavePart = parts[part][1](body, watched) || (() => {});
    stopEvents = events(
      jobPath(id, '/events'),
      (kind, event) => watched.event(kind, event),
      () => watched.ended,
      () => watched.readAgain(),
    );
  }
  begin();
  const every = setInterval(() => {
    if (!document.hidden && watched.job && !ended(watched.job)) watched.soon(0);
  }, kRefreshMs);
  return () => {
    watched.stopped = true;
    clearInterval(every);
    clearTimeout(watched.timer);
    stopEvents();
    leavePart();
    actions.destroy();
  };
}
