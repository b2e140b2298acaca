#include "eval/score/ensemble.h"

#include "eval/score/judge.h"

namespace tephra::eval {
namespace {

struct Pair {
  const data::ScienceQaProblem* problem;
  const std::string *first, *second;
  std::optional<int> first_choice, second_choice;
};

std::vector<Pair> pairs_of(const Outputs& first, const Outputs& second,
                           const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule) {
  std::vector<Pair> out;
  for (const data::ScienceQaProblem& problem : problems) {
    const auto a = first.find(problem.pid), b = second.find(problem.pid);
    if (a == first.end() || b == second.end()) continue;
    const int choices = static_cast<int>(problem.choices.size());
    out.push_back({&problem, &a->second, &b->second, parse_answer(rule, a->second, choices),
                   parse_answer(rule, b->second, choices)});
  }
  return out;
}

bool agree(const Pair& pair) { return pair.first_choice && pair.first_choice == pair.second_choice; }

}  // namespace

Result<Outputs> complement(const Outputs& first, const Outputs& second,
                           const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule) {
  Outputs out;
  for (const Pair& pair : pairs_of(first, second, problems, rule))
    out[pair.problem->pid] = pair.first_choice ? *pair.first : *pair.second;
  if (out.empty())
    return Status(Code::kInvalidArgument, "the two prediction files have no question of the split in common");
  return out;
}

Disagreements disagreements(const Outputs& first, const Outputs& second,
                            const std::vector<data::ScienceQaProblem>& problems, AnswerRule rule) {
  Disagreements out;
  for (const Pair& pair : pairs_of(first, second, problems, rule)) {
    if (agree(pair)) continue;
    Question q;
    q.id = pair.problem->pid;
    q.turns = {{"human", pair.problem->question + "\nOptions: " + data::scienceqa_options(pair.problem->choices)}};
    q.context = pair.problem->hint.empty() ? "N/A" : pair.problem->hint;
    q.reference = *pair.first;
    out.questions.questions.push_back(std::move(q));
    out.answers[pair.problem->pid] = *pair.second;
  }
  return out;
}

Outputs judged_outputs(const Outputs& first, const Outputs& second, const std::vector<data::ScienceQaProblem>& problems,
                       AnswerRule rule, const std::map<std::string, std::string>& replies) {
  Outputs out;
  for (const Pair& pair : pairs_of(first, second, problems, rule)) {
    const auto reply = replies.find(judgment_key(pair.problem->pid, false));
    if (agree(pair))
      out[pair.problem->pid] = *pair.first;
    else if (reply != replies.end())
      out[pair.problem->pid] = reply->second;
  }
  return out;
}

}  // namespace tephra::eval
