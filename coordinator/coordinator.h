// The coordinator: takes recipes, runs each as a job on gangs of ranks, keeps what they make in the store, and survives
// being killed at any instant (the next one on the same store goes on from the last commit). `tephra run` embeds one;
// `tephra serve` is one.
//
// Threading: every method may be called from any thread except a subscriber's callback, where only get(), page(),
// workload() and cancel() may be. Job state lives on one dispatcher thread; disk work runs on a few blocking threads; RPC and HTTP
// have an io thread each.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "cluster/launcher.h"
#include "cluster/messages.h"
#include "coordinator/gang_flight.h"
#include "coordinator/job_state.h"
#include "coordinator/journal.h"
#include "coordinator/judge_policy.h"
#include "coordinator/webhook.h"

namespace tephra::storage {
class Store;
}

namespace tephra::coordinator {

struct Options {
  std::string store_dir;                // made when missing
  std::string worker_program;           // path of tephra-worker
  std::string rpc_host = "127.0.0.1";   // numeric address that ranks connect to; launching.network names another
  std::string http_host = "127.0.0.1";  // numeric address
  int http_port = -1;                   // -1: no HTTP; 0: a free port
  std::string token;                    // an admin's bearer token of the HTTP interface; empty: there is none
  std::string tokens_file;              // of tokens with roles (tokens.h); empty: STORE/tokens
  double requests_per_second = 1000;    // of one address, over HTTP
  // Folders that recipes sent over HTTP may name files in, but for an admin's; empty: any.
  std::vector<std::string> data_roots;
  JudgePolicy judges{};                  // of all recipes, whoever sends them
  std::string tls_certificate, tls_key;  // PEM files; empty: HTTP without TLS
  WebhookOptions webhook{};
  int slots = 0;             // compute threads that gangs may use together; 0: all that the launcher knows of
  int64_t memory_bytes = 0;  // that a gang may take; 0: the machine's, and not checked where ranks run on other hosts
  std::string launcher = "local";  // of gangs: local | hosts | slurm (docs/launchers.md)
  // For the launcher. With a `network` ranks connect to this machine's address there.
  cluster::LauncherOptions launching = {};
  // A resolved recipe, as JSON; may be empty. The oldest unfinished job that continues it (recipes::continues) goes on
  // with this one's gang and sharding.
  std::string goes_on_with;
  const Clock* clock = &Clock::system();
  std::chrono::milliseconds stop_grace{2000};         // between Stop and the kill
  std::chrono::milliseconds checkpoint_grace{60000};  // the same, of a gang that is to commit a checkpoint first
  std::chrono::milliseconds start_timeout{120000};    // from launch to the last rank's hello
};

// Something that happened, as it happens; what subscribers and the server-sent events get.
struct JobEvent {
  enum class Kind { kState = 1, kStep, kCheckpoint, kBenchProgress, kBenchResult, kRestart, kReport, kLog };
  Kind kind = Kind::kState;
  uint64_t sequence = 0;  // grows by one over all jobs of this coordinator process
  int64_t unix_ms = 0;
  std::string job;
  Phase phase = Phase::kQueued;  // of the job when the event was made
  uint32_t attempt = 0;
  std::string stage;
  std::string bench;
  std::string checkpoint;                // kCheckpoint: its name
  std::string message;                   // one line for people, always set
  cluster::StepProgress step;            // kStep
  double commit_seconds = 0;             // kCheckpoint: what its commit took
  uint64_t commit_bytes = 0;             // kCheckpoint: that it added to the store
  int64_t done = 0, total = 0;           // kBenchProgress: questions answered, of how many (0: not known)
  std::string result_json;               // kBenchResult: the bench's result document
  log::Level level = log::Level::kInfo;  // kLog
  int rank = -1;                         // kLog, -1: the coordinator itself
};
std::string_view kind_name(JobEvent::Kind kind);  // "state", "step", "checkpoint", "bench_progress", "bench_result",
                                                  // "restart", "report", "log"
std::string to_json(const JobEvent& event);       // one line

struct RankView {
  int rank = 0;
  int64_t pid = 0;
  std::string host;
  bool connected = false;
  cluster::Heartbeat heartbeat;   // the last one
  int64_t heartbeat_age_ms = -1;  // -1: none yet
};

// A job's durable state and what is known of it at this moment.
struct JobView {
  JobState state;
  int queue_position = 0;  // 1 is next; 0: not queued, or held back by a dependency
  std::string waits_for;  // why it waits, in the queue or for hosts that were asked for, for people; empty: it does not
  std::vector<RankView> ranks;
  std::optional<cluster::StepProgress> step;  // the last step of the present stage
  double eta_seconds = -1;                    // of the present stage's training; -1: not known
  int64_t answers = 0;                        // of the present bench
  std::string directory;                      // STORE/jobs/JOB
  std::string report_path;                    // of the HTML report; empty: not written yet
};
std::string to_json(const JobView& view, bool with_recipe);
// A job as its store has it: without what only its coordinator knows (ranks, the present step, its place in the queue).
JobView stored_view(JobState state, const std::string& store_dir);

// Which jobs, and how many of them.
struct JobQuery {
  std::vector<Phase> phases;        // empty: any
  std::string user, recipe;         // empty: any
  std::string text;                 // part of id, user or recipe's name, letters of either case; empty: any
  int64_t ended_since_unix_ms = 0;  // only jobs that ended then or later; 0: any
  bool newest_first = false;
  uint64_t after = 0;  // goes on behind the job of this number; 0: from the start
  size_t limit = 100;
};
JobQuery unfinished_jobs();  // all of them
struct JobPage {
  std::vector<JobView> jobs;
  uint64_t next = 0;  // `after` of the next page; 0: there is none
  uint64_t last = 0;  // number of the last job here
};

// A submission that may be sent again, because its answer was lost.
struct SubmitOnce {
  std::string key;           // empty: it is always a new job
  std::string request_hash;  // of what is submitted
};

// What all jobs together do.
struct Workload {
  std::map<Phase, int64_t> jobs;
  int slots_used = 0;
  double decision_seconds = 0;   // that the queue's last decision took
  std::vector<JobView> running;  // neither queued nor ended
};

struct ReadinessCheck {
  std::string name;  // "journal"
  Status status;
};

// With the folders above it. The error says what to do.
Status make_store_folder(const std::string& store_dir);

class Coordinator {
 public:
  // Opens the store, ends what is left of an earlier coordinator's gangs, loads the jobs and goes on with them.
  // kBusy: another process owns the store. kUnavailable: options.goes_on_with wants more slots than there are. kUnavailable: the HTTP port is taken. kInvalidArgument: non-loopback HTTP
  // without a token.
  static Result<std::unique_ptr<Coordinator>> start(Options options);
  virtual ~Coordinator() = default;  // shutdown()

  // `recipe_json`: recipes::to_json of a loaded recipe. Returns the job's id once it is durable. kInvalidArgument: a
  // recipe that does not hold, that names a judge which options().judges does not, or that runs after a job that does not exist; kUnavailable: it wants more slots or memory
  // than there are.
  // `once`: a key that an earlier job was submitted with gives that job's id again, also after a restart;
  // kAlreadyExists: that submission was another one; kBusy: it is not durable yet.
  virtual Result<std::string> submit(const std::string& recipe_json, const std::string& user,
                                     const SubmitOnce& once = {}) = 0;
  // Returns once the request is durable; the job ends a little later. Ok for a job that has ended already. kNotFound.
  virtual Status cancel(const std::string& job, const std::string& reason) = 0;
  // A job that runs commits a checkpoint, frees its slots and waits, over restarts of the coordinator too, until it is
  // resumed. Return once the request is durable; without effect on a job that has ended. kNotFound.
  virtual Status pause(const std::string& job) = 0;
  virtual Status resume(const std::string& job) = 0;
  // In order of submission. Of jobs that have ended, here and in get(), what is known is read from the journal: blocks on disk.
  // Without their recipes.
  virtual Result<JobPage> page(const JobQuery& query) const = 0;
  virtual Result<JobView> get(const std::string& job) const = 0;
  virtual Workload workload() const = 0;
  // Journaled events of a job with numbers above `after`, oldest first, at most `limit`. kNotFound. Blocks on disk.
  virtual Result<std::vector<JournaledEvent>> history(const std::string& job, uint64_t after, size_t limit) const = 0;
  virtual std::vector<ReadinessCheck> readiness() const = 0;  // blocks on disk

  // What the job's running ranks did last and do now, at most `records_max` finished operations of each. `done` is
  // called once, within about a second, on the dispatcher thread: it must be short and must not wait; not at all when
  // shutdown() comes first. kNotFound; kUnavailable: no ranks run; kBusy: too many ask at once; a rank that does not
  // answer is in the result without a flight.
  virtual void flights(const std::string& job, uint32_t records_max,
                       std::function<void(Result<GangFlight>)> done) const = 0;

  using Subscriber = std::function<void(const JobEvent&)>;
  // `job` empty: all jobs. The callback runs on the dispatcher thread, must be short and must not subscribe,
  // unsubscribe or wait.
  virtual uint64_t subscribe(const std::string& job, Subscriber subscriber) = 0;
  virtual void unsubscribe(uint64_t id) = 0;  // after it returns the callback is not running and will not run

  // The job's last state. kTimeout: it has not ended by then; kCancelled: shutdown() came first.
  virtual Result<JobState> wait(const std::string& job, Deadline deadline) = 0;

  // Stops gangs (Stop, grace, kill), keeps the jobs' states for the next start, closes HTTP and RPC and joins every
  // thread.
  virtual void shutdown() = 0;

  virtual int http_port() const = 0;  // -1: none
  virtual int slots() const = 0;
  virtual storage::Store& store() = 0;  // the one owner of the index; thread-safe as store.h says
  virtual const Options& options() const = 0;
};

}  // namespace tephra::coordinator
