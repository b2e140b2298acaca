// A recipe as text: resolved, so with every default, and paths that are absolute.
import { element, fill, note } from './dom.js';

const plain = (text) =>
  /^[A-Za-z_/.][\w/.@ -]*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text) && !/\s$/.test(text) &&
  !/: | #/.test(text);

function scalar(value) {
  if (typeof value === 'string') return plain(value) ? value : JSON.stringify(value);
  return JSON.stringify(value);
}

const isLeaf = (value) => value === null || typeof value !== 'object' || Object.keys(value).length === 0;

// What recipes are written with first; the rest by name, as it came.
const first = ['name', 'seed', 'kind', 'model', 'gang', 'datasets', 'stages', 'benches'];
const place = ([key]) => first.includes(key) ? first.indexOf(key) : first.length;

// YAML that reads back to the same document.
export function toYaml(value, indent = '') {
  if (isLeaf(value)) return `${indent}${scalar(value)}\n`;
  if (Array.isArray(value) && value.every(isLeaf)) return `${indent}[${value.map(scalar).join(', ')}]\n`;
  if (Array.isArray(value)) {
    return value.map((item) => `${indent}- ${toYaml(item, `${indent}  `).trimStart()}`).join('');
  }
  return Object.entries(value).sort((a, b) => place(a) - place(b)).map(([key, item]) => {
    const name = plain(key) ? key : JSON.stringify(key);
    const text = toYaml(item, `${indent}  `);
    const inline = isLeaf(item) || Array.isArray(item) && item.every(isLeaf);
    return inline ? `${indent}${name}: ${text.trim()}\n` : `${indent}${name}:\n${text}`;
  }).join('');
}

// {path: text}, for comparing.
export function flatten(value, path = '', out = new Map()) {
  if (isLeaf(value) || Array.isArray(value) && value.every(isLeaf)) {
    out.set(path, JSON.stringify(value));
    return out;
  }
  // Stages and other lists of things with names are told apart by those.
  for (const [key, item] of Object.entries(value)) {
    const name = Array.isArray(value) ? `[${item?.name ?? key}]` : path ? `.${key}` : key;
    flatten(item, path + name, out);
  }
  return out;
}

export function recipePart(root, watched) {
  const yaml = toYaml(watched.job.recipe);
  const copied = element('span', { role: 'status', class: 'note' });
  fill(
    root,
    element('h2', {}, 'Recipe'),
    note('As it was resolved when it was submitted: with defaults, and paths made absolute.'),
    element(
      'p',
      { class: 'buttons' },
      element('a', { class: 'button', href: `#/submit?from=${encodeURIComponent(watched.id)}` }, 'Submit one like it'),
      element('button', {
        type: 'button',
        onclick: async () => {
          try {
            await navigator.clipboard.writeText(yaml);
            copied.textContent = 'Copied';
          } catch {
            copied.textContent = 'This browser does not let a page copy here; select the text';
          }
        },
      }, 'Copy'),
      copied,
    ),
    element('pre', { tabindex: '0', class: 'recipe', role: 'region', 'aria-label': 'Recipe' }, yaml),
  );
}
