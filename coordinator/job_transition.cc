// What each event makes of a job's state. What can be read off a state is in job_state.cc.
#include "coordinator/job_state.h"

#include <algorithm>

#include "base/check.h"

namespace tephra::coordinator {
namespace {

constexpr int64_t kBackoffFirstMs = 200;
constexpr int64_t kBackoffMaxMs = 10000;

bool retryable(RetryClass retry) { return retry == RetryClass::kNewAttempt || retry == RetryClass::kRetryHere; }

// One transition in the making. Each on() handles one kind of event; doing nothing means the event is stale.
class Machine {
 public:
  explicit Machine(const JobState& state) { out_.state = state; }

  Transition take() && { return std::move(out_); }

  void on(const Submitted& event) {
    JobState& s = change();
    s.phase = Phase::kQueued;
    s.submitted_unix_ms = event.unix_ms;
    s.queued_unix_ms = event.unix_ms;
    s.stages.resize(s.plan.size());
    for (size_t i = 0; i < s.plan.size(); ++i)
      for (const std::string& bench : s.plan[i].benches) s.stages[i].bench_done.emplace(bench, false);
  }

  void on(const Scheduled& event) {
    if (now().phase != Phase::kQueued) return;
    change().phase = Phase::kPreparing;
    if (now().started_unix_ms == 0) change().started_unix_ms = event.unix_ms;
    change().slots_unix_ms = event.unix_ms;
    set_world(event.world == 0 ? now().world_max : event.world, "no more slots were free when it was given them");
    act(Prepare{});
  }

  void on(const Prepared& event) {
    if (now().phase != Phase::kPreparing) return;
    if (!event.status.ok()) {
      fail(event.status.message(), event.status.retry_class());
      return end_early();
    }
    change().prepared_json = event.prepared_json;
    change().phase = Phase::kTraining;
    launch_or_report();
  }

  void on(const GangLaunched& event) {
    if (!is_live(event.attempt)) return;
    change().gang_record = event.record;
  }

  void on(const GangUp& event) {
    if (event.attempt != now().attempt || now().gang != GangPhase::kStarting) return;
    change().gang = GangPhase::kUp;
    give_work();
  }

  void on(const CheckpointCommitted& event) {
    if (!may_commit(event.attempt) || now().phase != Phase::kTraining || now().work != Work::kTrain) return;
    const StageState& stage = now().stages[now().stage];
    if (event.stage != now().plan[now().stage].name || event.step <= stage.step || stage.complete) return;
    StageState& next = change().stages[now().stage];
    next.checkpoint = event.name;
    next.step = event.step;
    next.complete = event.stage_complete;
    next.checkpoints.push_back(event.name);
    for (const int64_t step : event.gave_way)
      if (const auto at = std::lower_bound(next.gave_way.begin(), next.gave_way.end(), step);
          at == next.gave_way.end() || *at != step)
        next.gave_way.insert(at, step);
    change().restarts_used = 0;
  }

  void on(const TaskFinished& event) {
    if (!is_up(event.attempt) || event.stage != now().plan[now().stage].name) return;
    if (event.kind == "train" && now().work == Work::kTrain) {
      // Complete, or at a checkpoint that a bench is run on.
      if (now().stages[now().stage].complete || !now().next_bench().empty()) return give_work();
      return stop_and_fail("stage " + event.stage + ": the ranks ended it without committing its last checkpoint",
                           RetryClass::kPermanent);
    }
    if (event.kind != "evaluate" || now().work != Work::kEvaluate || event.bench != now().work_bench) return;
    if (now().stages[now().stage].scored(event.bench, now().bench_run_step()))
      return give_work();  // an earlier attempt's answers were scored meanwhile
    change().work = Work::kScoring;
    do_work();
  }

  void on(const BenchScored& event) {
    if (is_final(now().phase)) return;
    const int stage = now().stage_index(event.stage);
    if (stage < 0 || !now().stages[stage].bench_done.contains(event.bench) ||
        now().stages[stage].scored(event.bench, event.step))
      return;
    if (!event.status.ok()) {
      if (stage != now().stage || now().failing || now().cancel_requested) return;
      const std::string reason = run_text(event) + ": " + event.status.message();
      if (now().gang == GangPhase::kStarting || now().gang == GangPhase::kUp)
        return stop_and_fail(reason, event.status.retry_class());
      if (now().gang != GangPhase::kEnding) return;  // between attempts: the next one asks and scores again
      return fail(reason, event.status.retry_class());
    }
    if (event.step > 0)
      change().stages[stage].bench_step[event.bench] = event.step;
    else
      change().stages[stage].bench_done[event.bench] = true;
    change().restarts_used = 0;
    if (!event.gate.empty() && !now().failing && !now().cancel_requested) {
      if (now().gang == GangPhase::kStarting || now().gang == GangPhase::kUp)
        return stop_and_fail(event.gate, RetryClass::kPermanent);
      fail(event.gate, RetryClass::kPermanent);
      if (now().gang == GangPhase::kEnding) return;
      return end_early();
    }
    if (now().gang == GangPhase::kUp && now().work == Work::kScoring && now().work_bench == event.bench) give_work();
  }

  void on(const GangLost& event) {
    if (event.attempt != now().attempt || (now().gang != GangPhase::kStarting && now().gang != GangPhase::kUp)) return;
    lose(event.reason, event.retry);
    act(KillGang{event.reason});
  }

  void on(const CancelRequested& event) {
    if (is_final(now().phase) || now().cancel_requested) return;
    change().cancel_requested = true;
    change().cancel_reason = event.reason;
    switch (now().gang) {
      case GangPhase::kStarting:
      case GangPhase::kUp:
        end_gang();
        act(StopGang{event.reason});
        return;
      case GangPhase::kEnding: return;
      case GangPhase::kNone:
      case GangPhase::kBackoff: end_early();
    }
  }

  void on(const Preempted& event) {
    if (!holds_slots() || bound_to_end()) return;
    if (now().yield == Yield::kToResize) change().yield = Yield::kToQueue;
    if (now().yield != Yield::kNone) return;
    yield(Yield::kToQueue, "makes room for job " + event.by);
  }

  void on(const HostsWithdrawn& event) {
    if (event.attempt != now().attempt || (now().gang != GangPhase::kStarting && now().gang != GangPhase::kUp)) return;
    if (!holds_slots() || bound_to_end() || now().yield != Yield::kNone) return;
    yield(Yield::kToQueue, event.reason);
  }

  void on(const PauseRequested&) {
    if (is_final(now().phase) || now().phase == Phase::kPaused || now().phase == Phase::kReporting || bound_to_end())
      return;
    if (now().phase == Phase::kQueued) {
      change().phase = Phase::kPaused;
      return;
    }
    if (now().yield != Yield::kNone) {
      if (now().yield != Yield::kToPause) change().yield = Yield::kToPause;
      return;
    }
    yield(Yield::kToPause, "paused");
  }

  void on(const ResumeRequested& event) {
    if (now().yield == Yield::kToPause) change().yield = Yield::kToQueue;
    if (now().phase != Phase::kPaused) return;
    change().phase = Phase::kQueued;
    change().queued_unix_ms = event.unix_ms;
  }

  void on(const TimeLimitReached&) {
    const bool keeps_slots = now().yield == Yield::kNone || now().yield == Yield::kToResize;
    if (!holds_slots() || bound_to_end() || !keeps_slots) return;
    fail("it held its slots for its time limit (queue.time_limit_s)", RetryClass::kPermanent);
    // As when it makes way, so that the gang may commit a last checkpoint; failing decides where the job goes.
    yield(Yield::kToQueue, now().reason);
  }

  void on(const ResizeRequested& event) {
    const bool busy = now().work == Work::kTrain || now().work == Work::kEvaluate;
    if (now().gang != GangPhase::kUp || !busy || !holds_slots() || bound_to_end() || now().yield != Yield::kNone)
      return;
    if (event.world <= now().world || !now().permits(event.world)) return;
    change().resize_world = event.world;
    yield(Yield::kToResize, "goes on with " + std::to_string(event.world) + " ranks");
  }

  void on(const DependencyFailed& event) {
    if (now().phase != Phase::kQueued) return;
    fail(event.reason, RetryClass::kPermanent);
    end_early();
  }

  void on(const GangEnded& event) {
    if (!is_live(event.attempt)) return;
    if (now().gang != GangPhase::kEnding) lose("the gang ended", RetryClass::kNewAttempt);
    change().gang = GangPhase::kNone;
    change().gang_record = {};
    if (now().cancel_requested || now().failing) return end_early();
    if (now().phase == Phase::kReporting) return act(WriteReport{true});
    change().retrying = false;
    if (now().yield == Yield::kToResize) return resize();
    if (now().yield != Yield::kNone) return make_way(event.unix_ms);
    if (!settle()) return act(WriteReport{true});
    change().restarts_used += 1;
    change().restarts_total += 1;
    change().gang = GangPhase::kBackoff;
    act(StartBackoff{backoff_ms(now().restarts_used), now().attempt});
  }

  void on(const ReportWritten& event) {
    if (now().phase != Phase::kReporting || now().gang != GangPhase::kNone) return;
    const bool early = now().cancel_requested || now().failing;  // what was wrong before counts, not the report
    if (!event.status.ok() && !early) fail("report: " + event.status.message(), event.status.retry_class());
    finish();
  }

  void on(const BackoffElapsed& event) {
    if (event.attempt != now().attempt || now().gang != GangPhase::kBackoff) return;
    shrink(event.world);
    launch_or_report();
  }

  void on(const CoordinatorRestarted& event) {
    if (is_final(now().phase)) return;
    if (event.adopted && may_adopt(now())) {
      out_.changed = true;
      if (now().work == Work::kScoring) do_work();
      return;
    }
    if (event.change.has_value()) {
      change().recipe_json = event.change->recipe_json;
      change().world = change().world_max = event.change->world;
      change().world_min = event.change->world_min;
      change().world_reason.clear();
      change().max_restarts = event.change->max_restarts;
    }
    if (now().phase == Phase::kQueued || now().phase == Phase::kPaused) return;
    JobState& s = change();
    s.gang = GangPhase::kNone;
    s.gang_record = {};
    s.work = Work::kNone;
    s.work_bench.clear();
    if (s.cancel_requested || s.failing) return end_early();
    s.retrying = false;
    if (s.yield == Yield::kToResize && !event.change.has_value()) grow();
    if (s.yield == Yield::kToResize) s.yield = Yield::kNone;
    if (s.yield != Yield::kNone) return make_way(s.queued_unix_ms);
    shrink(event.world);
    if (s.phase == Phase::kPreparing) return act(Prepare{});
    if (s.phase == Phase::kReporting) return act(WriteReport{true});
    launch_or_report();
  }

 private:
  const JobState& now() const { return out_.state; }
  JobState& change() {
    out_.changed = true;
    return out_.state;
  }
  template <class A>
  void act(A action) {
    out_.changed = true;
    out_.actions.emplace_back(std::in_place_type<A>, std::move(action));
  }

  bool is_live(uint32_t attempt) const {
    return attempt == now().attempt &&
           (now().gang == GangPhase::kStarting || now().gang == GangPhase::kUp || now().gang == GangPhase::kEnding);
  }
  bool is_up(uint32_t attempt) const { return attempt == now().attempt && now().gang == GangPhase::kUp; }

  // A gang that makes way may commit while it ends.
  bool may_commit(uint32_t attempt) const {
    return is_up(attempt) || (is_live(attempt) && now().yield != Yield::kNone);
  }
  bool holds_slots() const {
    const Phase phase = now().phase;
    return phase == Phase::kPreparing || phase == Phase::kTraining || phase == Phase::kEvaluating;
  }
  bool bound_to_end() const { return now().cancel_requested || now().failing; }

  void yield(Yield where, const std::string& reason) {
    change().yield = where;
    switch (now().gang) {
      case GangPhase::kStarting:
      case GangPhase::kUp:
        change().gang = GangPhase::kEnding;
        if (now().work != Work::kTrain) {
          change().work = Work::kNone;
          change().work_bench.clear();
        }
        act(StopGang{reason, now().work == Work::kTrain});
        return;
      case GangPhase::kEnding: return;
      case GangPhase::kNone:
      case GangPhase::kBackoff:
        if (now().failing) return end_early();
        make_way(now().queued_unix_ms);
    }
  }

  void set_world(int ranks, const std::string& reason_if_fewer) {
    change().world = ranks;
    change().world_reason = ranks < now().world_max ? reason_if_fewer : "";
  }

  void shrink(int ranks) {
    if (ranks > 0 && ranks < now().world && now().permits(ranks))
      set_world(ranks, "no more slots were left when it was started again");
  }

  void grow() { set_world(now().resize_world, "no more slots came free"); }

  // No process is left.
  void resize() {
    grow();
    change().yield = Yield::kNone;
    change().work = Work::kNone;
    change().work_bench.clear();
    launch_or_report();
  }

  void make_way(int64_t unix_ms) {
    JobState& s = change();
    s.phase = s.yield == Yield::kToPause ? Phase::kPaused : Phase::kQueued;
    s.yield = Yield::kNone;
    s.gang = GangPhase::kNone;
    s.work = Work::kNone;
    s.work_bench.clear();
    s.queued_unix_ms = unix_ms;
  }

  void fail(const std::string& reason, RetryClass retry) {
    change().failing = true;
    change().reason = reason;
    change().retry = retry;
  }

  // No gang is left. What was trained is reported first, so that a job never ends with checkpoints that no report tells of.
  void end_early() {
    const auto& stages = now().stages;
    if (std::all_of(stages.begin(), stages.end(), [](const StageState& s) { return s.checkpoint.empty(); }))
      return finish();
    change().phase = Phase::kReporting;
    change().gang = GangPhase::kNone;
    change().work = Work::kNone;
    change().work_bench.clear();
    act(WriteReport{true});
  }

  void finish() {
    change().yield = Yield::kNone;
    change().phase = now().cancel_requested ? Phase::kCancelled : now().failing ? Phase::kFailed : Phase::kDone;
    change().gang = GangPhase::kNone;
    change().work = Work::kNone;
    change().work_bench.clear();
    act(NotifyDone{});
  }

  void end_gang() {
    change().gang = GangPhase::kEnding;
    change().work = Work::kNone;
    change().work_bench.clear();
  }

  void lose(const std::string& reason, RetryClass retry) {
    end_gang();
    change().reason = reason;
    change().retry = retry;
    change().retrying = retryable(retry) && now().restarts_used < now().max_restarts;
    change().failing = !now().retrying;
    if (now().failing && retryable(retry) && now().max_restarts > 0)
      change().reason += " (after " + std::to_string(now().restarts_used) + " restarts without a new checkpoint)";
  }

  void stop_and_fail(const std::string& reason, RetryClass retry) {
    end_gang();
    fail(reason, retry);
    act(StopGang{reason});
  }

  // Moves stage and phase past what is done. False: nothing is left to do for ranks, and the phase is kReporting.
  bool settle() {
    for (;;) {
      if (!now().next_bench().empty()) {
        change().phase = Phase::kEvaluating;
        return true;
      }
      if (!now().stages[now().stage].complete) {
        change().phase = Phase::kTraining;
        return true;
      }
      if (now().stage + 1 == static_cast<int>(now().plan.size())) {
        change().phase = Phase::kReporting;
        return false;
      }
      change().stage += 1;
      act(WriteReport{false});
    }
  }

  void launch_or_report() {
    if (!settle()) {
      change().gang = GangPhase::kNone;
      return act(WriteReport{true});
    }
    change().gang = GangPhase::kStarting;
    change().attempt += 1;
    act(LaunchGang{now().attempt, now().world});
  }

  // The gang is up and idle: its next task, or its end.
  void give_work() {
    if (!settle()) {
      end_gang();
      return act(StopGang{"the work is done"});
    }
    const bool training = now().phase == Phase::kTraining;
    change().work = training ? Work::kTrain : Work::kEvaluate;
    change().work_bench = training ? "" : now().next_bench();
    do_work();
  }

  void do_work() { out_.actions.push_back(*work_action(now())); }

  Transition out_;
};

}  // namespace

Transition transition(const JobState& state, const Event& event) {
  TEPHRA_CHECK(!state.plan.empty(), "a job without stages");
  Machine machine(state);
  std::visit([&machine](const auto& e) { machine.on(e); }, event);
  return std::move(machine).take();
}

int64_t backoff_ms(int n) {
  int64_t ms = kBackoffFirstMs;
  for (int i = 1; i < n && ms < kBackoffMaxMs; ++i) ms *= 2;
  return std::min(ms, kBackoffMaxMs);
}

}  // namespace tephra::coordinator
