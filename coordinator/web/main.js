// Starts the page: which view is shown, who is signed in, whether the coordinator answers.
import { get, session, signals } from './api.js';
import { compareView } from './compare_view.js';
import { element, fill } from './dom.js';
import { jobView } from './job_view.js';
import { jobsView } from './jobs_view.js';
import { clock } from './format.js';
import { signInView } from './sign_in_view.js';
import { submitView } from './submit_view.js';
import { nextTheme, startTheme } from './theme.js';

const content = document.getElementById('content');
const banner = document.getElementById('banner');
let leave = () => {}; // ends the present view
let shown = ''; // its place, without what filters it

// '#/jobs/demo-1/logs?rank=1' -> {parts: ['jobs', 'demo-1', 'logs'], query}
function parsePlace(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  return { parts: path.split('/').filter((part) => part).map(decodeURIComponent), query: new URLSearchParams(query) };
}

function viewOf({ parts }) {
  if (parts[0] === 'jobs' && parts.length > 1) return jobView;
  return { compare: compareView, submit: submitView }[parts[0]] || jobsView;
}

function markNavigation(place) {
  for (const link of document.querySelectorAll('#navigation a')) {
    if (link.dataset.place === (place.parts[0] || 'jobs')) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

// A view is a function (root, place, setTitle) that draws into root and returns what ends it.
function show() {
  const place = parsePlace(location.hash);
  const name = place.parts.slice(0, 2).join('/') || 'jobs';
  leave();
  leave = () => {};
  markNavigation(place);
  const root = element('div', { class: 'view' });
  fill(content, root);
  const setTitle = (text) => {
    document.title = `${text} · Tephra`;
  };
  leave = viewOf(place)(root, place, setTitle) || (() => {});
  // A new page begins at its head, for eyes and for screen readers; a filter or a part of it leaves the focus alone.
  if (shown && shown !== name) {
    scrollTo(0, 0);
    content.focus({ preventScroll: true });
  }
  shown = name;
}

function showWho() {
  const { server } = session;
  document.getElementById('who').textContent = server ? `${server.name} (${server.role})` : '';
  document.getElementById('leave').hidden = !session.token;
  document.getElementById('version').textContent = server
    ? `Tephra ${server.version}, ${server.slots} slots`
    : 'Tephra';
}

function signIn(message) {
  leave();
  leave = () => {};
  session.server = null;
  shown = '';
  showWho();
  const root = element('div', { class: 'view' });
  fill(content, root);
  document.title = 'Sign in · Tephra';
  signInView(root, message, start);
}

async function start() {
  try {
    session.server = await get('/server');
  } catch (error) {
    if (error.status === 401) return; // 'refused' has shown the form
    if (error.status !== 0) fill(content, element('p', { role: 'alert' }, error.message));
    setTimeout(start, 1000);
    return;
  }
  showWho();
  show();
}

function showConnection(isLost) {
  const connection = document.getElementById('connection');
  connection.textContent = isLost ? 'Reconnecting' : 'Connected';
  connection.classList.toggle('lost', isLost);
}

// A page that is older than its coordinator may not understand it.
async function checkVersion() {
  if (!session.server) return;
  const server = await get('/server').catch(() => session.server);
  if (server.version === session.server.version) return;
  banner.className = 'banner';
  fill(
    banner,
    `The coordinator is now version ${server.version}. `,
    element('a', { href: '/', onclick: () => location.reload() }, 'Load this page again'),
  );
  banner.hidden = false;
}

let lostAt = 0;
signals.addEventListener('refused', (event) => signIn(session.token ? event.detail.message : ''));
signals.addEventListener('lost', (event) => {
  lostAt = Date.now();
  showConnection(true);
  banner.className = 'banner';
  banner.textContent = `The coordinator is away: ${event.detail.why}. What you see is as of ${
    clock(lostAt)
  }; this page tries again by itself.`;
  banner.hidden = false;
});
signals.addEventListener('found', () => {
  showConnection(false);
  banner.className = 'banner good';
  banner.textContent = `Connected again after ${
    Math.max(1, Math.round((Date.now() - lostAt) / 1000))
  } s. What happened meanwhile has been read.`;
  setTimeout(() => {
    if (banner.className === 'banner good') banner.hidden = true;
  }, 8000);
  checkVersion();
});

document.getElementById('leave').addEventListener('click', () => {
  session.token = '';
  start();
});
document.getElementById('skip').addEventListener('click', (event) => { // its address is a place of the page's own
  event.preventDefault();
  content.focus();
});
document.getElementById('theme').addEventListener('click', nextTheme);
addEventListener('hashchange', () => {
  if (session.server) show();
});
startTheme(document.getElementById('theme'));
showConnection(false);
start();
