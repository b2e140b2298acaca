// A recipe is pasted, opened from a file or taken from a job; what is wrong with it is told with its place.
import { get, jobPath, post, session } from './api.js';
import { element, fill, note } from './dom.js';
import { toYaml } from './recipe.js';

const kFolderKey = 'tephra-base-dir';
const example = `name: first
model: {vision: clip, language: llama, connector: {kind: mlp2x_gelu}}
gang: {ranks: 2}
datasets:
  chat: {kind: llava, conversations: chat.json, images: images}
stages:
  - {name: align, train: [connector], template: plain, data: [{dataset: chat}], steps: 100,
     micro_batch: 4, global_batch: 16, optimizer: {lr: 1e-3}}
`;

// Where a line begins in a text; lines count from 1.
export function lineStart(text, line) {
  let at = 0;
  for (let n = 1; n < line; ++n) {
    const next = text.indexOf('\n', at);
    if (next < 0) return text.length;
    at = next + 1;
  }
  return at;
}

// A key for a submission that may be sent again when its answer was lost.
function freshKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function submitView(root, place, setTitle) {
  setTitle('Submit');
  const recipe = element('textarea', {
    id: 'recipe',
    rows: '22',
    spellcheck: 'false',
    autocomplete: 'off',
    autocapitalize: 'off',
    wrap: 'off',
    placeholder: example,
    'aria-describedby': 'recipe-help',
  });
  const folder = element('input', {
    id: 'base-dir',
    autocomplete: 'off',
    spellcheck: 'false',
    placeholder: '/data/recipes',
    value: sessionStorage.getItem(kFolderKey) || '',
  });
  const problems = element('div', { id: 'problems', role: 'alert', tabindex: '-1' });
  const send = element('button', { type: 'submit', class: 'primary', id: 'send' }, 'Submit');
  const file = element('input', {
    type: 'file',
    id: 'file',
    accept: '.yaml,.yml',
    onchange: async () => {
      if (!file.files.length) return;
      recipe.value = await file.files[0].text();
      sent = null;
      fill(problems);
    },
  });
  let sent = null; // {text, key}: the same text is the same submission

  function goTo(diagnostic) {
    const from = lineStart(recipe.value, diagnostic.line);
    const end = recipe.value.indexOf('\n', from);
    recipe.focus();
    recipe.setSelectionRange(from + Math.max(0, (diagnostic.column || 1) - 1), end < 0 ? recipe.value.length : end);
    const height = parseFloat(getComputedStyle(recipe).lineHeight) || 18;
    recipe.scrollTop = Math.max(0, (diagnostic.line - 4) * height);
  }
  function show(error) {
    const rows = error.diagnostics.map((diagnostic) =>
      element(
        'li',
        {},
        diagnostic.line
          ? element(
            'button',
            { type: 'button', class: 'place', onclick: () => goTo(diagnostic) },
            `Line ${diagnostic.line}, column ${diagnostic.column}`,
          )
          : null,
        element(
          'span',
          {},
          diagnostic.field ? element('code', {}, diagnostic.field) : null,
          ` ${diagnostic.message}`,
          diagnostic.hint ? element('small', {}, diagnostic.hint) : null,
        ),
      )
    );
    if (rows.length) recipe.setAttribute('aria-invalid', 'true');
    fill(
      problems,
      element(
        'div',
        { class: 'warning' },
        rows.length
          ? element(
            'p',
            {},
            `The recipe was not taken: ${rows.length} thing${rows.length === 1 ? '' : 's'} to put right.`,
          )
          : element('p', {}, error.message),
        rows.length ? element('ul', { class: 'diagnostics' }, rows) : null,
      ),
    );
    problems.focus();
  }
  async function submit(event) {
    event.preventDefault();
    if (!recipe.value.trim()) {
      show({ diagnostics: [], message: 'Paste a recipe first.' });
      recipe.focus();
      return;
    }
    const base = folder.value.trim();
    if (!base.startsWith('/')) {
      show({
        diagnostics: [],
        message:
          'Give the folder that the recipe’s relative paths begin at: an absolute path on the coordinator’s machine, / when it has none.',
      });
      folder.setAttribute('aria-invalid', 'true');
      folder.focus();
      return;
    }
    folder.removeAttribute('aria-invalid');
    const text = `${base}\n${recipe.value}`;
    if (!sent || sent.text !== text) sent = { text, key: freshKey() };
    send.disabled = true;
    recipe.removeAttribute('aria-invalid');
    fill(problems);
    try {
      if (base) sessionStorage.setItem(kFolderKey, base);
      const made = await post('/jobs', { recipe_yaml: recipe.value, base_dir: base }, { 'Idempotency-Key': sent.key });
      location.hash = `#${jobPath(made.id)}`;
    } catch (error) {
      if (error.status !== 401) show(error);
    }
    send.disabled = false;
  }
  if (session.server.role === 'viewer') {
    fill(
      root,
      element('h1', {}, 'Submit a recipe'),
      note(`${session.server.name} is a viewer: submitting takes a submitter’s or an admin’s token.`),
    );
    return;
  }
  fill(
    root,
    element('h1', {}, 'Submit a recipe'),
    element(
      'form',
      { class: 'panel', onsubmit: submit },
      problems,
      element('label', { for: 'recipe' }, 'Recipe'),
      recipe,
      element('p', { id: 'recipe-help', class: 'note' }, 'YAML, as in docs/recipes.md.'),
      element('label', { for: 'file' }, 'Or open a file'),
      file,
      element('label', { for: 'base-dir' }, 'Folder for relative paths, on the coordinator’s machine'),
      folder,
      element('div', { class: 'buttons' }, send),
    ),
  );
  const from = place.query.get('from');
  if (from) {
    get(jobPath(from)).then((job) => {
      recipe.value = toYaml(job.recipe);
      folder.value ||= '/'; // its paths are absolute
    }, (error) => show(error));
  }
  return () => {};
}
