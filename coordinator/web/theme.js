// Light, dark, or as the system has it. Kept in this browser; the token is not (api.js).
const kKey = 'tephra-theme';
const order = ['system', 'light', 'dark'];
let button = null;

function apply(theme) {
  if (theme === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = { system: 'Theme: auto', light: 'Theme: light', dark: 'Theme: dark' }[theme];
  document.dispatchEvent(new Event('themechange'));
}

const current = () => order.includes(localStorage.getItem(kKey)) ? localStorage.getItem(kKey) : 'system';

export function nextTheme() {
  const theme = order[(order.indexOf(current()) + 1) % order.length];
  localStorage.setItem(kKey, theme);
  apply(theme);
}

export function startTheme(itsButton) {
  button = itsButton;
  apply(current());
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => apply(current()));
}
