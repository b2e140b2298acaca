#include <cmath>
#include <nlohmann/json.hpp>

#include "coordinator/coordinator.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json step_json(const cluster::StepProgress& step) {
  return {{"stage", step.stage},
          {"step", step.step},
          {"total_steps", step.total_steps},
          {"loss", number(step.loss)},
          {"gradient_norm", number(step.gradient_norm)},
          {"learning_rate", number(step.learning_rate)},
          {"tokens_per_second", number(step.tokens_per_second)},
          {"step_seconds", number(step.step_seconds)},
          {"rss_bytes", step.rss_bytes},
          {"epoch", number(step.epoch)},
          {"loss_tokens", step.loss_tokens},
          {"skipped", step.skipped},
          {"samples_hash", step.samples_hash}};
}

json stages_json(const JobState& state) {
  json stages = json::array();
  for (size_t i = 0; i < state.plan.size(); ++i) {
    const StageState& stage = state.stages[i];
    stages.push_back({{"name", state.plan[i].name},
                      {"init", state.plan[i].init},
                      {"checkpoint", stage.checkpoint},
                      {"step", stage.step},
                      {"complete", stage.complete},
                      {"checkpoints", stage.checkpoints},
                      {"gave_way", stage.gave_way},
                      {"benches", stage.bench_done}});
  }
  return stages;
}

json rank_json(const RankView& rank) {
  json out = {{"rank", rank.rank},
              {"pid", rank.pid},
              {"host", rank.host},
              {"connected", rank.connected},
              {"heartbeat_age_ms", rank.heartbeat_age_ms}};
  if (rank.heartbeat_age_ms < 0) return out;
  out["phase"] = rank.heartbeat.phase;
  out["unit"] = rank.heartbeat.unit;
  out["step"] = rank.heartbeat.step;
  out["micro_batch"] = rank.heartbeat.micro_batch;
  out["collective_sequence"] = rank.heartbeat.collective_sequence;
  out["collective"] = rank.heartbeat.collective;
  out["collective_unit"] = rank.heartbeat.collective_unit;
  out["rss_bytes"] = rank.heartbeat.rss_bytes;
  return out;
}

// Names and messages come from outside; a byte that is not UTF-8 must not make a document fail.
std::string dump(const json& document) { return document.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

std::string_view kind_name(JobEvent::Kind kind) {
  switch (kind) {
    case JobEvent::Kind::kState: return "state";
    case JobEvent::Kind::kStep: return "step";
    case JobEvent::Kind::kCheckpoint: return "checkpoint";
    case JobEvent::Kind::kBenchProgress: return "bench_progress";
    case JobEvent::Kind::kBenchResult: return "bench_result";
    case JobEvent::Kind::kRestart: return "restart";
    case JobEvent::Kind::kReport: return "report";
    case JobEvent::Kind::kLog: return "log";
  }
  return "?";
}

std::string to_json(const JobEvent& event) {
  json out = {{"kind", kind_name(event.kind)},
              {"sequence", event.sequence},
              {"unix_ms", event.unix_ms},
              {"job", event.job},
              {"phase", phase_name(event.phase)},
              {"attempt", event.attempt},
              {"stage", event.stage},
              {"message", event.message}};
  if (!event.bench.empty()) out["bench"] = event.bench;
  if (!event.checkpoint.empty()) out["checkpoint"] = event.checkpoint;
  if (event.kind == JobEvent::Kind::kCheckpoint) {
    out["commit_seconds"] = event.commit_seconds;
    out["commit_bytes"] = event.commit_bytes;
  }
  if (event.kind == JobEvent::Kind::kStep) out["step"] = step_json(event.step);
  if (event.kind == JobEvent::Kind::kBenchProgress) {
    out["done"] = event.done;
    out["total"] = event.total;
  }
  if (!event.result_json.empty()) out["result"] = json::parse(event.result_json, nullptr, false);
  if (event.kind == JobEvent::Kind::kLog) {
    constexpr const char* kLevels[] = {"debug", "info", "warning", "error"};
    out["level"] = kLevels[static_cast<int>(event.level)];
    out["rank"] = event.rank;
  }
  return dump(out);
}

std::string to_json(const JobView& view, bool with_recipe) {
  const JobState& state = view.state;
  json out = {{"id", state.id},
              {"user", state.user},
              {"recipe_name", state.recipe_name},
              {"phase", phase_name(state.phase)},
              {"gang", gang_phase_name(state.gang)},
              {"stage", state.plan[state.stage].name},
              {"bench", state.work_bench},
              {"stages", stages_json(state)},
              {"attempt", state.attempt},
              {"ranks", state.world},
              {"ranks_min", state.world_min},
              {"ranks_max", state.world_max},
              {"ranks_reason", state.world_reason},
              {"threads_per_rank", state.threads_per_rank},
              {"restarts", state.restarts_total},
              {"max_restarts", state.max_restarts},
              {"reason", state.reason},
              {"cancel_requested", state.cancel_requested},
              {"submitted_unix_ms", state.submitted_unix_ms},
              {"started_unix_ms", state.started_unix_ms},
              {"finished_unix_ms", state.finished_unix_ms},
              {"priority", state.priority},
              {"time_limit_seconds", static_cast<double>(state.time_limit_ms) / 1000},
              {"after", state.after},
              {"queue_position", view.queue_position},
              {"waits_for", view.waits_for},
              {"answers", view.answers},
              {"directory", view.directory},
              {"report", view.report_path}};
  out["eta_seconds"] = view.eta_seconds < 0 ? json(nullptr) : number(view.eta_seconds);
  out["progress"] = view.step.has_value() ? step_json(*view.step) : json(nullptr);
  out["rank_states"] = json::array();
  for (const RankView& rank : view.ranks) out["rank_states"].push_back(rank_json(rank));
  if (with_recipe) out["recipe"] = json::parse(state.recipe_json, nullptr, false);
  return dump(out);
}

}  // namespace tephra::coordinator
