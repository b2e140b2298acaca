#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "cli/app.h"
#include "cli/text.h"
#include "eval/score/scienceqa.h"

namespace tephra::cli {
namespace {

struct ScienceQaOptions {
  std::string predictions, problems, splits, images, split = "test", rule = "llava", out;
  bool json = false;
};

nlohmann::json to_json(const eval::PredictionScore& scored, const ScienceQaOptions& o) {
  nlohmann::json columns = nlohmann::json::object();
  for (const eval::Column& c : scored.score.columns)
    columns[c.name] = {{"accuracy", c.accuracy()}, {"correct", c.correct}, {"count", c.count}};
  nlohmann::json choices = nlohmann::json::object();
  for (const auto& [id, choice] : scored.choices) choices[id] = choice ? *choice : -1;
  return {{"bench", "scienceqa"},
          {"split", o.split},
          {"answer_rule", o.rule},
          {"columns", columns},
          {"unparsed", scored.score.unparsed},
          {"choices", choices}};
}

int eval_scienceqa(const ScienceQaOptions& o) {
  auto rule = eval::parse_answer_rule(o.rule);
  if (!rule.ok()) return fail(rule.status());
  auto problems = data::load_scienceqa(o.problems, o.splits, o.split, o.images);
  if (!problems.ok()) return fail(problems.status());
  auto predictions = eval::load_predictions(o.predictions);
  if (!predictions.ok()) return fail(predictions.status());
  auto scored = eval::score_predictions(*predictions, *problems, *rule);
  std::string document = to_json(scored, o).dump(2);
  if (!o.out.empty()) {
    Status written = Env::posix().make_directories(o.out);
    if (written.ok()) written = write_file_atomic(Env::posix(), o.out + "/scienceqa.json", document + "\n");
    if (!written.ok()) return fail(written);
  }
  if (o.json) {
    std::printf("%s\n", document.c_str());
    return kOk;
  }
  std::vector<std::vector<std::string>> rows;
  for (const eval::Column& c : scored.score.columns)
    rows.push_back({c.name, fixed(100 * c.accuracy(), 2), std::to_string(c.correct), std::to_string(c.count)});
  std::printf("%s%lld of %zu answers could not be parsed (rule %s)\n",
              table({"column", "accuracy %", "correct", "questions"}, rows).c_str(),
              static_cast<long long>(scored.score.unparsed), scored.choices.size(), o.rule.c_str());
  return kOk;
}
}  // namespace

void add_eval(Verbs& verbs) {
  auto* group = verbs.app.add_subcommand("eval", "Score published predictions");
  group->require_subcommand(1);
  auto o = std::make_shared<ScienceQaOptions>();
  auto* verb = group->add_subcommand("scienceqa", "ScienceQA's nine columns from a predictions file");
  verb->add_option("--predictions", o->predictions, "JSON with {\"outputs\": {question id: text}}")->required();
  verb->add_option("--problems", o->problems, "ScienceQA's problems.json")->required();
  verb->add_option("--splits", o->splits, "ScienceQA's pid_splits.json")->required();
  verb->add_option("--split", o->split)->capture_default_str();
  verb->add_option("--answer-rule", o->rule, "scienceqa, llava or letter")->capture_default_str();
  verb->add_option("--out", o->out, "folder for scienceqa.json");
  verb->add_flag("--json", o->json, "one JSON document");
  verb->footer(
      "Example:\n  tephra eval scienceqa --predictions answers.json --problems problems.json --splits pid_splits.json");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return eval_scienceqa(*o); }; });
}

}  // namespace tephra::cli
