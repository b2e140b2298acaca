// Ranks: heartbeats as they are, what each does now, and what the flights tell when one hangs or was lost.
import { get, jobPath } from './api.js';
import { element, facts, fill, note, table } from './dom.js';
import { bytes, clock, duration, number, running } from './format.js';

const kLateMs = 5000; // a heartbeat comes every second

function heartbeat(rank) {
  if (rank.heartbeat_age_ms < 0) return 'none yet';
  const late = rank.heartbeat_age_ms > kLateMs;
  return element(
    'span',
    { class: late ? 'bad' : null },
    `${(rank.heartbeat_age_ms / 1000).toFixed(1)} s ago${late ? ', late' : ''}`,
  );
}

const columns = [
  { title: 'Rank' },
  { title: 'Heartbeat' },
  { title: 'Does' },
  { title: 'Step', number: true },
  { title: 'Collective' },
  { title: 'Memory', number: true },
  { title: 'Process' },
];

function rankTable(job) {
  return table(
    'Ranks',
    columns,
    job.rank_states.map((rank) => [
      number(rank.rank),
      rank.connected ? heartbeat(rank) : running(job) ? element('span', { class: 'bad' }, 'not connected') : 'ended',
      [rank.phase, rank.unit].filter((word) => word).join(', ') +
      (rank.micro_batch > 0 ? `, micro-batch ${rank.micro_batch}` : ''),
      rank.step === undefined ? null : number(rank.step),
      rank.collective
        ? `${rank.collective} #${number(rank.collective_sequence)}${
          rank.collective_unit ? ` of ${rank.collective_unit}` : ''
        }`
        : null,
      rank.rss_bytes ? bytes(rank.rss_bytes) : null,
      rank.pid ? `${rank.pid} on ${rank.host}` : null,
    ]),
  );
}

// Findings of a gang, running or lost (docs/flight.md).
function findings(report) {
  const where = (rank) =>
    [rank.phase, rank.unit].filter((word) => word).join(' of ') +
    (rank.micro_batch >= 0 ? `, micro-batch ${rank.micro_batch}` : '');
  return element(
    'div',
    {},
    element(
      'p',
      { class: report.behind === null ? 'verdict' : 'verdict behind' },
      report.verdict || 'No rank is behind.',
    ),
    report.lost
      ? note(`Attempt ${report.attempt} ended at ${clock(report.unix_ms)}: ${report.reason}`)
      : note(`Attempt ${report.attempt}, as of ${clock(report.unix_ms)}`),
    table(
      'Where each rank is',
      [{ title: 'Rank' }, { title: 'Is in' }, { title: 'For' }, { title: 'Waits for' }, { title: 'Said' }],
      report.ranks.map((rank) => ({
        cells: [
          rank.rank === report.behind ? `${rank.rank} (behind)` : number(rank.rank),
          where(rank),
          rank.phase_seconds ? duration(rank.phase_seconds) : null,
          rank.waits_for,
          rank.said,
        ],
        attributes: { class: rank.rank === report.behind ? 'marked' : null },
      })),
    ),
    report.paces.length
      ? element('h3', { class: 'later' }, `Pace over ${number(report.paced_steps.count)} steps`)
      : null,
    report.paces.length
      ? table(
        `Pace over ${number(report.paced_steps.count)} steps`,
        [{ title: 'Rank' }, { title: 'Computes a step in', number: true }, { title: 'Longest', number: true }, {
          title: 'Waits for others',
          number: true,
        }, { title: 'Last in', number: true }],
        report.paces.map(
          (pace) => [
            number(pace.rank),
            duration(pace.compute_mean_seconds),
            duration(pace.compute_max_seconds),
            duration(pace.waited_mean_seconds),
            `${pace.last} of ${report.paced_steps.count} steps`,
          ],
        ),
      )
      : null,
    element(
      'details',
      {},
      element('summary', {}, 'Last operations of each rank'),
      element('pre', { tabindex: '0' }, report.page),
    ),
  );
}

export function ranksPart(root, watched) {
  const ranks = element('div', { id: 'ranks' }),
    now = element('div', { id: 'flights', 'aria-live': 'polite' }),
    lost = element('div', {});
  const look = element('button', {
    type: 'button',
    id: 'look',
    onclick: async () => {
      look.disabled = true;
      try {
        fill(now, findings(await get(jobPath(watched.id, '/flights?view=report'))));
      } catch (error) {
        fill(now, element('p', { class: 'error' }, error.message));
      }
      look.disabled = !running(watched.job);
    },
  }, 'Ask the ranks now');
  function draw() {
    const { job } = watched;
    fill(
      ranks,
      job.rank_states.length ? rankTable(job) : note(running(job) ? 'The ranks are being started.' : 'No ranks run.'),
      job.rank_states.length && running(job)
        ? facts([['Connected', `${job.rank_states.filter((rank) => rank.connected).length} of ${job.ranks}`]])
        : '',
    );
    look.disabled = !running(job);
  }
  let restarts = -1;
  async function drawLost() {
    if (restarts === watched.job.restarts) return;
    restarts = watched.job.restarts;
    if (restarts === 0 && watched.job.phase !== 'failed') return fill(lost, note('No attempt has lost a rank.'));
    try {
      fill(lost, findings(await get(jobPath(watched.id, '/flight-report'))));
    } catch (error) {
      fill(lost, note(error.status === 404 ? 'No attempt has lost a rank.' : error.message));
    }
  }
  fill(
    root,
    element('h2', {}, 'Ranks'),
    ranks,
    element('h2', {}, 'Who is behind'),
    note('When a job hangs or is slow: what each rank did last, and for whom the others wait.'),
    look,
    now,
    element('h2', {}, 'The last lost attempt'),
    lost,
  );
  watched.listen((kind) => {
    if (kind !== 'job') return;
    draw();
    drawLost();
  });
  draw();
  drawLost();
}
