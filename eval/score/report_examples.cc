// Cases to look at: a sample that neither flatters nor moves between runs, and the failures that say most.
#include <algorithm>
#include <map>
#include <tuple>

#include "base/random.h"
#include "eval/score/report_parts.h"

namespace tephra::eval {
namespace {

constexpr size_t kAnswerSizeMax = 600;  // bytes of an answer shown in an example

std::string cut(const std::string& text) {
  if (text.size() <= kAnswerSizeMax) return text;
  size_t end = kAnswerSizeMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;  // not inside a UTF-8 character
  return text.substr(0, end) + " …";
}

// Indices into the last result's cases: picture questions that training put right, that it failed, and others, in turn;
// which ones is decided by a hash of the id, so the choice neither flatters nor moves between runs.
std::vector<size_t> choose_examples(const BenchRow& bench, int limit) {
  const BenchResult& last = *bench.last();
  const BenchResult* first =
      *std::find_if(bench.by_stage.begin(), bench.by_stage.end(), [](const BenchResult* r) { return r != nullptr; });
  std::map<std::string, bool> before;
  for (const auto& row : first->cases) before[row.id] = row.correct;
  std::vector<size_t> buckets[3];
  std::vector<size_t> order(last.cases.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto rank = [&](size_t i) {
    return std::tuple(last.cases[i].image_path.empty(), random_bits({key_of(last.cases[i].id)}), i);
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return rank(a) < rank(b); });
  for (size_t i : order) {
    const auto& row = last.cases[i];
    const auto found = before.find(row.id);
    buckets[!has_right_answers(last.kind)             ? 0
            : !row.correct                            ? 1
            : found != before.end() && !found->second ? 0
                                                      : 2]
        .push_back(i);
  }
  std::vector<size_t> chosen;
  for (size_t round = 0; chosen.size() < static_cast<size_t>(std::max(0, limit)) && round < order.size(); ++round)
    for (const auto& bucket : buckets)
      if (round < bucket.size() && chosen.size() < static_cast<size_t>(limit)) chosen.push_back(bucket[round]);
  return chosen;
}

std::string verdict_of(const std::string& kind, const CaseRow& row) {
  if (has_right_answers(kind)) return row.correct ? "right" : "wrong";
  const auto score = [&](const char* name) {
    const auto found = row.scores.find(name);
    return found == row.scores.end() ? std::nullopt : std::optional(found->second);
  };
  if (kind == "llava_bench") {
    const auto own = score("answer_score"), reference = score("reference_score");
    return own && reference ? fixed(*own, 1) + " of 10, the reference " + fixed(*reference, 1) : "not judged";
  }
  if (const auto cider = score("cider")) return "CIDEr-D " + fixed(*cider, 3);
  if (const auto loss = score("loss")) return "loss " + fixed(*loss, 3);
  return "not scored";
}

ReportExample make_example(const ReportInput& input, const BenchRow& bench, const CaseRow& row) {
  ReportExample example{bench.name, row.id, row.category, row.question, row.choices, row.reference, "", "", {}, ""};
  if (!row.image_path.empty()) {
    auto picture = picture_data_uri(row.image_path, input.picture_bytes_max);
    if (picture.ok())
      example.picture = *picture;
    else
      example.picture_note = picture.status().message();
  }
  for (size_t i = 0; i < input.stages.size(); ++i) {
    if (bench.by_stage[i] == nullptr) continue;
    for (const auto& other : bench.by_stage[i]->cases)
      if (other.id == row.id)
        example.answers.push_back({input.stages[i].name, cut(other.answer), verdict_of(bench.kind, other),
                                   has_right_answers(bench.kind) ? std::optional(other.correct) : std::nullopt});
  }
  return example;
}

struct Failure {
  size_t index;
  int weight;  // the smaller the more telling
  std::string reason;
};

// Why a wrong answer of the last stage says more than another; weight 0: it does not.
Failure failure_of(const CaseRow& row, size_t index, const CaseRow* before, const std::string& previous) {
  if (before != nullptr && before->correct) return {index, 1, "right after " + previous + ", wrong now"};
  if (row.correct_swapped && *row.correct_swapped)
    return {index, 2, "wrong with its own picture, right with another's"};
  const auto blind = row.baselines.find("blind");
  if (blind != row.baselines.end() && blind->second)
    return {index, 3, "wrong, though the question alone tells the answer"};
  if (row.parsed.empty()) return {index, 4, "the answer could not be read"};
  return {index, 0, ""};
}

}  // namespace

std::vector<ReportExample> examples_of(const ReportInput& input, const BenchRow& bench) {
  std::vector<ReportExample> out;
  for (size_t i : choose_examples(bench, input.examples_per_bench))
    out.push_back(make_example(input, bench, bench.last()->cases[i]));
  return out;
}

std::vector<ReportExample> failures_of(const ReportInput& input, const BenchRow& bench) {
  const BenchResult& last = *bench.last();
  if (!has_right_answers(last.kind)) return {};
  const BenchResult* previous = nullptr;
  std::string previous_name;
  for (size_t i = 0; i < input.stages.size() && bench.by_stage[i] != &last; ++i)
    if (bench.by_stage[i] != nullptr) previous = bench.by_stage[i], previous_name = input.stages[i].name;
  std::map<std::string, const CaseRow*> before;
  if (previous != nullptr)
    for (const auto& row : previous->cases) before[row.id] = &row;
  std::vector<Failure> failures;
  for (size_t i = 0; i < last.cases.size(); ++i) {
    const CaseRow& row = last.cases[i];
    if (row.correct) continue;
    const auto found = before.find(row.id);
    const Failure failure = failure_of(row, i, found == before.end() ? nullptr : found->second, previous_name);
    if (failure.weight > 0) failures.push_back(failure);
  }
  const auto rank = [&](const Failure& f) {
    return std::tuple(f.weight, last.cases[f.index].image_path.empty(), random_bits({key_of(last.cases[f.index].id)}),
                      f.index);
  };
  std::sort(failures.begin(), failures.end(), [&](const Failure& a, const Failure& b) { return rank(a) < rank(b); });
  std::vector<ReportExample> out;
  for (const Failure& failure : failures) {
    if (out.size() >= static_cast<size_t>(std::max(0, input.failures_per_bench))) break;
    out.push_back(make_example(input, bench, last.cases[failure.index]));
    out.back().reason = failure.reason;
  }
  return out;
}

}  // namespace tephra::eval
