#include "cli/eval_judged.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/env.h"
#include "cli/input_path.h"
#include "cli/judge_options.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "coordinator/job_files.h"
#include "coordinator/journal.h"
#include "coordinator/judging.h"
#include "eval/score/ensemble.h"
#include "storage/index/store.h"

namespace tephra::cli {
namespace {

struct EnsembleOptions {
  std::string first, second, problems, splits, split = "test", rule = "llava", how = "complement";
  recipes::JudgeRecipe judge;
  EvalOutput output;
};

int eval_ensemble(const EnsembleOptions& o) {
  const auto rule = eval::parse_answer_rule(o.rule);
  if (!rule.ok()) return fail(rule.status());
  const auto problems = data::load_scienceqa(o.problems, o.splits, o.split, "");
  if (!problems.ok()) return fail(problems.status());
  const auto first = eval::load_predictions(o.first), second = eval::load_predictions(o.second);
  if (!first.ok()) return fail(first.status());
  if (!second.ok()) return fail(second.status());
  auto outputs = eval::complement(*first, *second, *problems, *rule);
  if (!outputs.ok()) return fail(outputs.status());
  const size_t asked_of = outputs->size();
  std::string incomplete, judged_by;
  if (o.how == "judge") {
    if (const Status ready = check_judge(o.judge, o.output.out); !ready.ok()) return fail(ready);
    const auto differ = eval::disagreements(*first, *second, *problems, *rule);
    const auto judged = coordinator::judge_answers(o.judge, differ.questions, differ.answers, o.output.out + "/judge",
                                                   coordinator::judge_key(o.judge), show_judging());
    if (!judged.ok()) return fail(judged.status());
    incomplete = judged->incomplete;
    outputs = eval::judged_outputs(*first, *second, *problems, *rule, judged->replies);
    const auto pinned = coordinator::pinned_judge(o.judge);
    if (!pinned.ok()) return fail(pinned.status());
    judged_by = *pinned;
  }
  eval::QuestionSet set;
  if (data::is_published_scienceqa_test(o.splits, o.split)) set.published = eval::kScienceQaTest;
  for (const data::ScienceQaProblem& problem : *problems)
    if (first->contains(problem.pid) && second->contains(problem.pid)) set.problems.push_back(problem);
  for (size_t i = 0; i < set.problems.size(); ++i)
    set.questions.push_back(eval::scienceqa_question(set.problems[i], static_cast<int64_t>(i)));
  eval::BenchSpec spec;
  spec.name = "scienceqa-ensemble";
  spec.answer_rule = o.rule;
  auto result = eval::score_bench(spec, set, *outputs);
  if (!result.ok()) return fail(result.status());
  const auto data_hash = eval::hash_of_file(o.problems);
  if (!data_hash.ok()) return fail(data_hash.status());
  result->pinned = {{"answer_rule", o.rule}, {"split", o.split},   {"ensemble", o.how},
                    {"first", o.first},      {"second", o.second}, {"data_hash", *data_hash}};
  if (!judged_by.empty()) result->pinned["judge"] = judged_by;
  result->counts.erase("images_absent");
  result->incomplete = incomplete;
  if (!o.output.out.empty()) {
    Status written = Env::posix().make_directories(o.output.out);
    if (written.ok())
      written = write_file_atomic(
          Env::posix(), o.output.out + "/predictions.json",
          nlohmann::json{{"outputs", *outputs}}.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    if (!written.ok()) return fail(written);
  }
  return finish_eval(*result, static_cast<int64_t>(first->size() - asked_of), o.output);
}

}  // namespace

Status check_judge(const recipes::JudgeRecipe& judge, const std::string& out) {
  if (judge.endpoint.empty() || judge.prompts.empty())
    return {Code::kInvalidArgument,
            "a judge is needed: --judge https://HOST/v1 --judge-model NAME --judge-prompts FILE, or --judge local "
            "--judge-prompts FILE"};
  if (judge.endpoint == "local") return ok_status();
  if (judge.model.empty()) return {Code::kInvalidArgument, "--judge-model is missing: the judge's name there"};
  if (out.empty())
    return {Code::kInvalidArgument,
            "--out is missing: the folder that keeps the judge's replies, so that none is paid twice"};
  if (!judge.key_env.empty() && std::getenv(judge.key_env.c_str()) == nullptr)
    return {Code::kInvalidArgument, "--judge-key-env: the environment variable " + judge.key_env +
                                        " is not set; set it to the endpoint's key, or leave the option out for an "
                                        "endpoint that wants none"};
  return ok_status();
}

std::function<void(const coordinator::JudgeProgress&)> show_judging() {
  return [line = std::make_shared<Progress>("judgments")](const coordinator::JudgeProgress& p) {
    line->show(static_cast<uint64_t>(p.judged), static_cast<uint64_t>(p.total), static_cast<uint64_t>(p.earlier),
               "  " + fixed(p.spent, 2) + " USD");
  };
}

int eval_llava_bench(const JudgedBench& o) {
  if (const Status ready = check_judge(o.judge, o.output.out); !ready.ok()) return fail(ready);
  const auto set = eval::load_bench_files("llava_bench", o.files, "");
  if (!set.ok()) return fail(set.status());
  int64_t unknown = 0;
  const auto answers = eval::load_bench_answers("llava_bench", o.predictions, *set, &unknown);
  if (!answers.ok()) return fail(answers.status());
  const auto judged = coordinator::judge_answers(o.judge, *set, *answers, o.output.out + "/judge",
                                                 coordinator::judge_key(o.judge), show_judging());
  if (!judged.ok()) return fail(judged.status());
  const auto pinned = coordinator::pinned_judge(o.judge);
  if (!pinned.ok()) return fail(pinned.status());
  eval::BenchSpec spec;
  spec.name = spec.kind = "llava_bench";
  spec.judge = *pinned;
  auto result = eval::score_bench(spec, *set, *answers, judged->replies);
  if (!result.ok()) return fail(result.status());
  result->pinned.erase("decoding");
  result->pinned.erase("max_new_tokens");
  result->pinned["answers"] = o.predictions;
  result->incomplete = judged->incomplete;
  return finish_eval(*result, unknown, o.output);
}

void add_ensemble(CLI::App& group, Verbs& verbs) {
  auto o = std::make_shared<EnsembleOptions>();
  o->judge.orders = "reference_first";
  auto* verb =
      group.add_subcommand("scienceqa-ensemble", "Two prediction files made one, as the LLaVA paper does with GPT-4");
  verb->add_option("--first", o->first,
                   "the one that counts, or is asked again (GPT-4's), {\"outputs\": {question id: text}}")
      ->check(existing_path())
      ->required();
  verb->add_option("--second", o->second, "the one that helps (LLaVA's)")->check(existing_path())->required();
  verb->add_option("--how", o->how,
                   "complement: the second where the first names no choice; judge: ask again where they differ")
      ->check(CLI::IsMember({"complement", "judge"}))
      ->capture_default_str();
  verb->add_option("--problems", o->problems, "ScienceQA's problems.json")->check(existing_path())->required();
  verb->add_option("--splits", o->splits, "ScienceQA's pid_splits.json")->check(existing_path())->required();
  verb->add_option("--split", o->split, "which of the splits file's")->capture_default_str();
  verb->add_option("--answer-rule", o->rule, "scienceqa, llava or letter")->capture_default_str();
  add_judge_options(*verb, o->judge);
  verb->add_option("--out", o->output.out, "folder for predictions.json, the judge's replies, the result and a report");
  verb->add_flag("--json", o->output.json, "one JSON document");
  verb->footer(
      "Example:\n  tephra eval scienceqa-ensemble --first gpt4.json --second llava.json --how judge --problems problems.json --splits "
      "pid_splits.json --judge https://HOST/v1 --judge-model gpt-4 --judge-prompts recipes/judge/scienceqa.json --out ensemble");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return eval_ensemble(*o); }; });
}

namespace {

struct BenchRun {
  std::string stage, bench;
  int64_t step = 0;  // 0: after the stage
};

std::vector<BenchRun> bench_runs(const coordinator::JobState& state) {
  std::vector<BenchRun> runs;
  for (size_t i = 0; i < state.plan.size(); ++i)
    for (const std::string& bench : state.plan[i].benches) {
      for (const int64_t step : state.scored_steps(i, bench)) runs.push_back({state.plan[i].name, bench, step});
      runs.push_back({state.plan[i].name, bench, 0});
    }
  return runs;
}

}  // namespace

int resume_job_benches(const std::string& job, const std::string& store_dir, bool json) {
  auto store = storage::Store::open(Env::posix(), store_dir, storage::OpenMode::kReadOnly);
  if (!store.ok()) return fail(store.status());
  const auto known = coordinator::Journal(**store).get(job);
  if (known.status().code() == Code::kNotFound)
    return fail(
        {Code::kNotFound, "store " + store_dir + " has no job '" + job + "'; see tephra ps --store " + store_dir});
  if (!known.ok()) return fail(known.status());
  const auto recipe = recipes::from_json(known->state.recipe_json);
  if (!recipe.ok()) return fail(recipe.status());
  const auto prepared = coordinator::prepared_from_json(known->state.prepared_json);
  if (!prepared.ok()) return fail(prepared.status());
  const coordinator::JobFiles files(coordinator::job_directory(store_dir, job));
  int still = 0, scored = 0;
  for (const BenchRun& run : bench_runs(known->state)) {
    const auto text = read_file(Env::posix(), files.result_path(run.stage, run.bench, run.step));
    if (!text.ok()) continue;  // never asked: the job itself has to go on
    const auto before = eval::from_json(*text);
    if (!before.ok()) return fail(before.status());
    if (before->incomplete.empty()) continue;
    const auto result = files.score(*recipe, *prepared, run.stage, run.bench, run.step, {.any = true}, show_judging());
    if (!result.ok()) return fail(result.status());
    ++scored;
    if (result->incomplete.empty()) continue;
    ++still;
    std::fprintf(stderr, "tephra: bench %s %s %s is still incomplete: %s\n", run.bench.c_str(),
                 run.step > 0 ? ("at step " + std::to_string(run.step) + " of").c_str() : "after", run.stage.c_str(),
                 result->incomplete.c_str());
  }
  if (scored > 0) {
    const Status written = files.write_report(*recipe, known->state, *prepared, **store, Clock::system().unix_ms());
    if (!written.ok()) return fail(written);
  }
  if (json) {
    const nlohmann::json document = {
        {"job", job}, {"asked", scored}, {"incomplete", still}, {"report", files.report_path()}};
    std::printf("%s\n", document.dump().c_str());
  } else {
    std::printf("%d benches were incomplete, %d are now\n%s\n", scored, still, files.report_path().c_str());
  }
  return still == 0 ? kOk : kFailed;
}

}  // namespace tephra::cli
