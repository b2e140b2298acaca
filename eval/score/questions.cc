#include "eval/score/questions.h"

#include <algorithm>
#include <utility>

#include "base/env.h"
#include "base/hash.h"
#include "eval/score/instruct.h"
#include "eval/score/scienceqa.h"

namespace tephra::eval {
namespace {

std::string letter(int index) { return std::string(1, static_cast<char>('A' + index)); }

Result<std::string> hash_of_file(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(Env::posix(), path));
  return hash_text(bytes).hex();
}

Result<QuestionSet> scienceqa_questions(const BenchSpec& spec, const data::PreparedDataset& dataset) {
  TEPHRA_ASSIGN_OR_RETURN(auto files, dataset.scienceqa());
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(set.problems, data::load_scienceqa(files.problems, files.splits, spec.split, files.images));
  TEPHRA_ASSIGN_OR_RETURN(set.data_hash, hash_of_file(files.problems));
  for (size_t i = 0; i < set.problems.size(); ++i) {
    const data::ScienceQaProblem& problem = set.problems[i];
    Question q;
    q.id = problem.pid;
    q.image = problem.image_path;
    TEPHRA_ASSIGN_OR_RETURN(std::string prompt, data::scienceqa_prompt(problem, spec.prompt));
    q.turns = {{"human", (q.image.empty() ? "" : "<image>\n") + prompt}};
    q.choices = problem.choices;
    q.reference = letter(problem.answer);
    q.category = problem.skill.empty() ? problem.topic : problem.skill;
    q.problem = static_cast<int64_t>(i);
    set.questions.push_back(std::move(q));
  }
  return set;
}

// Every assistant turn of a held-out conversation is a question; what was said before it, in the reference's words, is the context.
Result<QuestionSet> instruct_questions(const BenchSpec& spec, const data::PreparedDataset& dataset) {
  TEPHRA_ASSIGN_OR_RETURN(auto part, dataset.part(spec.part));
  TEPHRA_ASSIGN_OR_RETURN(auto samples, data::load_conversations(part.conversations));
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(set.data_hash, hash_of_file(part.conversations));
  for (const data::Sample& sample : samples) {
    for (size_t t = 1; t < sample.turns.size(); t += 2) {
      Question q;
      q.id = sample.id + "." + std::to_string(t / 2);
      q.turns.assign(sample.turns.begin(), sample.turns.begin() + static_cast<ptrdiff_t>(t));
      if (!sample.image.empty()) q.image = part.images + "/" + sample.image;
      q.reference = sample.turns[t].value;
      q.category = sample.id.substr(0, sample.id.find_first_of("-_0123456789"));
      set.questions.push_back(std::move(q));
    }
  }
  return set;
}

void add_swaps(std::vector<Question>& questions) {
  std::vector<size_t> with_image;
  for (size_t i = 0; i < questions.size(); ++i)
    if (!questions[i].image.empty()) with_image.push_back(i);
  size_t n = with_image.size();
  for (size_t i = 0; i < n; ++i) {
    Question& q = questions[with_image[i]];
    for (size_t hop = 0; hop < n && q.swapped_image.empty(); ++hop) {
      const std::string& other = questions[with_image[(i + n / 2 + hop) % n]].image;
      if (other != q.image) q.swapped_image = other;
    }
  }
}

std::string question_text(const Question& q) {
  std::string text = q.turns.back().value;
  if (size_t at = text.find("<image>\n"); at != std::string::npos) text.erase(at, 8);
  return text;
}

struct Judged {
  bool correct = false;
  std::string parsed;
  std::map<std::string, double> scores;
};

Judged judge(const BenchSpec& spec, AnswerRule rule, const Question& q, const std::string& answer) {
  Judged j;
  if (spec.kind == "scienceqa") {
    auto choice = parse_answer(rule, answer, static_cast<int>(q.choices.size()));
    if (choice) j.parsed = letter(*choice);
    j.correct = j.parsed == q.reference;
    return j;
  }
  InstructScore score = score_instruct(answer, q.reference);
  j.parsed = normalize_answer(answer);
  j.correct = score.exact > 0;
  if (spec.kind == "instruct") j.scores = {{"token_f1", score.token_f1}, {"rouge_l", score.rouge_l}};
  return j;
}
}  // namespace

std::string answer_key(const std::string& question_id, bool swapped) { return swapped ? question_id + "#swapped" : question_id; }

Result<QuestionSet> load_questions(const BenchSpec& spec, const data::PreparedDataset& dataset) {
  QuestionSet set;
  if (spec.kind == "scienceqa") {
    TEPHRA_ASSIGN_OR_RETURN(set, scienceqa_questions(spec, dataset));
  } else if (spec.kind == "instruct") {
    TEPHRA_ASSIGN_OR_RETURN(set, instruct_questions(spec, dataset));
  } else if (spec.kind == "vqa") {
    TEPHRA_ASSIGN_OR_RETURN(auto part, dataset.questions(spec.split));
    BenchSpec conversations = spec;
    data::PreparedDataset file{"llava", "", {{"conversations", part.conversations}, {"images", part.images}}};
    TEPHRA_ASSIGN_OR_RETURN(set, instruct_questions(conversations, file));
  } else {
    return Status(Code::kUnsupported, "bench '" + spec.name + "' is of unknown kind '" + spec.kind + "'");
  }
  if (spec.limit > 0 && static_cast<int64_t>(set.questions.size()) > spec.limit) set.questions.resize(spec.limit);
  if (set.questions.empty()) return Status(Code::kInvalidArgument, "bench '" + spec.name + "' has no questions");
  if (spec.swap_images) add_swaps(set.questions);
  return set;
}

Result<BenchResult> score_bench(const BenchSpec& spec, const QuestionSet& set, const std::map<std::string, std::string>& answers) {
  AnswerRule rule = AnswerRule::kLetter;
  if (spec.kind == "scienceqa") {
    TEPHRA_ASSIGN_OR_RETURN(rule, parse_answer_rule(spec.answer_rule));
  }
  BenchResult result;
  result.bench = spec.name;
  result.kind = spec.kind;
  result.pinned = {{"data_hash", set.data_hash}, {"decoding", "greedy"}, {"max_new_tokens", std::to_string(spec.max_new_tokens)}};
  if (spec.kind == "scienceqa") {
    result.pinned["prompt"] = spec.prompt;
    result.pinned["answer_rule"] = spec.answer_rule;
    result.pinned["split"] = spec.split;
  }
  std::vector<ScienceQaAnswer> for_columns;
  for (const Question& q : set.questions) {
    auto found = answers.find(answer_key(q.id, false));
    CaseRow row;
    row.id = q.id;
    row.question = question_text(q);
    row.choices = q.choices;
    row.reference = q.reference;
    row.image_path = q.image;
    row.category = q.category;
    if (found != answers.end()) {
      Judged j = judge(spec, rule, q, found->second);
      row.answer = found->second;
      row.parsed = j.parsed;
      row.correct = j.correct;
      row.scores = j.scores;
    }
    if (auto swapped = answers.find(answer_key(q.id, true)); swapped != answers.end())
      row.correct_swapped = judge(spec, rule, q, swapped->second).correct;
    if (q.problem >= 0) {
      std::optional<int> choice;
      if (!row.parsed.empty()) choice = row.parsed[0] - 'A';
      for_columns.push_back({&set.problems[q.problem], choice});
    }
    result.cases.push_back(std::move(row));
  }
  if (!for_columns.empty()) result.columns = score_scienceqa(for_columns).columns;
  summarize(&result);
  return result;
}

}  // namespace tephra::eval
