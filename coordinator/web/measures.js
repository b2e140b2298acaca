// What benches measure, in the order and with the words of the report (eval/score/report_parts.cc).
import { number, percent } from './format.js';

const share = (label) => ({ label, show: percent });
const plain = (label) => ({ label, show: (value) => number(value) });

const measures = new Map(Object.entries({
  cider: plain('CIDEr-D'),
  bleu_4: share('BLEU-4'),
  bleu_1: share('BLEU-1'),
  loss: plain('Loss, nats per token'),
  perplexity: plain('Perplexity'),
  relative_score: share('Of the reference’s score'),
  answer_score: share('Answers, of ten'),
  reference_score: share('Reference, of ten'),
  accuracy: share('Accuracy'),
  f1: share('F1'),
  yes_ratio: share('Said yes'),
  perception: plain('Perception, of 2000'),
  cognition: plain('Cognition, of 800'),
  token_f1: share('Token F1'),
  rouge_l: share('ROUGE-L'),
  // What these are held against.
  guess_level: share('Guessing'),
  majority: share('Most frequent answer'),
  blind: share('Blind'),
  accuracy_shown: share('Own pictures'),
  accuracy_swapped: share('Swapped pictures'),
}));

const against = ['guess_level', 'majority', 'blind', 'accuracy_shown', 'accuracy_swapped'];

// Those that a bench's results have: [name, {label, show}].
export function measuresOf(results) {
  return [...measures].filter(([name]) => results.some((result) => name in result.metrics));
}

// Without what they are held against.
export const ownMeasuresOf = (results) => measuresOf(results).filter(([name]) => !against.includes(name));

// Numbers compare only where what they depend on is equal.
export function sameSettings(results) {
  return new Set(results.map((result) => JSON.stringify(result.pinned))).size <= 1;
}
