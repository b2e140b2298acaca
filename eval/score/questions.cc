#include "eval/score/questions.h"

#include <algorithm>
#include <utility>

#include "base/env.h"
#include "base/hash.h"
#include "base/random.h"
#include "eval/score/bench_files.h"
#include "eval/score/bench_metrics.h"
#include "eval/score/instruct.h"
#include "eval/score/scienceqa.h"
#include "eval/score/vqa.h"
#include "eval/score/yes_no.h"

namespace tephra::eval {
namespace {

std::string letter(int index) { return std::string(1, static_cast<char>('A' + index)); }

Result<QuestionSet> scienceqa_questions(const BenchSpec& spec, const data::PreparedDataset& dataset) {
  TEPHRA_ASSIGN_OR_RETURN(auto files, dataset.scienceqa());
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(set.problems, data::load_scienceqa(files.problems, files.splits, spec.split, files.images));
  TEPHRA_ASSIGN_OR_RETURN(set.data_hash, hash_of_file(files.problems));
  if (data::is_published_scienceqa_test(files.splits, spec.split)) set.published = kScienceQaTest;
  for (size_t i = 0; i < set.problems.size(); ++i) {
    const data::ScienceQaProblem& problem = set.problems[i];
    Question q = scienceqa_question(problem, static_cast<int64_t>(i));
    TEPHRA_ASSIGN_OR_RETURN(std::string prompt, data::scienceqa_prompt(problem, spec.prompt));
    q.turns = {{"human", (q.image.empty() ? "" : "<image>\n") + prompt}};
    set.questions.push_back(std::move(q));
  }
  return set;
}

// Full path of the picture that a sample is about; "" for none.
Result<std::string> picture_of(const data::Sample& sample, const data::DatasetPart& part) {
  if (sample.images.empty()) return std::string();
  if (sample.images.size() == 1) return part.images + "/" + sample.images.front();
  return Status(Code::kUnsupported, part.conversations + ": sample '" + sample.id + "' has " +
                                        std::to_string(sample.images.size()) +
                                        " pictures, and a benchmark asks about one at most; leave the sample out");
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
      TEPHRA_ASSIGN_OR_RETURN(q.image, picture_of(sample, part));
      q.reference = sample.turns[t].value;
      q.category = sample.id.substr(0, sample.id.find_first_of("-_0123456789"));
      set.questions.push_back(std::move(q));
    }
  }
  return set;
}

// Each held-out conversation whole; its answers are what the loss is taken of.
Result<QuestionSet> loss_questions(const BenchSpec& spec, const data::PreparedDataset& dataset) {
  TEPHRA_ASSIGN_OR_RETURN(auto part, dataset.part(spec.part));
  TEPHRA_ASSIGN_OR_RETURN(auto samples, data::load_conversations(part.conversations));
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(set.data_hash, hash_of_file(part.conversations));
  for (const data::Sample& sample : samples) {
    Question q;
    q.id = sample.id;
    q.turns = sample.turns;
    TEPHRA_ASSIGN_OR_RETURN(q.image, picture_of(sample, part));
    set.questions.push_back(std::move(q));
  }
  return set;
}

// Each conversation is one question and its answer.
Result<QuestionSet> vqa_questions(const data::PreparedDataset& dataset, const std::string& split) {
  TEPHRA_ASSIGN_OR_RETURN(auto part, dataset.questions(split));
  TEPHRA_ASSIGN_OR_RETURN(auto samples, data::load_conversations(part.conversations));
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(set.data_hash, hash_of_file(part.conversations));
  for (const data::Sample& sample : samples) {
    if (sample.turns.size() != 2)
      return Status(Code::kInvalidArgument,
                    part.conversations + ": sample '" + sample.id + "' is not one question and one answer");
    Question q;
    q.id = sample.id;
    q.turns = {sample.turns[0]};
    TEPHRA_ASSIGN_OR_RETURN(q.image, picture_of(sample, part));
    q.reference = sample.turns[1].value;
    q.category = vqa_category(question_text(q));
    set.questions.push_back(std::move(q));
  }
  return set;
}

// One question of each of `limit` equal stretches of the list, at a place of its own in each: a fixed stride could fall in
// step with a list that goes round in kinds of questions, and the first ones would be of few kinds and pictures.
void keep_spread(std::vector<Question>& questions, int64_t limit) {
  static const uint64_t kPurpose = key_of("eval/questions of a limited bench");
  const auto n = static_cast<uint64_t>(questions.size()), kept = static_cast<uint64_t>(limit);
  if (limit <= 0 || n <= kept) return;
  std::vector<Question> out;
  for (uint64_t i = 0; i < kept; ++i) {
    const uint64_t from = i * n / kept, to = (i + 1) * n / kept;
    out.push_back(std::move(questions[from + random_below(to - from, {kPurpose, i})]));
  }
  questions = std::move(out);
}

// A round dance in a drawn order: with a fixed stride a list that goes round in kinds and answers would give a question the
// picture of one with the same answer.
void add_swaps(std::vector<Question>& questions) {
  static const uint64_t kPurpose = key_of("eval/swapped pictures");
  std::vector<size_t> with_image, order;
  for (size_t i = 0; i < questions.size(); ++i)
    if (!questions[i].image.empty()) with_image.push_back(i);
  const size_t n = with_image.size();
  for (size_t i = 0; i < n; ++i) order.push_back(with_image[permute(i, n, {kPurpose})]);
  for (size_t i = 0; i < n; ++i) {
    Question& q = questions[order[i]];
    for (size_t hop = 1; hop < n && q.swapped_image.empty(); ++hop) {
      const std::string& other = questions[order[(i + hop) % n]].image;
      if (other != q.image) q.swapped_image = other;
    }
  }
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
  } else if (spec.kind == "vqa") {
    j.parsed = normalize_vqa(answer);
    j.correct = vqa_match(answer, q.reference);
  } else if (spec.kind == "pope") {
    j.parsed = pope_answer(answer);
    j.correct = j.parsed == q.reference;
  } else if (spec.kind == "mme") {
    if (const std::string said = mme_answer(answer); said != "other") j.parsed = said;
    j.correct = j.parsed == q.reference;
  } else if (spec.kind == "vqav2" || spec.kind == "textvqa") {
    const bool text = spec.kind == "textvqa";
    j.parsed = text ? normalize_textvqa(answer) : normalize_vqa(answer);
    const double accuracy = text ? textvqa_accuracy(answer, q.references) : vqa_accuracy(answer, q.references);
    j.scores["accuracy"] = accuracy;
    j.correct = accuracy >= 0.5;
  } else if (spec.kind == "instruct") {
    InstructScore score = score_instruct(answer, q.reference);
    j.parsed = normalize_answer(answer);
    j.correct = score.exact > 0;
    j.scores = {{"token_f1", score.token_f1}, {"rouge_l", score.rouge_l}};
  } else {
    j.parsed = answer;  // what these are worth is found over all of them: bench_metrics.h
  }
  return j;
}

void pin(const BenchSpec& spec, const QuestionSet& set, BenchResult* result) {
  std::map<std::string, std::string>& pinned = result->pinned;
  pinned["data_hash"] = set.data_hash;
  result->published = set.published;
  if (ask_mode(spec) == AskMode::kGenerate) {
    pinned["decoding"] = "greedy";
    pinned["max_new_tokens"] = std::to_string(spec.max_new_tokens);
  } else {
    pinned["decoding"] =
        ask_mode(spec) == AskMode::kChoices ? "none: likelihood of each choice" : "none: loss of the given answers";
  }
  if (spec.kind == "scienceqa") {
    pinned["prompt"] = spec.prompt;
    pinned["answer_rule"] = spec.answer_rule;
  } else {
    const std::string rule = rule_of(spec.kind);
    if (!rule.empty()) pinned["answer_rule"] = rule;
  }
  if (spec.kind == "scienceqa" || spec.kind == "vqa") pinned["split"] = spec.split;
  if (spec.kind == "instruct" || spec.kind == "loss") pinned["part"] = spec.part;
  if (!spec.instruction.empty()) pinned["prompt"] = spec.instruction;
  if (!spec.judge.empty()) pinned["judge"] = spec.judge;
  if (spec.limit > 0) pinned["limit"] = std::to_string(spec.limit);
}

// "grade2" before "grade10".
bool shorter_first(const Column& a, const Column& b) {
  return std::pair(a.name.size(), a.name) < std::pair(b.name.size(), b.name);
}

void add_groups(const ScienceQaScore& score, BenchResult* result) {
  for (const auto& [title, columns] : {std::pair("topic", &score.topics), std::pair("grade", &score.grades)})
    for (const auto& [name, column] : *columns)
      if (!name.empty()) result->groups[title].push_back(column);
  if (const auto grades = result->groups.find("grade"); grades != result->groups.end())
    std::sort(grades->second.begin(), grades->second.end(), shorter_first);
}
}  // namespace

Result<std::string> hash_of_file(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, read_file(Env::posix(), path));
  return hash_text(bytes).hex();
}

Question scienceqa_question(const data::ScienceQaProblem& problem, int64_t place) {
  Question q;
  q.id = problem.pid;
  if (data::has_picture_file(problem)) q.image = problem.image_path;
  q.turns = {{"human", problem.question}};
  q.choices = problem.choices;
  q.reference = letter(problem.answer);
  q.category = problem.skill.empty() ? problem.topic : problem.skill;
  q.problem = place;
  return q;
}

AskMode ask_mode(const BenchSpec& spec) {
  if (spec.kind == "loss") return AskMode::kLoss;
  return spec.kind == "scienceqa" && spec.answer_rule == "loglik" ? AskMode::kChoices : AskMode::kGenerate;
}

std::string question_text(const Question& question) {
  std::string text = question.turns.back().value;
  if (size_t at = text.find("<image>\n"); at != std::string::npos) text.erase(at, 8);
  return text;
}

std::string answer_key(const std::string& question_id, bool swapped) {
  return swapped ? question_id + "#swapped" : question_id;
}

int64_t answer_count(const QuestionSet& set) {
  const auto swapped = std::count_if(set.questions.begin(), set.questions.end(),
                                     [](const Question& q) { return !q.swapped_image.empty(); });
  return static_cast<int64_t>(set.questions.size()) + swapped;
}

Result<QuestionSet> load_questions(const BenchSpec& spec, const data::PreparedDataset& dataset) {
  QuestionSet set;
  if (spec.kind == "scienceqa") {
    TEPHRA_ASSIGN_OR_RETURN(set, scienceqa_questions(spec, dataset));
  } else if (spec.kind == "instruct") {
    TEPHRA_ASSIGN_OR_RETURN(set, instruct_questions(spec, dataset));
  } else if (spec.kind == "vqa") {
    TEPHRA_ASSIGN_OR_RETURN(set, vqa_questions(dataset, spec.split));
  } else if (spec.kind == "loss") {
    TEPHRA_ASSIGN_OR_RETURN(set, loss_questions(spec, dataset));
  } else {
    const auto& kinds = file_bench_kinds();
    if (std::find(kinds.begin(), kinds.end(), spec.kind) == kinds.end())
      return Status(Code::kUnsupported, "bench '" + spec.name + "' is of unknown kind '" + spec.kind + "'");
    const std::string words = spec.instruction.empty() ? default_instruction(spec.kind) : spec.instruction;
    auto loaded = load_bench_files(spec.kind, bench_files(dataset.options), words);
    if (!loaded.ok()) return loaded.status().with_context("bench '" + spec.name + "'");
    set = std::move(*loaded);
  }
  keep_spread(set.questions, spec.limit);
  if (set.questions.empty()) return Status(Code::kInvalidArgument, "bench '" + spec.name + "' has no questions");
  if (spec.swap_images) add_swaps(set.questions);
  return set;
}

Status add_baselines(const BenchSpec& spec, const data::PreparedDataset& dataset, QuestionSet* set) {
  if (spec.kind != "vqa") return ok_status();
  TEPHRA_ASSIGN_OR_RETURN(const QuestionSet training, vqa_questions(dataset, "train"));
  VqaBaselines baselines;
  for (const Question& q : training.questions) baselines.learn(question_text(q), q.reference);
  const std::string majority = baselines.majority();
  for (Question& q : set->questions)
    q.baselines = {{"majority", majority}, {"blind", baselines.blind(question_text(q))}};
  return ok_status();
}

Result<BenchResult> score_bench(const BenchSpec& spec, const QuestionSet& set,
                                const std::map<std::string, std::string>& answers,
                                const std::map<std::string, std::string>& judgments) {
  AnswerRule rule = AnswerRule::kLetter;
  if (spec.kind == "scienceqa") {
    TEPHRA_ASSIGN_OR_RETURN(rule, parse_answer_rule(spec.answer_rule));
  }
  BenchResult result;
  result.bench = spec.name;
  result.kind = spec.kind;
  pin(spec, set, &result);
  int64_t images_absent = 0;
  std::vector<ScienceQaAnswer> for_columns;
  for (const Question& q : set.questions) {
    auto found = answers.find(answer_key(q.id, false));
    CaseRow row;
    row.id = q.id;
    row.question = question_text(q);
    row.choices = q.choices;
    row.reference = q.reference;
    row.group = q.group;
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
    for (const auto& [name, said] : q.baselines) row.baselines[name] = judge(spec, rule, q, said).correct;
    if (q.problem >= 0) {
      images_absent += q.image.empty() && !set.problems[q.problem].image.empty();
      std::optional<int> choice;
      if (!row.parsed.empty()) choice = row.parsed[0] - 'A';
      for_columns.push_back({&set.problems[q.problem], choice});
    }
    result.cases.push_back(std::move(row));
  }
  if (!for_columns.empty()) {
    const ScienceQaScore score = score_scienceqa(for_columns);
    result.columns = score.columns;
    add_groups(score, &result);
  }
  add_case_scores(spec, set, judgments, &result);
  summarize(&result);
  add_bench_metrics(&result);
  if (images_absent > 0) result.counts["images_absent"] = images_absent;
  return result;
}

}  // namespace tephra::eval
