// What the journal has of the job, newest first.
import { all, jobPath } from './api.js';
import { element, fill, table } from './dom.js';
import { clock, number } from './format.js';

export function historyPart(root, watched) {
  const rows = element('div', { 'aria-busy': 'true' });
  let last = '', timer = null;
  async function draw() {
    timer = null;
    const events = await all(jobPath(watched.id, '/history'), 'events').catch(() => null);
    if (events === null) return;
    rows.setAttribute('aria-busy', 'false');
    fill(
      rows,
      table(
        'Events, newest first',
        [{ title: 'When' }, { title: 'Event' }, { title: 'State after it' }, { title: 'Attempt', number: true }],
        events.reverse().map(
          (event) => [
            clock(event.unix_ms),
            event.text || event.name,
            event.phase,
            event.attempt ? number(event.attempt) : null,
          ],
        ),
      ),
    );
  }
  fill(root, element('h2', {}, 'History'), rows);
  watched.listen((kind, job) => {
    if (kind !== 'job') return;
    const state = [job.phase, job.attempt, job.stages.map((stage) => stage.checkpoint)].join();
    if (state === last) return;
    last = state;
    timer ??= setTimeout(draw, 300);
  });
  draw();
  return () => clearTimeout(timer);
}
