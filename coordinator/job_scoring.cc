// The runner's part in benches: scoring answers, with a judge where the recipe has one, and the gates of a stage.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "coordinator/job_runner.h"

namespace tephra::coordinator {

void JobRunner::act(const ScoreBench& action) {
  auto self = shared_from_this();
  const std::string stage = job_.state.plan[action.stage].name;
  lane_.post([self, stage, bench = action.bench, checkpoint = action.checkpoint, step = action.step,
              prepared = prepared_, state = job_.state] {
    const auto progress = [self, stage, bench](const JudgeProgress& judged) {
      self->services_.dispatcher->post([self, stage, bench, judged] { self->publish_judging(stage, bench, judged); });
    };
    const Result<eval::BenchResult> result =
        self->files_.score(self->recipe_, prepared, stage, bench, step, self->services_.options->judges, progress);
    std::string text, gate;
    if (result.ok()) {
      nlohmann::json document = {
          {"bench", bench}, {"stage", stage}, {"metrics", result->metrics}, {"counts", result->counts}};
      if (!result->incomplete.empty()) document["incomplete"] = result->incomplete;
      if (step > 0) document["step"] = step;
      text = document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      if (step > 0)
        self->tell_tensorboard(stage, step, *result);
      else
        gate = self->pass_gates(state, stage, bench, checkpoint);
    }
    self->services_.dispatcher->post([self, stage, bench, checkpoint, text, gate, step, status = result.status()] {
      if (status.ok()) {
        JobEvent event =
            self->make_event(JobEvent::Kind::kBenchResult, "bench " + bench + " on " + checkpoint + " scored");
        event.stage = stage;
        event.bench = bench;
        event.checkpoint = checkpoint;
        event.result_json = text;
        self->services_.publish(std::move(event));
      }
      self->handle(BenchScored{stage, bench, status, gate, step});
    });
  });
}

void JobRunner::tell_tensorboard(const std::string& stage, int64_t step, const eval::BenchResult& result) const {
  const Status written = files_.append_bench(services_.options->clock->unix_ms(), stage, step, result);
  if (!written.ok()) log::warning("a bench's curve was not written", {{"job", job_id_}, {"reason", written.message()}});
}

void JobRunner::publish_judging(const std::string& stage, const std::string& bench, const JudgeProgress& judged) {
  JobEvent event = make_event(JobEvent::Kind::kBenchProgress, bench + ": " + std::to_string(judged.judged) + " of " +
                                                                  std::to_string(judged.total) + " judged, " +
                                                                  fixed(judged.spent, 2) + " USD");
  event.stage = stage;
  event.bench = bench;
  services_.publish(std::move(event));
}

// Once `bench` is the stage's last: what its gates say against going on; empty when they pass, which moves the stage's best tag, or
// when other benches are to come.
std::string JobRunner::pass_gates(const JobState& state, const std::string& stage, const std::string& bench,
                                  const std::string& checkpoint) const {
  const auto planned =
      std::find_if(state.plan.begin(), state.plan.end(), [&](const StagePlan& p) { return p.name == stage; });
  if (planned == state.plan.end()) return "";
  const auto& done = state.stages[static_cast<size_t>(planned - state.plan.begin())].bench_done;
  for (const auto& [name, is_done] : done)
    if (!is_done && name != bench) return "";
  const auto outcomes = files_.judge_gates(recipe_, state, stage);
  std::string said = outcomes.ok() ? "" : outcomes.status().message();
  if (outcomes.ok()) {
    for (const recipes::GateOutcome& outcome : *outcomes)
      if (!outcome.passed) said += (said.empty() ? "" : "; ") + outcome.said;
    if (said.empty() && !outcomes->empty())
      if (const Status tagged = services_.store->tag(state.id + "/" + stage + "@best", checkpoint); !tagged.ok())
        said = tagged.message();
  }
  return said.empty()
             ? ""
             : "stage " + stage + " did not pass its gate: " + said + "; the report is " + files_.report_path();
}

}  // namespace tephra::coordinator
