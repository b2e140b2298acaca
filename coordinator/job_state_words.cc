// The names of what the state machine knows, and what is said of its events.
#include "coordinator/job_state.h"

#include "base/overloaded.h"

namespace tephra::coordinator {
namespace {

std::string ranks(int n) { return std::to_string(n) + (n == 1 ? " rank" : " ranks"); }

}  // namespace

std::string_view phase_name(Phase phase) {
  switch (phase) {
    case Phase::kQueued: return "queued";
    case Phase::kPreparing: return "preparing";
    case Phase::kTraining: return "training";
    case Phase::kEvaluating: return "evaluating";
    case Phase::kReporting: return "reporting";
    case Phase::kDone: return "done";
    case Phase::kFailed: return "failed";
    case Phase::kCancelled: return "cancelled";
    case Phase::kPaused: return "paused";
  }
  return "?";
}

Result<Phase> parse_phase(const std::string& name) {
  std::string known;
  for (int i = 1;; ++i) {
    const auto phase = static_cast<Phase>(i);
    const std::string_view word = phase_name(phase);
    if (word == "?") break;
    if (word == name) return phase;
    known += (known.empty() ? "" : ", ") + std::string(word);
  }
  return Status(Code::kInvalidArgument, "'" + name + "' is no phase; there are " + known);
}

std::string_view gang_phase_name(GangPhase phase) {
  switch (phase) {
    case GangPhase::kNone: return "none";
    case GangPhase::kStarting: return "starting";
    case GangPhase::kUp: return "up";
    case GangPhase::kEnding: return "ending";
    case GangPhase::kBackoff: return "backoff";
  }
  return "?";
}

std::string_view event_name(const Event& event) {
  return std::visit(Overloaded{
                        [](const Submitted&) { return "submitted"; },
                        [](const Scheduled&) { return "scheduled"; },
                        [](const Prepared&) { return "prepared"; },
                        [](const GangLaunched&) { return "gang_launched"; },
                        [](const GangUp&) { return "gang_up"; },
                        [](const CheckpointCommitted&) { return "checkpoint_committed"; },
                        [](const TaskFinished&) { return "task_finished"; },
                        [](const BenchScored&) { return "bench_scored"; },
                        [](const GangLost&) { return "gang_lost"; },
                        [](const CancelRequested&) { return "cancel_requested"; },
                        [](const Preempted&) { return "preempted"; },
                        [](const HostsWithdrawn&) { return "hosts_withdrawn"; },
                        [](const PauseRequested&) { return "pause_requested"; },
                        [](const ResumeRequested&) { return "resume_requested"; },
                        [](const TimeLimitReached&) { return "time_limit_reached"; },
                        [](const ResizeRequested&) { return "resize_requested"; },
                        [](const DependencyFailed&) { return "dependency_failed"; },
                        [](const GangEnded&) { return "gang_ended"; },
                        [](const ReportWritten&) { return "report_written"; },
                        [](const BackoffElapsed&) { return "backoff_elapsed"; },
                        [](const CoordinatorRestarted&) { return "coordinator_restarted"; },
                    },
                    event);
}

std::string run_text(const BenchScored& event) {
  const std::string at = event.step > 0 ? " at step " + std::to_string(event.step) + " of stage " : " after stage ";
  return "bench " + event.bench + at + event.stage;
}

std::string describe(const Event& event) {
  const auto attempt = [](uint32_t n) { return "attempt " + std::to_string(n) + ": "; };
  return std::visit(
      Overloaded{
          [](const Submitted&) { return std::string("submitted"); },
          [](const Scheduled& e) {
            const bool fewer = e.world < e.world_max;
            return "slots are free" +
                   (fewer ? " for " + std::to_string(e.world) + " of " + ranks(e.world_max) : std::string()) +
                   "; preparing data and base model";
          },
          [](const Prepared& e) {
            return e.status.ok() ? std::string("prepared") : "preparation failed: " + e.status.message();
          },
          [&](const GangLaunched& e) {
            return attempt(e.attempt) + "gang started as process " + std::to_string(e.record.pid);
          },
          [&](const GangUp& e) { return attempt(e.attempt) + "all ranks are there"; },
          [&](const CheckpointCommitted& e) { return attempt(e.attempt) + "checkpoint " + e.name + " committed"; },
          [&](const TaskFinished& e) {
            return attempt(e.attempt) + e.kind + " " + e.stage + (e.bench.empty() ? "" : " on " + e.bench) +
                   " finished";
          },
          [](const BenchScored& e) {
            return run_text(e) + (e.status.ok() ? " scored" : " could not be scored: " + e.status.message());
          },
          [&](const GangLost& e) { return attempt(e.attempt) + "gang lost: " + e.reason; },
          [](const CancelRequested& e) { return "cancel requested" + (e.reason.empty() ? "" : ": " + e.reason); },
          [](const Preempted& e) { return "makes room for job " + e.by; },
          [&](const HostsWithdrawn& e) { return attempt(e.attempt) + "goes back to the queue: " + e.reason; },
          [](const PauseRequested&) { return std::string("pause requested"); },
          [](const ResumeRequested&) { return std::string("resume requested"); },
          [](const TimeLimitReached&) { return std::string("time limit reached"); },
          [](const ResizeRequested& e) {
            return "goes on with " + ranks(e.world) + " in place of " + std::to_string(e.world_before) +
                   ": slots are free and nobody waits for them";
          },
          [](const DependencyFailed& e) { return e.reason; },
          [&](const GangEnded& e) { return attempt(e.attempt) + "gang ended"; },
          [](const ReportWritten& e) {
            return e.status.ok() ? std::string("report written") : "report could not be written: " + e.status.message();
          },
          [&](const BackoffElapsed& e) {
            return attempt(e.attempt) + "waited; trying again" +
                   (e.world > 0 ? " with " + ranks(e.world) + ", for which there are slots" : std::string());
          },
          [](const CoordinatorRestarted& e) {
            return "the coordinator was restarted" +
                   (e.world > 0 ? "; the job goes on with " + ranks(e.world) + ", for which there are slots"
                    : e.change  ? "; the job goes on with " + ranks(e.change->world)
                                : std::string());
          },
      },
      event);
}

std::string_view action_name(const Action& action) {
  return std::visit(Overloaded{
                        [](const Prepare&) { return "prepare"; },
                        [](const LaunchGang&) { return "launch_gang"; },
                        [](const SendTrain&) { return "send_train"; },
                        [](const SendEvaluate&) { return "send_evaluate"; },
                        [](const StopGang&) { return "stop_gang"; },
                        [](const KillGang&) { return "kill_gang"; },
                        [](const ScoreBench&) { return "score_bench"; },
                        [](const WriteReport&) { return "write_report"; },
                        [](const StartBackoff&) { return "start_backoff"; },
                        [](const NotifyDone&) { return "notify_done"; },
                    },
                    action);
}

std::string JobState::ended_early() const {
  if (cancel_requested) return "cancelled" + (cancel_reason.empty() ? "" : ": " + cancel_reason);
  return failing ? "failed: " + reason : "";
}

}  // namespace tephra::coordinator
