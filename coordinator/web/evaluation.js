// What the benches measured, and the report with its pictures.
import { get, jobPath, post } from './api.js';
import { element, fill, note, table } from './dom.js';
import { ended, number, percent } from './format.js';
import { measuresOf } from './measures.js';

const kRenewMs = 4 * 60 * 1000; // the report's address is good for longer than that
// Results of a bench as a table: a row a stage, or a step of one where it was run during it; a column a measure.
export function resultTables(results) {
  const rowName = (row) => row.step ? `${row.stage}, step ${number(row.step)}` : row.stage;
  const benches = [...new Set(results.map((result) => result.bench))];
  return benches.map((bench) => {
    const rows = results.filter((result) => result.bench === bench);
    const measures = measuresOf(rows);
    const columns = rows[0].columns.filter((column) => column.count > 0).map((column) => column.name);
    const title = rows[0].step ? `${bench} during training` : bench;
    const when = rows[0].step ? 'On the checkpoint of' : 'After stage';
    return element(
      'div',
      {},
      element('h3', {}, title),
      table(
        `Results of ${title}`,
        [{ title: when }, ...measures.map(([, measure]) => ({ title: measure.label, number: true })), {
          title: 'Questions',
          number: true,
        }],
        rows.map((row) => [
          rowName(row),
          ...measures.map(([name, measure]) => name in row.metrics ? measure.show(row.metrics[name]) : null),
          number(row.counts.total),
        ]),
      ),
      columns.length > 1
        ? element(
          'details',
          {},
          element('summary', {}, 'By kind of question'),
          table(
            `${title} by kind of question`,
            [{ title: when }, ...columns.map((title) => ({ title, number: true }))],
            rows.map((row) => [
              rowName(row),
              ...columns.map((name) => {
                const column = row.columns.find((other) => other.name === name);
                return column && column.count ? percent(column.correct / column.count) : null;
              }),
            ]),
          ),
        )
        : null,
    );
  });
}

export function evaluationPart(root, watched) {
  const results = element('div', { id: 'results', 'aria-live': 'polite' }), report = element('div', { id: 'report' });
  const progress = element('p', { class: 'note', role: 'status' });
  let timer = null, shown = false, stopped = false;

  async function drawResults() {
    const found = await get(jobPath(watched.id, '/results')).catch(() => null);
    if (stopped || found === null) return;
    fill(
      results,
      found.results.length + found.during.length
        ? [...resultTables(found.results), ...resultTables(found.during)]
        : note(ended(watched.job) ? 'Nothing was measured.' : 'Nothing has been measured yet.'),
    );
  }
  // A report is a document of its own, with its own policy; a frame cannot send a token, so it gets an address that is one.
  async function drawReport() {
    clearTimeout(timer);
    if (!watched.job.report) {
      if (!shown) {
        fill(report, note(ended(watched.job) ? 'There is no report.' : 'It is written when the last bench is done.'));
      }
      return;
    }
    let link;
    try {
      link = await post(jobPath(watched.id, '/report/link'));
    } catch (error) {
      if (error.status > 0) fill(report, element('p', { class: 'error' }, error.message));
      else timer = setTimeout(drawReport, 2000);
      return;
    }
    if (stopped) return;
    if (shown) report.querySelector('a').href = link.path;
    else {fill(
        report,
        element(
          'p',
          {},
          element(
            'a',
            { class: 'button', href: link.path, target: '_blank', rel: 'noopener', id: 'open-report' },
            'Open it in a tab of its own',
          ),
        ),
        element('iframe', {
          src: link.path,
          title: `Report of ${watched.id}`,
          sandbox: '',
          class: 'report',
          loading: 'eager',
        }),
      );}
    shown = true;
    timer = setTimeout(drawReport, kRenewMs);
  }
  fill(root, element('h2', {}, 'Results'), progress, results, element('h2', {}, 'Report'), report);
  let before = '';
  watched.listen((kind, event) => {
    if (kind === 'bench_result') drawResults();
    if (kind === 'report') { // written anew
      shown = false;
      drawReport();
    }
    if (kind === 'bench_progress') {
      progress.textContent = `${event.stage}, ${event.bench}: ${number(event.done)}${
        event.total ? ` of ${number(event.total)}` : ''
      } answers`;
    }
    if (kind !== 'job') return;
    if (event.phase !== 'evaluating') progress.textContent = '';
    const now = `${event.report}${event.phase}`;
    if (now !== before) {
      drawReport();
      drawResults();
    }
    before = now;
  });
  drawResults();
  drawReport();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
