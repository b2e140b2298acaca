// Asks for a token. It is kept in sessionStorage: this tab's, until it is closed.
import { session } from './api.js';
import { element, fill } from './dom.js';

export function signInView(root, message, signedIn) {
  const input = element('input', {
    id: 'token',
    type: 'password',
    autocomplete: 'off',
    spellcheck: 'false',
    required: true,
    'aria-describedby': 'token-help token-error',
    'aria-invalid': message ? 'true' : null,
  });
  const form = element(
    'form',
    {
      class: 'panel narrow',
      onsubmit: (event) => {
        event.preventDefault();
        session.token = input.value.trim();
        signedIn();
      },
    },
    element('h1', {}, 'Sign in'),
    element('label', { for: 'token' }, 'Token'),
    input,
    element('p', { id: 'token-error', class: 'error', role: 'alert' }, message || ''),
    element('button', { type: 'submit', class: 'primary' }, 'Sign in'),
    element(
      'p',
      { id: 'token-help', class: 'note' },
      'An admin makes one with ',
      element('code', {}, 'tephra token create NAME --role submitter'),
      '; the admin’s own is in the file ',
      element('code', {}, 'STORE/token'),
      '. It stays in this tab and goes when the tab is closed.',
    ),
  );
  fill(root, form);
  input.focus();
}
