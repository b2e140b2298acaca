// Cancel, pause and resume, for those who may.
import { jobPath, post, session } from './api.js';
import { element, fill } from './dom.js';
import { ended } from './format.js';

export function mayChange(job) {
  const { server } = session;
  return server.role === 'admin' || server.role === 'submitter' && job.user === server.name;
}

export function jobActions(watched) {
  const reason = element('input', { id: 'cancel-reason', maxlength: '200', autocomplete: 'off' });
  const problem = element('p', { class: 'error', role: 'alert' });
  const root = element('div', { class: 'buttons actions' });
  const dialog = element('dialog', { 'aria-labelledby': 'cancel-title' });

  async function ask(path, body) {
    fill(problem);
    try {
      await post(jobPath(watched.id, path), body);
      dialog.close();
      watched.soon(0);
    } catch (error) {
      problem.textContent = error.message;
      if (!dialog.open) root.append(problem);
    }
  }
  function openDialog() {
    fill(
      dialog,
      element(
        'form',
        {
          onsubmit: (event) => {
            event.preventDefault();
            ask('/cancel', reason.value.trim() ? { reason: reason.value.trim() } : {});
          },
        },
        element('h2', { id: 'cancel-title' }, `Cancel ${watched.id}?`),
        element('p', {}, 'It ends for good. Its checkpoints, logs and numbers stay.'),
        element('label', { for: 'cancel-reason' }, 'Reason (may be empty)'),
        reason,
        problem,
        element(
          'div',
          { class: 'buttons' },
          element('button', { type: 'submit', class: 'danger', id: 'confirm-cancel' }, 'Cancel the job'),
          element('button', { type: 'button', onclick: () => dialog.close() }, 'Keep it'),
        ),
      ),
    );
    dialog.showModal();
    reason.focus();
  }
  function draw() {
    const { job } = watched;
    if (ended(job) || !mayChange(job)) return fill(root);
    const paused = job.phase === 'paused';
    fill(
      root,
      paused
        ? element('button', { type: 'button', id: 'resume', onclick: () => ask('/resume') }, 'Resume')
        : element('button', {
          type: 'button',
          id: 'pause',
          disabled: job.pause_requested,
          onclick: () => ask('/pause'),
        }, 'Pause'),
      element('button', {
        type: 'button',
        id: 'cancel',
        class: 'danger',
        disabled: job.cancel_requested,
        onclick: openDialog,
      }, 'Cancel'),
    );
    if (!dialog.isConnected) document.body.append(dialog);
  }
  watched.listen((kind) => {
    if (kind === 'job') draw();
  });
  return { root, destroy: () => dialog.remove() };
}
