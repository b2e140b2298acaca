// Elements. Text goes in as text, never as markup.

// element('a', {href: '#/jobs', class: 'brand', onclick: f}, 'text', child, [children], null): attributes that are null or false are
// left out, true is an empty one, functions are listeners.
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') made.addEventListener(key.replace(/^on/, ''), value);
    else made.setAttribute(key, value === true ? '' : String(value));
  }
  made.append(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false).map(
      (child) => child instanceof Node ? child : String(child),
    ),
  );
  return made;
}

// Replaces what `parent` holds. The element that has the focus keeps it when the new content has one of the same id or
// data-key, so that a list may be drawn anew under someone's hands.
export function fill(parent, ...children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const key = focused &&
    (focused.id
      ? '#' + CSS.escape(focused.id)
      : focused.dataset.key
      ? `[data-key="${CSS.escape(focused.dataset.key)}"]`
      : null);
  parent.replaceChildren(
    ...children.flat().filter((child) => child !== null && child !== undefined && child !== false),
  );
  if (key) parent.querySelector(key)?.focus({ preventScroll: true });
}

// A table with a name for screen readers. Columns: {title, number: true}; cells: text, elements, or null. Roles are said because
// style sheets may lay a table out as cards, which takes its own away.
export function table(caption, columns, rows, attributes = {}) {
  const head = element(
    'tr',
    { role: 'row' },
    columns.map((column) =>
      element(
        'th',
        { scope: 'col', role: 'columnheader', class: column.number ? 'number' : null },
        column.title || element('span', { class: 'hidden' }, column.label || ''),
      )
    ),
  );
  const body = rows.map((row) =>
    element(
      'tr',
      { role: 'row', ...row.attributes },
      (row.cells || row).map((cell, i) => {
        const shown = cell === null || cell === undefined || cell === '' ? '–' : cell;
        return i === 0
          ? element('th', { scope: 'row', role: 'rowheader' }, shown)
          : element('td', { role: 'cell', class: columns[i].number ? 'number' : null }, shown);
      }),
    )
  );
  // What may scroll can be reached with the keyboard.
  return element(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${caption}, table` },
    element(
      'table',
      { role: 'table', 'aria-label': caption, ...attributes },
      element('thead', { role: 'rowgroup' }, head),
      element('tbody', { role: 'rowgroup' }, body),
    ),
  );
}

// Name and value pairs.
export function facts(pairs) {
  return element(
    'dl',
    { class: 'facts' },
    pairs.filter(([, value]) => value !== null && value !== undefined && value !== '').map(
      ([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value)),
    ),
  );
}

export function note(text) {
  return element('p', { class: 'note' }, text);
}
