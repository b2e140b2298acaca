// Numbers, times and states as people read them.

export const exponential = (value) => value.toExponential(2).replace(/\.?0+e/, 'e');

export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (Number.isInteger(value)) return value.toLocaleString('en');
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return exponential(value);
  return value.toLocaleString('en', { maximumSignificantDigits: digits, useGrouping: true });
}

export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  while (value >= 1000 && at + 1 < units.length) {
    value /= 1000;
    ++at;
  }
  return `${value >= 100 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined || seconds < 0) return '–';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
}

export function clock(unixMs) {
  if (!unixMs) return '–';
  const when = new Date(unixMs);
  const today = new Date().toDateString() === when.toDateString();
  return when.toLocaleString('en-GB', today ? { timeStyle: 'medium' } : { dateStyle: 'medium', timeStyle: 'short' });
}

export const percent = (share) => share === null || share === undefined ? '–' : `${(100 * share).toFixed(1)} %`;
export const plural = (count, word) => `${number(count)} ${word}${count === 1 ? '' : 's'}`;

export const finalPhases = ['done', 'failed', 'cancelled'];
export const phases = ['queued', 'preparing', 'training', 'evaluating', 'reporting', 'paused', ...finalPhases];
export const ended = (job) => finalPhases.includes(job.phase);
export const running = (job) => !ended(job) && job.phase !== 'queued' && job.phase !== 'paused';

// What a job does, in a few words.
export function progressText(job) {
  const p = job.progress;
  if (job.cancel_requested && !ended(job)) return 'being cancelled';
  if (job.pause_requested && job.phase !== 'paused' && !ended(job)) return 'being paused';
  if (job.phase === 'queued') return job.queue_position ? `place ${job.queue_position} in the queue` : 'waiting';
  if (job.phase === 'training' && p) {
    return `${job.stage}: step ${number(p.step)} of ${number(p.total_steps)}` +
      (job.eta_seconds !== null ? `, ${duration(job.eta_seconds)} left` : '');
  }
  if (job.phase === 'training') return `${job.stage}: starting`;
  if (job.phase === 'evaluating') return `${job.stage}: ${job.bench}, ${plural(job.answers, 'answer')}`;
  if (job.phase === 'paused') return 'until it is resumed';
  if (ended(job) && job.finished_unix_ms && job.started_unix_ms && job.phase === 'done') {
    return `took ${duration((job.finished_unix_ms - job.started_unix_ms) / 1000)}`;
  }
  return job.reason || '';
}
