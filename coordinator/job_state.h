// A job's life as a pure function: (state, event) -> (state, actions). No clocks, no processes, no files: the
// coordinator turns what happens into events and carries the actions out after state and event are durable (journal.h).
//
//   queued -> preparing -> [ training -> evaluating ] for each stage -> reporting -> done | failed | cancelled
//
// A bench that is also run during a stage (StagePlan::every) ends the training task at its checkpoints. The gang answers it
// there, in the phase evaluating, and goes on training from that checkpoint with a task of the same attempt.
//
// A job that makes room for another (Preempted), or whose hosts are taken back (HostsWithdrawn), goes back to queued, and
// one that is paused waits in kPaused until it is resumed, which queues it; both go on from their last checkpoint. The
// gang that has to yield is asked to stop and may still commit: it finishes its step and writes a checkpoint.
//
// An elastic job (world_min below world_max) starts with the ranks that it is given, goes on with fewer after a loss, and
// is given more by ResizeRequested: the gang yields as above, but the job keeps its slots and the next attempt follows at
// once. None of this is a restart.
//
// A job that fails or is cancelled goes to reporting from wherever it is once it has a checkpoint, and ends at once
// before that.
//
// Beside the phase stands the gang's own small machine (GangPhase). Only one attempt is ever live: a new one is
// launched only from kNone, and kNone is reached only by GangEnded, which the coordinator reports when no process of
// the gang is left. An attempt's number fences it: events of another attempt than the state's, or of a gang that is
// ending, change nothing.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"

namespace tephra::coordinator {

enum class Phase { kQueued = 1, kPreparing, kTraining, kEvaluating, kReporting, kDone, kFailed, kCancelled, kPaused };
std::string_view phase_name(Phase phase);            // "queued", ...
Result<Phase> parse_phase(const std::string& name);  // kInvalidArgument
bool is_final(Phase phase);
bool holds_slots(Phase phase);  // neither queued, nor paused, nor ended

enum class GangPhase {
  kNone = 1,  // no process of any attempt exists
  kStarting,  // launched; not all ranks have said hello
  kUp,
  kEnding,   // told to stop or being killed
  kBackoff,  // none, and waiting before the next attempt
};
std::string_view gang_phase_name(GangPhase phase);

// What the gang that is up has been told to do and has not finished.
enum class Work {
  kNone = 1,
  kTrain,
  kEvaluate,
  kScoring
};  // kScoring: it waits while the coordinator scores `work_bench`

// Why a gang that is ending makes way: where the job goes once no process is left.
enum class Yield { kNone = 1, kToQueue, kToPause, kToResize };

// What the state machine needs to know of a stage; the rest stays in the recipe.
struct StagePlan {
  std::string name;
  std::string init;  // "base", or the name of an earlier stage whose last checkpoint it starts from
  std::vector<std::string> benches;
  // Steps between a bench's runs during the stage; one that is not here is run only after it.
  std::map<std::string, int64_t> every{};
};

struct StageState {
  std::string checkpoint;                  // the last committed one, "JOB/STAGE@STEP"; empty: none yet
  int64_t step = 0;                        // its optimizer step
  bool complete = false;                   // it is the stage's final one
  std::vector<std::string> checkpoints;    // all, oldest first
  std::map<std::string, bool> bench_done;  // by name; scored and written
  std::vector<int64_t> gave_way{};  // steps whose checkpoints were due and not written (checkpoint.when_busy), sorted
  // Of benches that are run during the stage: step of the newest checkpoint that was scored.
  std::map<std::string, int64_t> bench_step;

  // `step` 0: after the stage.
  bool scored(const std::string& bench, int64_t step) const;
};

// Enough to find the processes of the live attempt again (cluster::GangIdentity, flattened so that this header needs
// nothing).
struct GangRecord {
  int64_t pid = 0;  // 0: none
  uint64_t start_ticks = 0;
  std::string marker;
  std::string log_dir;
  std::string launcher = "local";
  std::string token_sha256{};  // of the gang's secret, hex
};

struct JobState {
  std::string id;
  std::string user;
  std::string recipe_json;
  std::string recipe_name;
  std::vector<StagePlan> plan;
  int world = 1;                     // ranks of the gang; before it has one, those that it wants
  int world_min = 1, world_max = 1;  // elastic: bounds of `world`, which is world_max or a half, a quarter, ... of it
  int resize_world = 0;              // with Yield::kToResize: ranks of the next attempt
  std::string world_reason;          // why `world` is not world_max, for people; empty: it is, or there was no gang yet
  int threads_per_rank = 1;
  int max_restarts = 3;
  int priority = 0;                // higher goes first
  int64_t time_limit_ms = 0;       // of one stretch on the slots; 0: none
  std::vector<std::string> after;  // ids of the jobs that have to be done before it starts

  Phase phase = Phase::kQueued;
  GangPhase gang = GangPhase::kNone;
  Work work = Work::kNone;
  std::string work_bench;
  int stage = 0;                   // index into plan
  std::vector<StageState> stages;  // one for each of plan
  std::string prepared_json;       // what preparation found out (coordinator/preparation.h)
  uint32_t attempt = 0;            // of the last gang; 0: none was started
  int restarts_used = 0;           // since the last commit
  int restarts_total = 0;
  GangRecord gang_record;
  bool cancel_requested = false;
  bool failing = false;                       // the job fails once the gang has ended and the report is written
  Yield yield = Yield::kNone;                 // set while the gang ends to make way
  bool retrying = false;                      // a new attempt follows once the gang has ended
  std::string reason;                         // of the failure, or of the last restart
  RetryClass retry = RetryClass::kPermanent;  // of `reason`
  std::string cancel_reason;
  int64_t submitted_unix_ms = 0;
  int64_t started_unix_ms = 0;          // first, 0: not yet
  int64_t queued_unix_ms = 0;           // last put in the queue
  int64_t slots_unix_ms = 0;            // last given slots; 0: not yet
  int64_t finished_unix_ms = 0;         // 0: not yet
  std::string submit_key, submit_hash;  // Coordinator's SubmitOnce; empty: none

  int slots() const;              // that it holds, or wants
  bool permits(int ranks) const;  // within the bounds and at a whole division of world_max
  // "cancelled: why" or "failed: why" of a job that ends, or has ended, with work undone; empty for any other.
  std::string ended_early() const;
  // The first bench that is not scored and is to be run on the present stage's last checkpoint before ranks train on; empty: none.
  std::string next_bench() const;
  // The steps of `stage`, an index, at which the bench was run and scored during it. A fork that began in the middle of the stage
  // has no results of the steps before.
  std::vector<int64_t> scored_steps(size_t stage, const std::string& bench) const;
  // The step at which the present stage's benches are run: of its last checkpoint; 0: the stage is complete.
  int64_t bench_run_step() const;
  // The checkpoint that the present stage (re)starts from; empty: the job's base model. `resume`: it is a mid-stage one
  // of the same stage.
  std::string train_from(bool* resume) const;
  int stage_index(const std::string& name) const;  // in `plan`; -1: none
};

// --- events
struct Submitted {
  int64_t unix_ms = 0;
};
struct Scheduled {
  int64_t unix_ms = 0;
  int world = 0;      // ranks that there are slots for; 0: all that it wants
  int world_max = 0;  // that it wants
};
struct Prepared {
  Status status;
  std::string prepared_json;
};
struct GangLaunched {
  uint32_t attempt = 0;
  GangRecord record;
};
struct GangUp {
  uint32_t attempt = 0;
};  // every rank said hello
struct CheckpointCommitted {
  uint32_t attempt = 0;
  std::string stage;
  int64_t step = 0;
  std::string name;
  bool stage_complete = false;
  std::vector<int64_t> gave_way{};  // of this attempt, those already known among them
};
struct TaskFinished {
  uint32_t attempt = 0;
  std::string kind, stage, bench;
};  // every rank finished it ok
struct BenchScored {
  std::string stage, bench;
  Status status;
  std::string gate;  // which of the stage's gates its benches did not pass, and the report's address; empty: none
  int64_t step = 0;  // of the checkpoint, during the stage; 0: after it
};
struct GangLost {
  uint32_t attempt = 0;
  std::string reason;
  RetryClass retry = RetryClass::kNewAttempt;
};
struct CancelRequested {
  std::string reason;
};
// Another job gets its slots. Nothing happens to a job that holds none, or only has its report to write.
struct Preempted {
  std::string by;
};
// The cluster's own scheduler takes the gang's hosts back, or has. The job goes back to the queue, as one that makes room.
struct HostsWithdrawn {
  uint32_t attempt = 0;
  std::string reason;
};
// Nothing happens to a job that ends or only has its report to write.
struct PauseRequested {};
struct ResumeRequested {
  int64_t unix_ms = 0;
};
// It held its slots for its time limit. It fails.
struct TimeLimitReached {};
// Slots are free that nobody waits for: the gang commits a checkpoint and the next attempt has `world` ranks. Only a gang
// that is up and has work is given more.
struct ResizeRequested {
  int world = 0;
  int world_before = 0;
};
// A job that it runs after did not end well. Only a queued job fails of it.
struct DependencyFailed {
  std::string reason;
};
struct GangEnded {
  uint32_t attempt = 0;
  int64_t unix_ms = 0;
};  // no process of it is left
struct ReportWritten {
  Status status;
};
struct BackoffElapsed {
  uint32_t attempt = 0;  // after which the wait began
  int world = 0;         // of an elastic job: ranks that there are slots for, if fewer than it had; 0: as before
};
// What may be another when a job goes on; recipes::continues says so of the recipe, which the state machine does not read.
struct GangChange {
  std::string recipe_json;
  int world = 1;
  int world_min = 1;
  int max_restarts = 3;
};
// The first event after a load. No process of an earlier attempt is left, unless the gang was adopted: then it goes on, and
// `change` is empty.
struct CoordinatorRestarted {
  std::optional<GangChange> change{};
  bool adopted = false;
  int world = 0;  // as in BackoffElapsed; of a gang that is not adopted
};

using Event = std::variant<Submitted, Scheduled, Prepared, GangLaunched, GangUp, CheckpointCommitted, TaskFinished,
                           BenchScored, GangLost, CancelRequested, Preempted, HostsWithdrawn, PauseRequested,
                           ResumeRequested, TimeLimitReached, ResizeRequested, DependencyFailed, GangEnded,
                           ReportWritten, BackoffElapsed, CoordinatorRestarted>;
std::string_view event_name(const Event& event);
// "bench b after stage s", "bench b at step 20 of stage s"
std::string run_text(const BenchScored& event);
std::string describe(const Event& event);  // one line for people and the journal

// --- actions
struct Prepare {};
struct LaunchGang {
  uint32_t attempt = 0;
  int world = 1;
};
struct SendTrain {
  int stage = 0;
  std::string checkpoint;
  int64_t start_step = 0;
  bool resume = false;
};  // checkpoint empty: base model
struct SendEvaluate {
  int stage = 0;
  std::string bench, checkpoint;
  int64_t step = 0;  // as BenchScored::step
};
struct StopGang {
  std::string reason;
  bool may_commit = false;  // it is given the time to write a checkpoint
};                          // ask, then kill
struct KillGang {
  std::string reason;
};
struct ScoreBench {
  int stage = 0;
  std::string bench, checkpoint;
  int64_t step = 0;  // as BenchScored::step
};
struct WriteReport {
  bool final = false;
};  // only a final one is answered by ReportWritten
struct StartBackoff {
  int64_t ms = 0;
  uint32_t attempt = 0;
};
struct NotifyDone {};

using Action = std::variant<Prepare, LaunchGang, SendTrain, SendEvaluate, StopGang, KillGang, ScoreBench, WriteReport,
                            StartBackoff, NotifyDone>;
std::string_view action_name(const Action& action);

struct Transition {
  JobState state;
  std::vector<Action> actions;
  bool changed = false;  // false: the event was stale or made no difference; nothing needs to be written
};

// What is to be done for state.work, of a gang that is up or is scored; nothing for Work::kNone.
std::optional<Action> work_action(const JobState& state);

// Whether a coordinator that restarts may take the job's gang back: it is up, and nothing wants it ended.
bool may_adopt(const JobState& state);

// Total: every event is accepted in every state; one that does not fit changes nothing.
Transition transition(const JobState& state, const Event& event);

// 200 ms, 400 ms, ... up to 10 s for the `n`-th restart in a row, n from 1.
int64_t backoff_ms(int n);

}  // namespace tephra::coordinator
