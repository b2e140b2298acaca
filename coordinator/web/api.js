// The coordinator's interface: requests, the token (for this tab only), and streams that come back by themselves.

const kTokenKey = 'tephra-token';

export const session = {
  get token() {
    return sessionStorage.getItem(kTokenKey) || '';
  },
  set token(value) {
    value ? sessionStorage.setItem(kTokenKey, value) : sessionStorage.removeItem(kTokenKey);
  },
  server: null, // GET /server: version, slots, name, role
};

// What the rest of the page is told: 'refused' (the token does not do), 'lost' and 'found' (the coordinator), with details.
export const signals = new EventTarget();
const tell = (name, detail = {}) => signals.dispatchEvent(new CustomEvent(name, { detail }));

let isLost = false;
function lost(why) {
  if (isLost) return;
  isLost = true;
  tell('lost', { why });
}
function found() {
  if (!isLost) return;
  isLost = false;
  tell('found');
}

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message || `error ${status}`);
    this.status = status;
    this.code = error.code || '';
    this.diagnostics = error.diagnostics || [];
  }
}

async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (session.token) headers.Authorization = `Bearer ${session.token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    lost('it does not answer');
    throw new ApiError(0, { code: 'unreachable', message: 'The coordinator does not answer.' });
  }
  found();
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  const error = new ApiError(response.status, body.error || {});
  if (response.status === 401) tell('refused', { message: error.message });
  throw error;
}

const api = (path) => `/api/v1${path}`;
export const jobPath = (id, rest = '') => `/jobs/${encodeURIComponent(id)}${rest}`;
export async function get(path, options) {
  return (await send(api(path), options)).json();
}
export async function text(path, options) {
  return (await send(api(path), options)).text();
}
export async function post(path, body, headers = {}) {
  const options = { method: 'POST', headers };
  if (body !== undefined) {
    options.headers = { ...headers, 'Content-Type': 'application/json' };
    options.body = JSON.stringify(body);
  }
  return (await send(api(path), options)).json();
}

// All pages of a list, `limit` rows at most.
export async function all(path, key, limit = 2000) {
  const rows = [];
  let cursor = '';
  do {
    const page = await get(
      `${path}${path.includes('?') ? '&' : '?'}limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`,
    );
    rows.push(...page[key]);
    cursor = page.next;
  } while (cursor && rows.length < limit);
  return rows;
}

// What charts show of a step, of metrics.jsonl or of an event.
export function stepOf(row) {
  return {
    step: row.step,
    stage: row.stage,
    total_steps: row.total_steps,
    loss: row.loss,
    skipped: row.skipped,
    learning_rate: row.lr ?? row.learning_rate,
    gradient_norm: row.grad_norm ?? row.gradient_norm,
    tokens_per_second: row.tokens_per_s ?? row.tokens_per_second,
  };
}

const kSteps = 4000; // of a long job some are left out

// The steps of a job that has made one: a map of stage to a map of step to stepOf(); the last line of a step counts.
export async function metrics(job) {
  const lines = await text(jobPath(job, `/metrics?lines=${kSteps}`));
  const stages = new Map();
  for (const line of lines.split('\n')) {
    if (!line) continue;
    let step;
    try {
      step = JSON.parse(line);
    } catch {
      continue; // the last line may be half written
    }
    if (!stages.has(step.stage)) stages.set(step.stage, new Map());
    stages.get(step.stage).set(step.step, stepOf(step));
  }
  return stages;
}

// Chunks of text of a response that goes on, until it ends or `signal` is aborted.
export async function follow(path, signal, onText, { headers = {}, opened = () => {} } = {}) {
  const response = await send(api(path), { signal, headers });
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onText(value);
  }
}

const waitFor = (ms, signal) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      done();
    }, { once: true });
  });

// Server-sent events, read with fetch so that the token is a header and not part of an address. A connection that ends is made
// again, from where it was; `onEvent(kind, data)` gets 'gap' when something may have been missed, `opened` is called for each. A stream is given back while
// the page is hidden: a browser has few connections for a host, and they are shared by its tabs.
export function events(path, onEvent, finished = () => false, opened = () => {}) {
  const stop = new AbortController();
  let last = '', attempt = 0, current = null;

  function take(block) {
    let kind = 'message', data = '';
    for (const line of block.split('\n')) {
      if (line.startsWith('event:')) kind = line.slice(6).trim();
      else if (line.startsWith('data:')) data += line.slice(5).trim();
      else if (line.startsWith('id:')) last = line.slice(3).trim();
    }
    if (data) onEvent(kind, JSON.parse(data));
  }
  async function once() {
    let rest = '';
    current = new AbortController();
    await follow(path, AbortSignal.any([stop.signal, current.signal]), (chunk) => {
      attempt = 0;
      rest += chunk;
      const blocks = rest.split('\n\n');
      rest = blocks.pop();
      blocks.filter((block) => block && !block.startsWith(':')).forEach(take);
    }, { headers: last ? { 'Last-Event-ID': last } : {}, opened });
  }
  async function run() {
    while (!stop.signal.aborted && !finished()) {
      if (document.hidden) {
        await new Promise((done) => document.addEventListener('visibilitychange', done, { once: true }));
        continue;
      }
      try {
        await once();
        if (finished()) return;
        lost('it ended the connection');
      } catch (error) {
        if (stop.signal.aborted || error.status === 401 || error.status === 404) return;
        if (error.name !== 'AbortError' && error.status === undefined) lost('the connection broke');
        if (error.name === 'AbortError') continue;
      }
      await waitFor(Math.min(8000, 250 * 2 ** attempt++) * (0.75 + Math.random() / 2), stop.signal);
    }
  }
  const hidden = () => {
    if (document.hidden) current?.abort();
  };
  document.addEventListener('visibilitychange', hidden);
  run();
  return () => {
    document.removeEventListener('visibilitychange', hidden);
    stop.abort();
  };
}
