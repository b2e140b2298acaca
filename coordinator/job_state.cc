// What can be read off a job's state. What events make of it is in job_transition.cc.
#include "coordinator/job_state.h"

namespace tephra::coordinator {

bool is_final(Phase phase) { return phase == Phase::kDone || phase == Phase::kFailed || phase == Phase::kCancelled; }

std::optional<Action> work_action(const JobState& state) {
  const StageState& stage = state.stages[state.stage];
  bool resume = false;
  switch (state.work) {
    case Work::kTrain: {
      const std::string checkpoint = state.train_from(&resume);
      return SendTrain{state.stage, checkpoint, resume ? stage.step : 0, resume};
    }
    case Work::kEvaluate: return SendEvaluate{state.stage, state.work_bench, stage.checkpoint, state.bench_run_step()};
    case Work::kScoring: return ScoreBench{state.stage, state.work_bench, stage.checkpoint, state.bench_run_step()};
    case Work::kNone: break;
  }
  return std::nullopt;
}

bool may_adopt(const JobState& state) {
  return state.gang == GangPhase::kUp && state.gang_record.pid != 0 && !state.cancel_requested && !state.failing &&
         state.yield == Yield::kNone;
}

bool holds_slots(Phase phase) { return phase != Phase::kQueued && phase != Phase::kPaused && !is_final(phase); }

int JobState::slots() const { return (yield == Yield::kToResize ? resize_world : world) * threads_per_rank; }

bool JobState::permits(int ranks) const {
  return ranks >= world_min && ranks <= world_max && ranks > 0 && world_max % ranks == 0;
}

bool StageState::scored(const std::string& bench, int64_t step) const {
  if (step == 0) return bench_done.at(bench);
  const auto newest = bench_step.find(bench);
  return newest != bench_step.end() && newest->second >= step;
}

std::string JobState::next_bench() const {
  const int64_t step = bench_run_step();
  if (stages[stage].checkpoint.empty()) return "";
  for (const std::string& bench : plan[stage].benches) {
    const auto every = plan[stage].every.find(bench);
    const bool due = stages[stage].complete || (every != plan[stage].every.end() && step % every->second == 0);
    if (due && !stages[stage].scored(bench, step)) return bench;
  }
  return "";
}

std::vector<int64_t> JobState::scored_steps(size_t stage, const std::string& bench) const {
  std::vector<int64_t> steps;
  const auto every = plan[stage].every.find(bench);
  const auto newest = stages[stage].bench_step.find(bench);
  if (every == plan[stage].every.end() || newest == stages[stage].bench_step.end()) return steps;
  for (int64_t step = every->second; step <= newest->second; step += every->second) steps.push_back(step);
  return steps;
}

int64_t JobState::bench_run_step() const { return stages[stage].complete ? 0 : stages[stage].step; }

std::string JobState::train_from(bool* resume) const {
  const StageState& own = stages[stage];
  *resume = !own.checkpoint.empty();
  if (*resume) return own.checkpoint;
  for (size_t i = 0; i < plan.size(); ++i)
    if (plan[i].name == plan[stage].init) return stages[i].checkpoint;
  return "";
}

int JobState::stage_index(const std::string& name) const {
  for (size_t i = 0; i < plan.size(); ++i)
    if (plan[i].name == name) return static_cast<int>(i);
  return -1;
}

}  // namespace tephra::coordinator
