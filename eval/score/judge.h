// A judge compares a model's answer with the reference's. What it is asked is data (recipes/judge/*.json), so that a report can pin it;
// what it replied is kept as it came. Pure, but for reading the prompt file.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "eval/score/llava_bench.h"
#include "eval/score/questions.h"

namespace tephra::eval {

// A prompt file: {"version", "system", "template", "rules": {category: {"role", "prompt"}, ..., "default": {...}}}. In the template
// {context}, {question}, {role}, {first}, {second} and {prompt} are replaced.
struct JudgePrompts {
  struct Rule {
    std::string role, prompt;
  };
  std::string version, system, text;
  std::map<std::string, Rule> rules;
  std::string hash;  // of the file
};
// kInvalidArgument: what is missing, and what a prompt file is.
Result<JudgePrompts> load_judge_prompts(const std::string& path);

struct JudgeRequest {
  std::string key;  // judgment_key
  std::string system, prompt;
};

// "12#first" when the model's answer is shown first, "12#second" when it is shown second.
std::string judgment_key(const std::string& question_id, bool answer_first);

// Of every question that has an answer: one request with the reference first, as LLaVA asks, and with `both_orders` one more with the
// answer first.
std::vector<JudgeRequest> judge_requests(const JudgePrompts& prompts, const QuestionSet& set,
                                         const std::map<std::string, std::string>& answers, bool both_orders);

// Scores by a question's replies, the reference's as `first` whatever the order: one review for each reply that can be read.
// `unreadable` counts the others.
std::vector<Review> reviews_of(const Question& question, const std::map<std::string, std::string>& judgments,
                               int64_t* unreadable);

// The deterministic local judge's reply: ten times the ROUGE-L overlap of each answer's words with the reference's, at least one. A
// smoke check of the path, and no measure of an answer: the reference always gets ten.
std::string local_judgment(const Question& question, const std::string& answer, bool answer_first);

}  // namespace tephra::eval
