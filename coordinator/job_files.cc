#include "coordinator/job_files.h"

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "coordinator/judging.h"
#include "coordinator/tensorboard.h"
#include "eval/score/answer_file.h"
#include "eval/score/gate_metric.h"
#include "eval/score/questions.h"
#include "eval/score/report.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Appends whole lines. These files are for people and can be made again from the journal or by asking again, so they
// are not synced; a line that a kill tore is ended first, so that it spoils no other.
Status append_lines(const std::string& path, const std::string& lines) {
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(parent_of(path)));
  std::FILE* file = std::fopen(path.c_str(), "a+be");
  if (file == nullptr) return errno_status(errno, "open " + path);
  bool torn = false;
  if (std::fseek(file, -1, SEEK_END) == 0) torn = std::fgetc(file) != '\n';
  std::fseek(file, 0, SEEK_END);
  if (torn) std::fputc('\n', file);
  const bool written = std::fwrite(lines.data(), 1, lines.size(), file) == lines.size();
  const int error = errno;
  if (std::fclose(file) != 0 || !written) return errno_status(written ? errno : error, "write " + path);
  return ok_status();
}

json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

struct StepRow {
  eval::CurvePoint point;
  double seconds = 0;
};

// The curve of each stage: by step, the last attempt's line. Seconds of all lines, for the time that was spent.
struct Curves {
  std::map<std::string, std::map<int64_t, StepRow>> steps;
  std::map<std::string, double> seconds;
};

Curves read_curves(const std::string& path) {
  Curves curves;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const json row = json::parse(line, nullptr, false);
    if (!row.is_object()) continue;
    try {
      const auto real = [&row](const char* key) {
        return row.at(key).is_number() ? row.at(key).get<double>() : std::nan("");
      };
      const std::string stage = row.at("stage");
      const int64_t step = row.at("step");
      curves.steps[stage][step] = {{step - 1, real("loss"), real("lr"), real("grad_norm"), real("tokens_per_s")},
                                   real("step_s")};
      curves.seconds[stage] += real("step_s");
    } catch (const json::exception&) {
      continue;  // a torn line
    }
  }
  return curves;
}

// Neither a bench nor a step has an "@" in its name.
std::string run_name(const std::string& bench, int64_t step) {
  return step > 0 ? bench + "@" + std::to_string(step) : bench;
}

// Parameters of a checkpoint that its job trained, and all.
std::pair<int64_t, int64_t> count_parameters(const storage::Manifest& manifest) {
  int64_t trained = 0, total = 0;
  for (const storage::ManifestTensor& tensor : manifest.tensors) {
    if (tensor.kind != storage::StateKind::kParameter) continue;
    total += numel(tensor.shape);
    if (!tensor.frozen) trained += numel(tensor.shape);
  }
  return {trained, total};
}

// The recipe was looked at when it was submitted; the coordinator may have been started again with other judges since.
Result<Judgments> judge_as_allowed(const recipes::JudgeRecipe& judge, const JudgePolicy& policy,
                                   const eval::QuestionSet& questions,
                                   const std::map<std::string, std::string>& answers, const std::string& journal_dir,
                                   const std::function<void(const JudgeProgress&)>& progress) {
  if (const Status allowed = check_judge(judge, policy); !allowed.ok()) return Judgments{{}, allowed.message()};
  return judge_answers(judge, questions, answers, journal_dir, judge_key(judge), progress);
}

}  // namespace

std::string iso_time(int64_t unix_ms) {
  const std::time_t seconds = unix_ms / 1000;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string JobFiles::log_dir(uint32_t attempt) const {
  return directory_ + "/logs/attempt-" + std::to_string(attempt);
}

std::string JobFiles::answers_path(const std::string& stage, const std::string& bench, int64_t step) const {
  return directory_ + "/eval/" + stage + "/" + run_name(bench, step) + ".answers.jsonl";
}

std::string JobFiles::judge_dir(const std::string& stage, const std::string& bench, int64_t step) const {
  return directory_ + "/eval/" + stage + "/" + run_name(bench, step) + ".judge";
}

std::string JobFiles::result_path(const std::string& stage, const std::string& bench, int64_t step) const {
  return directory_ + "/eval/" + stage + "/" + run_name(bench, step) + ".result.json";
}

Status JobFiles::create(const std::string& recipe_json) const {
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(directory_));
  return write_file_atomic(Env::posix(), directory_ + "/recipe.json", recipe_json);
}

Status JobFiles::append_step(uint32_t attempt, int64_t unix_ms, const cluster::StepProgress& step) const {
  const json row = {{"stage", step.stage},
                    {"step", step.step},
                    {"total_steps", step.total_steps},
                    {"loss", number(step.loss)},
                    {"grad_norm", number(step.gradient_norm)},
                    {"lr", number(step.learning_rate)},
                    {"tokens_per_s", number(step.tokens_per_second)},
                    {"step_s", number(step.step_seconds)},
                    {"rss_bytes", step.rss_bytes},
                    {"epoch", number(step.epoch)},
                    {"loss_tokens", step.loss_tokens},
                    {"skipped", step.skipped},
                    {"samples_hash", step.samples_hash},
                    {"attempt", attempt},
                    {"unix_ms", unix_ms}};
  TEPHRA_RETURN_IF_ERROR(append_lines(metrics_path(), row.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"));
  return append_scalars(directory_ + "/tensorboard", "job", static_cast<double>(unix_ms) / 1000, step.step,
                        {{step.stage + "/loss", step.loss},
                         {step.stage + "/learning_rate", step.learning_rate},
                         {step.stage + "/gradient_norm", step.gradient_norm},
                         {step.stage + "/tokens_per_second", step.tokens_per_second}});
}

Status JobFiles::append_bench(int64_t unix_ms, const std::string& stage, int64_t step,
                              const eval::BenchResult& result) const {
  Scalars scalars;
  for (const auto& [name, value] : result.metrics) scalars.emplace_back(stage + "/" + result.bench + "/" + name, value);
  return append_scalars(directory_ + "/tensorboard", "job", static_cast<double>(unix_ms) / 1000, step, scalars);
}

int64_t JobFiles::last_step(const std::string& stage) const {
  int64_t last = 0;
  std::ifstream in(metrics_path());
  for (std::string line; std::getline(in, line);) {
    const json row = json::parse(line, nullptr, false);
    // The last line counts: a later attempt begins at an earlier step.
    if (row.is_object() && row.value("stage", "") == stage) last = row.value("step", int64_t{0});
  }
  return last;
}

Status JobFiles::append_checkpoint_line(int64_t unix_ms, const std::string& line) const {
  return append_lines(checkpoints_log_path(), iso_time(unix_ms) + " " + line + "\n");
}

Status JobFiles::append_answers(const std::string& stage, const std::string& bench, int64_t step,
                                const std::vector<cluster::Answer>& answers) const {
  std::string lines;
  for (const cluster::Answer& answer : answers) {
    json row = {{"id", answer.question_id}, {"text", answer.text}};
    const json more = json::parse(answer.json, nullptr, false);
    if (!more.is_discarded()) row["json"] = more;
    lines += row.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  }
  return append_lines(answers_path(stage, bench, step), lines);
}

Status JobFiles::write_flights(const GangFlight& gang) const {
  Env& env = Env::posix();
  TEPHRA_RETURN_IF_ERROR(env.make_directories(log_dir(gang.attempt)));
  TEPHRA_RETURN_IF_ERROR(write_file_atomic(env, flights_path(gang.attempt), to_json(gang)));
  if (!gang.lost) return ok_status();
  return write_file_atomic(env, flight_report_path(gang.attempt), report_json(gang, examine(gang)));
}

Result<std::string> JobFiles::read_flights(uint32_t attempt, uint32_t last) const {
  for (uint32_t n = attempt > 0 ? attempt : last; n > 0; n = attempt > 0 ? 0 : n - 1)
    if (Env::posix().exists(flights_path(n))) return read_file(Env::posix(), flights_path(n));
  return Status(Code::kNotFound, attempt > 0
                                     ? "attempt " + std::to_string(attempt) + " has filed no records of its ranks"
                                     : "no attempt has filed records of its ranks yet");
}

Result<std::string> JobFiles::read_flight_report(uint32_t attempt, uint32_t last) const {
  for (uint32_t n = attempt > 0 ? attempt : last; n > 0; n = attempt > 0 ? 0 : n - 1)
    if (Env::posix().exists(flight_report_path(n))) return read_file(Env::posix(), flight_report_path(n));
  return Status(Code::kNotFound, attempt > 0
                                     ? "attempt " + std::to_string(attempt) + " has no flight report: it lost no rank"
                                     : "there is no flight report: no attempt has lost a rank");
}

Result<std::map<std::string, std::string>> JobFiles::read_answers(const std::string& stage, const std::string& bench,
                                                                  int64_t step) const {
  return eval::read_answers(answers_path(stage, bench, step));
}

Result<std::vector<eval::DuringStage>> JobFiles::read_during(const JobState& state, size_t stage) const {
  std::vector<eval::DuringStage> all;
  const std::string& name = state.plan[stage].name;
  for (const std::string& bench : state.plan[stage].benches) {
    for (const int64_t step : state.scored_steps(stage, bench)) {
      if (!Env::posix().exists(result_path(name, bench, step))) continue;
      TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), result_path(name, bench, step)));
      TEPHRA_ASSIGN_OR_RETURN(eval::BenchResult result, eval::from_json(text));
      all.push_back({step, std::move(result)});
    }
  }
  return all;
}

Result<eval::BenchResult> JobFiles::score(const recipes::Recipe& recipe, const PreparedJob& prepared,
                                          const std::string& stage, const std::string& bench, int64_t step,
                                          const JudgePolicy& judges,
                                          const std::function<void(const JudgeProgress&)>& progress) const {
  const recipes::BenchRecipe* bench_recipe = recipe.find_bench(bench);
  if (bench_recipe == nullptr || !prepared.datasets.contains(bench_recipe->dataset))
    return Status(Code::kInvalidArgument, "the recipe has no bench '" + bench + "' with a dataset");
  eval::BenchSpec spec = eval::bench_spec(*bench_recipe);
  const data::PreparedDataset& dataset = prepared.datasets.at(bench_recipe->dataset);
  TEPHRA_ASSIGN_OR_RETURN(eval::QuestionSet questions, eval::load_questions(spec, dataset));
  TEPHRA_RETURN_IF_ERROR(eval::add_baselines(spec, dataset, &questions));
  TEPHRA_ASSIGN_OR_RETURN(const auto answers, read_answers(stage, bench, step));
  Judgments judgments;
  if (bench_recipe->judge) {
    TEPHRA_ASSIGN_OR_RETURN(spec.judge, pinned_judge(*bench_recipe->judge));
    TEPHRA_ASSIGN_OR_RETURN(judgments, judge_as_allowed(*bench_recipe->judge, judges, questions, answers,
                                                        judge_dir(stage, bench, step), progress));
  }
  TEPHRA_ASSIGN_OR_RETURN(eval::BenchResult result, eval::score_bench(spec, questions, answers, judgments.replies));
  result.incomplete = judgments.incomplete;
  const std::string path = result_path(stage, bench, step);
  TEPHRA_RETURN_IF_ERROR(Env::posix().make_directories(parent_of(path)));
  TEPHRA_RETURN_IF_ERROR(write_file_atomic(Env::posix(), path, eval::to_json(result)));
  return result;
}

Result<std::vector<recipes::GateOutcome>> JobFiles::judge_gates(const recipes::Recipe& recipe, const JobState& state,
                                                                const std::string& stage) const {
  std::vector<recipes::GateOutcome> outcomes;
  const recipes::StageRecipe* stage_recipe = recipe.find_stage(stage);
  if (stage_recipe == nullptr) return outcomes;
  for (const std::string& text : stage_recipe->require) {
    TEPHRA_ASSIGN_OR_RETURN(const recipes::Gate gate, recipes::parse_gate(text));
    std::optional<eval::BenchResult> now, before;
    for (const StagePlan& planned : state.plan) {
      const auto file = read_file(Env::posix(), result_path(planned.name, gate.bench));
      if (file.ok()) {
        TEPHRA_ASSIGN_OR_RETURN(eval::BenchResult result, eval::from_json(*file));
        if (planned.name == stage)
          now = std::move(result);
        else if (eval::gate_metric(result, gate.metric))
          before = std::move(result);
      }
      if (planned.name == stage) break;
    }
    const auto value = now ? eval::gate_metric(*now, gate.metric) : std::nullopt;
    const auto previous = before ? eval::gate_metric(*before, gate.metric) : std::nullopt;
    if (now && !now->incomplete.empty()) {
      outcomes.push_back({false, text + ": bench " + gate.bench + " is incomplete: " + now->incomplete});
      continue;
    }
    if (gate.previous && now && before && !eval::change_between(*before, *now).differing.empty()) {
      outcomes.push_back(
          {false, text + ": the stages are not comparable, as bench " + gate.bench + " was run with other settings"});
      continue;
    }
    const double ci = now && before ? eval::half_interval(*before, *now, gate.metric) : 0;
    outcomes.push_back(recipes::judge_gate(gate, value, previous, ci));
  }
  return outcomes;
}

Status JobFiles::write_report(const recipes::Recipe& recipe, const JobState& state, const PreparedJob& prepared,
                              const storage::Store& store, int64_t now_unix_ms) const {
  eval::ReportInput input;
  input.title = recipe.report.title.empty() ? state.recipe_name : recipe.report.title;
  input.job = state.id;
  input.created = iso_time(now_unix_ms);
  input.recipe = state.recipe_json;
  input.ended_early = state.ended_early();
  const Curves curves = read_curves(metrics_path());
  std::string build;
  for (size_t i = 0; i < state.plan.size(); ++i) {
    if (state.stages[i].checkpoint.empty()) continue;
    eval::StageReport stage;
    stage.name = state.plan[i].name;
    // A recipe that this build does not read is empty here.
    if (const recipes::StageRecipe* known = recipe.find_stage(stage.name)) stage.kind = known->kind;
    stage.checkpoint = state.stages[i].checkpoint;
    stage.world_size = state.world;
    stage.attempts = state.attempt;
    if (const auto found = curves.steps.find(stage.name); found != curves.steps.end()) {
      stage.duration_s = curves.seconds.at(stage.name);
      for (const auto& [step, row] : found->second) stage.curve.push_back(row.point);
    }
    if (const Result<storage::Manifest> manifest = store.get(stage.checkpoint); manifest.ok()) {
      std::tie(stage.trained_parameters, stage.total_parameters) = count_parameters(*manifest);
      input.lineage.emplace_back(
          stage.checkpoint, "from " + (manifest->parent.empty() ? "initial values" : manifest->parent) + ", content " +
                                manifest->content_hash.hex());
      build = manifest->build;
      input.handover.assign(manifest->handover.begin(), manifest->handover.end());
    }
    if (!state.stages[i].complete)
      stage.notes.push_back("not finished; its last checkpoint is of step " + std::to_string(state.stages[i].step));
    for (const std::string& bench : state.plan[i].benches) {
      if (!state.stages[i].bench_done.at(bench)) {
        stage.notes.push_back("bench " + bench + " was not finished");
        continue;
      }
      Result<std::string> text = read_file(Env::posix(), result_path(stage.name, bench));
      if (!text.ok()) return text.status();
      TEPHRA_ASSIGN_OR_RETURN(eval::BenchResult result, eval::from_json(*text));
      stage.benches.push_back(std::move(result));
    }
    TEPHRA_ASSIGN_OR_RETURN(stage.during, read_during(state, i));
    input.stages.push_back(std::move(stage));
  }
  input.baselines = eval::baselines_of(recipe.report.baselines, input.stages);
  input.environment = {{"build", build},
                       {"ranks", std::to_string(state.world)},
                       {"threads per rank", std::to_string(state.threads_per_rank)},
                       {"attempts", std::to_string(state.attempt)},
                       {"restarts", std::to_string(state.restarts_total)}};
  return eval::write_report(input, report_dir());
}

}  // namespace tephra::coordinator
