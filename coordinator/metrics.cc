#include "coordinator/metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/log.h"
#include "base/version.h"

namespace tephra::coordinator {
namespace {

constexpr std::chrono::seconds kStatAge{15};

std::vector<double> http_bounds() { return {0.001, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}; }

void add_jobs(PrometheusText& text, const Workload& load, int slots) {
  text.begin("tephra_jobs", "gauge", "Jobs in each phase.");
  for (int i = 1;; ++i) {
    const auto phase = static_cast<Phase>(i);
    if (phase_name(phase) == "?") break;
    const auto found = load.jobs.find(phase);
    text.sample({{"phase", std::string(phase_name(phase))}},
                found == load.jobs.end() ? 0 : static_cast<double>(found->second));
  }
  text.begin("tephra_slots", "gauge", "Compute threads that gangs may use together.");
  text.sample({}, slots);
  text.begin("tephra_slots_used", "gauge", "Compute threads of the jobs that run.");
  text.sample({}, load.slots_used);
  text.begin("tephra_queue_decision_seconds", "gauge", "What the queue's last decision took.");
  text.sample({}, load.decision_seconds);
}

// One metric of the running jobs' last steps.
void add_progress(PrometheusText& text, const Workload& load, std::string_view name, std::string_view help,
                  double (*value)(const cluster::StepProgress&)) {
  text.begin(name, "gauge", help);
  for (const JobView& job : load.running)
    if (job.step) text.sample({{"job", job.state.id}, {"stage", job.step->stage}}, value(*job.step));
}

void add_running(PrometheusText& text, const Workload& load) {
  add_progress(text, load, "tephra_job_step", "Optimizer steps done in the present stage.",
               [](const cluster::StepProgress& step) { return static_cast<double>(step.step); });
  add_progress(text, load, "tephra_job_loss", "Loss of the last step.",
               [](const cluster::StepProgress& step) { return step.loss; });
  add_progress(text, load, "tephra_job_tokens_per_second", "Tokens a second in the last step.",
               [](const cluster::StepProgress& step) { return step.tokens_per_second; });
  text.begin("tephra_rank_heartbeat_age_seconds", "gauge", "Time since a rank's last heartbeat.");
  for (const JobView& job : load.running)
    for (const RankView& rank : job.ranks)
      if (rank.heartbeat_age_ms >= 0)
        text.sample({{"job", job.state.id}, {"rank", std::to_string(rank.rank)}},
                    static_cast<double>(rank.heartbeat_age_ms) / 1000);
}

double open_files() {
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  int count = -3;  // ".", "..", and the folder itself
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

double resident_bytes() {
  std::ifstream in("/proc/self/statm");
  double pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

void add_process(PrometheusText& text) {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  text.begin("process_cpu_seconds_total", "counter", "User and system time of the coordinator's process.");
  text.sample({}, seconds(used.ru_utime) + seconds(used.ru_stime));
  text.begin("process_resident_memory_bytes", "gauge", "Resident memory of the coordinator's process.");
  text.sample({}, resident_bytes());
  text.begin("process_open_fds", "gauge", "Open file descriptors of the coordinator's process.");
  text.sample({}, open_files());
}

void add_store(PrometheusText& text, const storage::StoreStat& stat) {
  text.begin("tephra_store_bytes", "gauge",
             "Bytes of committed packs (physical), and of all checkpoints as if each were whole.");
  text.sample({{"kind", "physical"}}, static_cast<double>(stat.physical_bytes));
  text.sample({{"kind", "logical"}}, static_cast<double>(stat.logical_bytes));
  text.begin("tephra_store_checkpoints", "gauge", "Committed checkpoints.");
  text.sample({}, static_cast<double>(stat.checkpoint_count));
  text.begin("tephra_store_chunks", "gauge", "Chunks in the index.");
  text.sample({}, static_cast<double>(stat.chunk_count));
}

}  // namespace

Metrics::Metrics(Coordinator& coordinator) : state_(std::make_shared<State>()) {
  coordinator.subscribe("",
                        [state = state_, &coordinator](const JobEvent& event) { count(*state, event, coordinator); });
}

void Metrics::count(State& state, const JobEvent& event, Coordinator& coordinator) {
  double waited = -1;
  if (event.kind == JobEvent::Kind::kState && event.phase == Phase::kPreparing) {
    const Result<JobView> job = coordinator.get(event.job);
    if (job.ok()) waited = static_cast<double>(job->state.started_unix_ms - job->state.submitted_unix_ms) / 1000;
  }
  std::lock_guard lock(state.mutex);
  switch (event.kind) {
    case JobEvent::Kind::kStep: ++state.steps; break;
    case JobEvent::Kind::kCheckpoint:
      ++state.checkpoints;
      state.checkpoint_bytes += event.commit_bytes;
      state.commit_seconds.add(event.commit_seconds);
      break;
    case JobEvent::Kind::kState:
      if (waited >= 0) state.queue_seconds.add(waited);
      if (is_final(event.phase)) ++state.finished[std::string(phase_name(event.phase))];
      break;
    case JobEvent::Kind::kRestart:
      if (event.message.starts_with("starting attempt")) ++state.restarts;
      break;
    default: break;
  }
}

void Metrics::http(const std::string& operation, int status, double seconds) {
  std::lock_guard lock(state_->mutex);
  ++state_->http_requests[{operation, status}];
  state_->http_seconds.try_emplace(operation, http_bounds()).first->second.add(seconds);
}

storage::StoreStat Metrics::store_stat(Coordinator& coordinator) const {
  const auto now = std::chrono::steady_clock::now();
  {
    std::lock_guard lock(state_->mutex);
    if (state_->stat_at != std::chrono::steady_clock::time_point{} && now - state_->stat_at < kStatAge)
      return state_->stat;
    state_->stat_at = now;  // others are given the old figures while these are counted
  }
  const Result<storage::StoreStat> stat = coordinator.store().stat();
  if (!stat.ok()) log::warning("the store's sizes are not known", {{"reason", stat.status().message()}});
  std::lock_guard lock(state_->mutex);
  if (stat.ok()) state_->stat = *stat;
  return state_->stat;
}

void Metrics::add_counters(PrometheusText& text) const {
  std::lock_guard lock(state_->mutex);
  const State& s = *state_;
  const auto counter = [&text](std::string_view name, std::string_view help, uint64_t value) {
    text.begin(name, "counter", help);
    text.sample({}, static_cast<double>(value));
  };
  counter("tephra_steps_total", "Optimizer steps of all jobs.", s.steps);
  counter("tephra_restarts_total", "Attempts that were started after one was lost.", s.restarts);
  counter("tephra_checkpoints_total", "Checkpoints committed.", s.checkpoints);
  counter("tephra_checkpoint_bytes_total", "Bytes that committed checkpoints added to the store.", s.checkpoint_bytes);
  text.begin("tephra_jobs_finished_total", "counter", "Jobs that ended, by how.");
  for (const auto& [phase, count] : s.finished) text.sample({{"phase", phase}}, static_cast<double>(count));
  text.begin("tephra_job_queue_seconds", "histogram", "Time from a job's submission to its start.");
  text.sample({}, s.queue_seconds);
  text.begin("tephra_checkpoint_commit_seconds", "histogram", "Time that the commit of a checkpoint took.");
  text.sample({}, s.commit_seconds);
  text.begin("tephra_http_requests_total", "counter", "HTTP requests answered.");
  for (const auto& [key, count] : s.http_requests)
    text.sample({{"operation", key.first}, {"code", std::to_string(key.second)}}, static_cast<double>(count));
  text.begin("tephra_http_request_duration_seconds", "histogram",
             "Time in which the answer to an HTTP request was made.");
  for (const auto& [operation, histogram] : s.http_seconds) text.sample({{"operation", operation}}, histogram);
}

std::string Metrics::text(Coordinator& coordinator) const {
  PrometheusText text;
  text.begin("tephra_build_info", "gauge", "The build; its value is always 1.");
  text.sample({{"version", std::string(kVersion)}}, 1);
  const Workload load = coordinator.workload();
  add_jobs(text, load, coordinator.slots());
  add_running(text, load);
  add_counters(text);
  add_store(text, store_stat(coordinator));
  add_process(text);
  return text.text();
}

}  // namespace tephra::coordinator
