#include "coordinator/status_page.h"

namespace tephra::coordinator {

// The token is kept for the browser tab only. Text from jobs goes in by textContent, never as markup.
const std::string_view kStatusPage = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tephra</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}
.done{color:#176b2c}.failed{color:#a40000}.cancelled{color:#777}small{color:#666}button{font:inherit}
</style></head><body>
<h1>Tephra</h1>
<p id="ask" hidden><label>Token <input id="token" type="password" autocomplete="off"></label> <button id="enter">Show</button></p>
<p id="note"></p>
<table id="jobs" hidden><thead><tr><th>Job</th><th>State</th><th>Stage</th><th>Progress</th><th>Attempt</th><th></th></tr></thead><tbody></tbody></table>
<script>
const by = id => document.getElementById(id);
const headers = () => { const t = sessionStorage.getItem('token'); return t ? {Authorization: 'Bearer ' + t} : {}; };
function cell(row, text, kind) { const c = row.insertCell(); c.textContent = text; if (kind) c.className = kind; return c; }
function progress(j) {
  const p = j.progress;
  if (j.phase === 'training' && p) return 'step ' + p.step + ' of ' + p.total_steps + ', loss ' + (p.loss === null ? '?' : p.loss.toFixed(4)) +
    (j.eta_seconds ? ', about ' + Math.ceil(j.eta_seconds) + ' s left' : '');
  if (j.phase === 'evaluating') return j.bench + ': ' + j.answers + ' answers';
  if (j.phase === 'queued') return 'place ' + j.queue_position;
  return j.phase === 'failed' ? j.reason : '';
}
async function report(id) {
  const r = await fetch('/api/v1/jobs/' + encodeURIComponent(id) + '/report', {headers: headers()});
  if (!r.ok) { by('note').textContent = 'no report yet'; return; }
  open(URL.createObjectURL(await r.blob()), '_blank');
}
async function show() {
  const r = await fetch('/api/v1/jobs?order=newest', {headers: headers()}).catch(() => null);
  if (!r) { by('note').textContent = 'the coordinator does not answer'; return; }
  by('ask').hidden = r.status !== 401;
  if (!r.ok) { by('jobs').hidden = true; by('note').textContent = r.status === 401 ? 'This coordinator asks for its token.' : 'error ' + r.status; return; }
  const jobs = (await r.json()).jobs;
  by('note').textContent = jobs.length ? '' : 'No jobs yet.';
  by('jobs').hidden = jobs.length === 0;
  const body = by('jobs').tBodies[0]; body.textContent = '';
  for (const j of jobs) {
    const row = body.insertRow();
    cell(row, j.id); cell(row, j.phase, j.phase); cell(row, j.stage); cell(row, progress(j)); cell(row, j.attempt);
    const last = row.insertCell();
    if (j.report) { const b = document.createElement('button'); b.textContent = 'report'; b.onclick = () => report(j.id); last.append(b); }
  }
}
by('enter').onclick = () => { sessionStorage.setItem('token', by('token').value); by('token').value = ''; show(); };
by('token').onkeydown = e => { if (e.key === 'Enter') by('enter').onclick(); };
show(); setInterval(show, 2000);
</script></body></html>
)html";

}  // namespace tephra::coordinator
