// What a bench's number is, beyond the share of right answers: MME's scores, POPE's F1, CIDEr, perplexity, a judge's ratio.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "eval/score/questions.h"
#include "eval/score/results.h"

namespace tephra::eval {

// How an answer is read, in a few words to be pinned; empty where the recipe names the rule (scienceqa) or none is needed.
std::string rule_of(const std::string& kind);

// Scores of cases that are found from all of them together (captions), from the answer's numbers (loss) or from a judge's replies
// (llava_bench). Before summarize().
void add_case_scores(const BenchSpec& spec, const QuestionSet& set, const std::map<std::string, std::string>& judgments,
                     BenchResult* result);

// From the cases alone, after summarize():
//   pope         f1, precision, recall, yes_ratio; counts.neither: answers with neither word, which POPE's rule takes for yes
//   mme          perception (0..2000), cognition (0..800), score (their sum); columns: a task's score / 200
//   captions     bleu_1 to bleu_4 (0..1), cider (0..10)
//   loss         loss (nats per supervised token), perplexity; counts.tokens
//   llava_bench  relative_score, reference_score, answer_score, in 0..1 of the reference's score and of ten
void add_bench_metrics(BenchResult* result);

// The text of a loss bench's answer, and what it says; nothing when it is none.
struct LossAnswer {
  double loss = 0;     // nats, mean over the tokens
  int64_t tokens = 0;  // supervised
};
std::string loss_answer(const LossAnswer& loss);
std::optional<LossAnswer> parse_loss_answer(const std::string& text);

}  // namespace tephra::eval
