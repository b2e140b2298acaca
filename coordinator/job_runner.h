// Drives one job: feeds events to the state machine one at a time, makes each step durable, then carries its actions
// out (job_runner.cc; about its gang job_gang.cc, what ranks say job_ranks.cc, checkpoints job_checkpoints.cc, benches
// job_scoring.cc). Threading: everything on the dispatcher thread, except what its methods post to the pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/threads.h"
#include "coordinator/checkpoint_commit.h"
#include "coordinator/gang_session.h"
#include "coordinator/job_files.h"
#include "coordinator/journal.h"
#include "coordinator/preparation.h"
#include "recipes/recipe.h"
#include "storage/handover.h"

namespace tephra::coordinator {

class JobRunner;

// What all jobs share. Outlives the runners.
struct Services {
  const Options* options = nullptr;
  Dispatcher* dispatcher = nullptr;
  BlockingPool* pool = nullptr;
  Lane* preparations = nullptr;  // one preparation at a time
  storage::Store* store = nullptr;
  Journal* journal = nullptr;
  cluster::Launcher* launcher = nullptr;
  cluster::RpcServer* rpc = nullptr;
  std::function<void(JobEvent)> publish;                  // fills in sequence and time
  std::function<void(const std::string& job)> on_change;  // after each durable step: the scheduler looks again
  std::function<int(const JobRunner&)> ranks_left;  // that there are slots for beside the others; see most_that_fits()
};

// Why there is no flight of a job, and no rank of it is taken.
Status no_ranks_run(const std::string& job, Phase phase, uint32_t attempt);
Status no_gang(const std::string& job);

class JobRunner : public std::enable_shared_from_this<JobRunner> {
 public:
  // Of a job that has not ended.
  JobRunner(Services& services, JournaledJob job, std::shared_ptr<const recipes::Recipe> recipe);

  const JobState& state() const { return job_.state; }
  uint64_t order() const { return job_.order; }     // of submission
  bool durable() const { return job_.events > 0; }  // its submission is journaled
  JobView view() const;
  bool journaled() const { return !broken_; }  // its state is what the journal has
  // Moments that the state has by the wall clock, by one that does not jump; of an earlier coordinator's, as near as the
  // wall clock tells.
  SteadyTime queued_at() const { return queued_at_; }  // last put in the queue
  SteadyTime slots_at() const { return slots_at_; }    // last given slots
  // Whether an elastic gang may be given more ranks now: it has work, and has had its ranks for gang.resize_after_s.
  bool may_grow() const;

  // Queues an event. `durable`, if any, is called when it was processed: with the journal's error, or ok.
  void handle(Event event, std::function<void(const Status&)> durable = nullptr);

  // Takes back the gang of an earlier coordinator; before the first event, CoordinatorRestarted{.adopted = true}.
  void adopt(std::shared_ptr<cluster::Gang> gang);

  Status hello(cluster::ConnectionId connection, const cluster::Hello& hello);
  void message(int rank, uint32_t attempt, const cluster::RankMessage& message);
  void connection_closed(int rank, uint32_t attempt, const Status& reason);

  // The ranks' flights, as Coordinator::flights().
  void ask_flights(uint32_t records_max, const std::function<void(Result<GangFlight>)>& done);

  // Stops the gang without an event, so that the journal says what to go on with; `ended` is called when no process is
  // left.
  void shut_down(std::function<void()> ended);

 private:
  struct CheckpointKey {
    std::string stage;
    int64_t step = 0;
    auto operator<=>(const CheckpointKey&) const = default;
  };
  struct Pending {
    Event event;
    std::optional<CommitRequest> commit{};  // with a CheckpointCommitted: it happens when the store says so
    std::function<void(const Status&)> durable{};
    double commit_seconds = 0;
    uint64_t commit_bytes = 0;
  };

  void next();
  void process(Pending pending);
  void commit(Pending pending, Transition transition);
  void applied(JournaledJob job, const Pending& pending, const std::vector<Action>& actions);
  void journal_failed(const Pending& pending, const Status& status);
  void tell(const JobState& before, const Pending& pending);

  void act(const Prepare&);
  void act(const LaunchGang&);
  void act(const SendTrain&);
  void act(const SendEvaluate&);
  void act(const StopGang&);
  void act(const KillGang&);
  void act(const ScoreBench&);
  void tell_tensorboard(const std::string& stage, int64_t step, const eval::BenchResult& result) const;
  void publish_judging(const std::string& stage, const std::string& bench, const JudgeProgress& judged);
  std::string pass_gates(const JobState& state, const std::string& stage, const std::string& bench,
                         const std::string& checkpoint) const;
  void act(const WriteReport&);
  void act(const StartBackoff&);
  void act(const NotifyDone&);

  // `use`: what the checkpoint is for, which decides what has to agree.
  void send_task(cluster::Task task, std::string checkpoint, std::string options_json, storage::HandoverUse use);
  void tend(const std::string& stage_name);
  void collect_garbage(bool now_or_never);
  void publish_line(log::Level level, const std::string& line);
  SteadyTime moment_of(int64_t unix_ms) const;
  void note_times(const JobState& before, const Event& event);
  void watch_time_limit();
  void watch_growth();
  void shard_written(int rank, const cluster::ShardWritten& shard);
  void stepped(const cluster::StepProgress& step);
  void answered(cluster::Answers answers);
  void logged(int rank, const cluster::Log& log);
  void task_done();
  void file_flights(GangFlight gang);
  void gang_up(uint32_t attempt);
  void gang_ended(uint32_t attempt);
  GangSessionOptions session_options() const;
  void make_session(GangSessionOptions gang);
  const std::string& stage_name() const { return job_.state.plan[job_.state.stage].name; }
  std::string task_options(int stage, const std::string& bench, int64_t bench_step, bool resume) const;
  std::string answers_path() const;  // of the bench that is being run
  JobEvent make_event(JobEvent::Kind kind, std::string message) const;

  Services& services_;
  JournaledJob job_;
  const std::string job_id_;
  const std::shared_ptr<const recipes::Recipe> shared_recipe_;
  const recipes::Recipe& recipe_;
  PreparedJob prepared_;
  const JobFiles files_;
  Lane lane_;                 // of the job's files, in order
  std::list<Pending> inbox_;  // takes no memory while it is empty
  bool busy_ = false;
  bool broken_ = false;  // the journal failed: nothing more is done with the job
  bool shut_ = false;
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);

  std::shared_ptr<GangSession> gang_;
  bool adopted_ = false;                      // gang_ is an earlier coordinator's
  std::pair<int, int64_t> last_step_{-1, 0};  // stage and step of the newest that metrics.jsonl has
  std::set<std::string> known_answers_;       // ids of the bench's questions that an earlier coordinator wrote down
  uint32_t ended_attempt_ = 0;
  std::function<void()> shut_ended_;
  std::map<CheckpointKey, std::vector<std::optional<cluster::ShardWritten>>> shards_;
  std::string task_input_;  // checkpoint that the running training task started from
  std::optional<cluster::StepProgress> step_;
  double step_seconds_ = 0;  // smoothed
  int64_t answers_ = 0;
  bool report_written_ = false;
  SteadyTime queued_at_{}, slots_at_{};
  SteadyTime world_since_{};  // when the gang was given its ranks
  uint64_t stretch_ = 0;      // on the slots; of one coordinator
  // On the lane only.
  bool garbage_ = false;  // checkpoints were removed whose bytes may still be there
  std::optional<SteadyTime> collected_at_;
};

}  // namespace tephra::coordinator
