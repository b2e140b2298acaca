// How a coordinator starts, and what it makes of the jobs and gangs that an earlier one left.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "base/env.h"
#include "base/log.h"
#include "base/memory.h"
#include "cluster/hosts.h"
#include "coordinator/api.h"
#include "coordinator/coordinator_impl.h"
#include "coordinator/rpc_address.h"
#include "coordinator/slot_history.h"
#include "coordinator/tokens.h"
#include "storage/pack.h"

namespace tephra::coordinator {
namespace {

constexpr int kPoolThreads = 4;

int machine_slots() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

}  // namespace

Status make_store_folder(const std::string& store_dir) {
  Status made = Env::posix().make_directories(store_dir);
  if (made.ok()) return made;
  return {made.code(), made.retry_class(), made.message() + "; name a store folder that can be made and written"};
}

CoordinatorImpl::CoordinatorImpl(Options options)
    : options_(std::move(options)), pool_(kPoolThreads), preparations_(pool_) {
  if (options_.memory_bytes <= 0 && options_.launcher == "local") options_.memory_bytes = machine_memory_bytes();
}

Status CoordinatorImpl::open() {
  Env& env = Env::posix();
  if (options_.tokens_file.empty()) options_.tokens_file = tokens_path(options_.store_dir);
  if (options_.http_port >= 0 && !TokenCheck(options_.token, options_.tokens_file).required() &&
      !cluster::is_loopback(options_.http_host))
    return {Code::kInvalidArgument,
            "listening on " + options_.http_host +
                " without a token would let anyone on the network run jobs; give a token, or listen on 127.0.0.1"};
  TEPHRA_RETURN_IF_ERROR(make_store_folder(options_.store_dir));
  // Absolute: ranks run in folders of their own.
  if (char* resolved = realpath(options_.store_dir.c_str(), nullptr)) {
    options_.store_dir = resolved;
    std::free(resolved);
  }
  // For whoever finds the store in use; with port 0 the url is in server.json.
  const std::string url = options_.http_port > 0 ? (options_.tls_certificate.empty() ? "http://" : "https://") +
                                                       options_.http_host + ":" + std::to_string(options_.http_port)
                                                 : "";
  TEPHRA_ASSIGN_OR_RETURN(store_, storage::Store::open(env, options_.store_dir, storage::OpenMode::kReadWrite, url));
  journal_ = std::make_unique<Journal>(*store_);
  readiness_ = std::make_unique<Readiness>(*store_, options_);
  TEPHRA_RETURN_IF_ERROR(open_launcher());
  cluster::RpcServer::Handlers handlers;
  handlers.on_message = [this](cluster::ConnectionId id, cluster::RankMessage message) {
    dispatcher_.post([this, id, message = std::move(message)]() mutable { rank_said(id, std::move(message)); });
  };
  handlers.on_closed = [this](cluster::ConnectionId id, const Status& reason) {
    dispatcher_.post([this, id, reason] { rank_left(id, reason); });
  };
  TEPHRA_ASSIGN_OR_RETURN(rpc_, cluster::RpcServer::start(options_.rpc_host, 0, std::move(handlers)));
  services_ = {&options_,
               &dispatcher_,
               &pool_,
               &preparations_,
               store_.get(),
               journal_.get(),
               launcher_.get(),
               rpc_.get(),
               [this](JobEvent event) { publish(std::move(event)); },
               [this](const std::string& job) { changed(job); },
               [this](const JobRunner& runner) { return queue_->ranks_left(runner.state(), unfinished_); }};
  TEPHRA_RETURN_IF_ERROR(open_http());
  TEPHRA_RETURN_IF_ERROR(load_jobs());
  if (!options_.webhook.url.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(webhook_, Webhook::start(*this, options_.webhook));
  }
  return ok_status();
}

Status CoordinatorImpl::open_launcher() {
  for (const JudgeEndpoint& judge : options_.judges.endpoints)
    if (!judge.key_env.empty()) options_.launching.withheld.push_back(judge.key_env);
  TEPHRA_ASSIGN_OR_RETURN(launcher_, cluster::make_launcher(options_.launcher, options_.launching));
  if (options_.slots <= 0) options_.slots = launcher_->slots();
  if (options_.slots <= 0) options_.slots = machine_slots();
  queue_ = std::make_unique<JobQueue>(SchedulerOptions{.slots = options_.slots}, *options_.clock,
                                      [this] { return launcher_->lost_slots(); });
  if (options_.launching.network.empty()) return ok_status();
  TEPHRA_ASSIGN_OR_RETURN(options_.rpc_host, cluster::address_on(options_.launching.network));
  return ok_status();
}

Status CoordinatorImpl::open_http() {
  if (options_.http_port < 0) return ok_status();
  TEPHRA_ASSIGN_OR_RETURN(cluster::HttpHandler api,
                          make_api(*this, {options_.token, options_.tokens_file, options_.store_dir + "/audit.jsonl",
                                           options_.requests_per_second}));
  TEPHRA_ASSIGN_OR_RETURN(
      http_, cluster::HttpServer::start(options_.http_host, static_cast<uint16_t>(options_.http_port), std::move(api),
                                        {}, {options_.tls_certificate, options_.tls_key}));
  return ok_status();
}

// The gang that a killed coordinator left of the job, if it still runs and goes on; nullptr: it does not, and no process of
// it is left.
Result<std::shared_ptr<cluster::Gang>> CoordinatorImpl::take_back(const JournaledJob& job, bool changes) {
  const GangRecord& record = job.state.gang_record;
  std::shared_ptr<cluster::Gang> none;
  if (record.pid == 0) return none;
  // What launched it need not be the present launcher.
  std::unique_ptr<cluster::Launcher> other;
  if (record.launcher != options_.launcher) {
    cluster::LauncherOptions launching = options_.launching;
    if (launching.hosts_file.empty()) launching.hosts_file = record.log_dir + "/hosts";  // the gang's own places
    auto made = cluster::make_launcher(record.launcher, launching);
    if (!made.ok())
      return made.status().with_context("ending its gang, which the launcher " + record.launcher + " started");
    other = std::move(made).value();
  }
  const cluster::GangIdentity identity{record.pid, record.start_ticks, record.marker, record.log_dir, record.launcher};
  Result<std::unique_ptr<cluster::Gang>> gang = (other ? *other : *launcher_).adopt(identity);
  if (!gang.ok() && gang.status().code() == Code::kNotFound) return none;
  if (!gang.ok()) return gang.status();
  const Result<recipes::Recipe> recipe = recipes::from_json(job.state.recipe_json);
  if (!changes && other == nullptr && may_adopt(job.state) && recipe.ok() && recipe->gang.reattach_s > 0)
    return std::shared_ptr<cluster::Gang>(std::move(gang).value());
  log::warning("ending a gang that an earlier coordinator left", {{"job", job.state.id}, {"pid", record.pid}});
  TEPHRA_RETURN_IF_ERROR((*gang)->kill_hard());
  return none;
}

// By job id; at most one.
Result<std::map<std::string, GangChange>> CoordinatorImpl::gang_changes(const std::vector<JournaledJob>& jobs) const {
  std::map<std::string, GangChange> changes;
  if (options_.goes_on_with.empty()) return changes;
  TEPHRA_ASSIGN_OR_RETURN(const recipes::Recipe wanted, recipes::from_json(options_.goes_on_with));
  for (const JournaledJob& job : jobs) {
    if (is_final(job.state.phase)) continue;
    const Result<recipes::Recipe> recipe = recipes::from_json(job.state.recipe_json);
    if (!recipe.ok() || !recipes::continues(*recipe, wanted)) continue;
    if (job.state.recipe_json == options_.goes_on_with) break;
    TEPHRA_RETURN_IF_ERROR(check_slots(wanted));
    const JobState state = state_for(wanted, options_.goes_on_with, "");
    changes[job.state.id] = {state.recipe_json, state.world, state.world_min, state.max_restarts};
    break;
  }
  return changes;
}

// Of any job that there is.
void CoordinatorImpl::add(JobEntry entry) {
  order_ = std::max(order_, entry.order);
  const size_t dash = entry.id.rfind('-');
  uint64_t& counter = counters_[entry.id.substr(0, dash)];
  counter = std::max(counter, static_cast<uint64_t>(std::strtoull(entry.id.c_str() + dash + 1, nullptr, 10)));
  jobs_.add(std::move(entry));
}

void CoordinatorImpl::load_job(JournaledJob job, const std::map<std::string, GangChange>& changes) {
  const auto change = changes.find(job.state.id);
  Result<recipes::Recipe> read =
      recipes::from_json(change == changes.end() ? job.state.recipe_json : change->second.recipe_json);
  auto recipe = std::make_shared<const recipes::Recipe>();
  if (!read.ok()) {
    job.state.failing = true;  // the state machine ends it
    job.state.reason = "this build does not read the job's recipe: " + read.status().message();
  } else {
    recipe = std::make_shared<const recipes::Recipe>(std::move(read).value());
  }
  auto runner = std::make_shared<JobRunner>(services_, std::move(job), std::move(recipe));
  unfinished_.push_back(runner);
  add(live_entry(runner));
}

Status CoordinatorImpl::load_jobs() {
  std::vector<JobEntry> ended;
  std::map<std::string, SubmittedOnce> keys;
  const auto note_key = [&](const JobState& state) {
    if (!state.submit_key.empty()) keys[state.submit_key] = {state.id, state.submit_hash};
  };
  const auto take_ended = [&](const JournaledJob& job) {
    ended.push_back(ended_entry(job.state, job.order));
    note_key(job.state);
    return recall_usage(job);
  };
  TEPHRA_ASSIGN_OR_RETURN(std::vector<JournaledJob> jobs, journal_->load_unfinished(take_ended));
  std::sort(ended.begin(), ended.end(), [](const JobEntry& a, const JobEntry& b) { return a.order < b.order; });
  TEPHRA_ASSIGN_OR_RETURN(const auto changes, gang_changes(jobs));
  std::map<std::string, std::shared_ptr<cluster::Gang>> adopted;
  std::set<std::string> leased;
  for (const JournaledJob& job : jobs) {
    note_key(job.state);
    TEPHRA_RETURN_IF_ERROR(recall_usage(job));
    auto gang = take_back(job, changes.contains(job.state.id));
    if (!gang.ok()) return gang.status().with_context("job " + job.state.id);
    if (*gang == nullptr) continue;
    adopted[job.state.id] = std::move(gang).value();
    leased.insert(storage::pack_prefix(job.state.id, job.state.attempt));
  }
  TEPHRA_ASSIGN_OR_RETURN(const std::vector<storage::Lease> leases, store_->leases());
  for (const storage::Lease& lease : leases)
    if (!leased.contains(lease.pack_prefix)) TEPHRA_RETURN_IF_ERROR(store_->release_lease(lease.pack_prefix));
  dispatcher_.call([&] {
    by_submit_key_.merge(keys);
    auto next = ended.begin();
    for (JournaledJob& job : jobs) {
      for (; next != ended.end() && next->order < job.order; ++next) add(std::move(*next));
      load_job(std::move(job), changes);
    }
    for (; next != ended.end(); ++next) add(std::move(*next));
    for (const auto& runner : std::vector(unfinished_)) {
      const auto change = changes.find(runner->state().id);
      const auto gang = adopted.find(runner->state().id);
      if (gang != adopted.end()) runner->adopt(gang->second);
      CoordinatorRestarted restarted{.adopted = gang != adopted.end()};
      if (change != changes.end()) restarted.change = change->second;
      restarted.world = fewer_ranks(runner->state(), restarted);
      runner->handle(std::move(restarted));
    }
    schedule_soon();
  });
  // Now: who comes back is known.
  return write_file_atomic(Env::posix(), rpc_address_path(options_.store_dir),
                           rpc_address(options_.rpc_host, rpc_->port()) + "\n");
}

// What a user's job held before this start, as far back as it counts.
Status CoordinatorImpl::recall_usage(const JournaledJob& job) {
  const int64_t now = options_.clock->unix_ms();
  UsageBook& usage = queue_->usage();
  const JobState& state = job.state;
  if (is_final(state.phase) && state.finished_unix_ms < now - usage.memory_ms()) return ok_status();
  std::vector<SlotStretch> stretches;
  if (record_tells_slots(state)) {
    stretches = slot_stretches(state, now);
  } else {
    TEPHRA_ASSIGN_OR_RETURN(const std::vector<JournaledEvent> events, journal_->events(state.id));
    stretches = slot_stretches(state, events, now);
  }
  for (const SlotStretch& stretch : stretches)
    usage.recall(state.user, stretch.slots, now - stretch.from_unix_ms, now - stretch.to_unix_ms);
  return ok_status();
}

// Of an elastic job that starts again: those that there are slots for, if fewer than it would have; else 0.
int CoordinatorImpl::fewer_ranks(JobState state, const CoordinatorRestarted& restarted) const {
  if (restarted.adopted || !holds_slots(state.phase)) return 0;
  if (restarted.change.has_value()) {
    state.world = state.world_max = restarted.change->world;
    state.world_min = restarted.change->world_min;
    state.yield = Yield::kNone;
  }
  const int ranks = queue_->ranks_left(state, unfinished_);
  return ranks * state.threads_per_rank < state.slots() ? ranks : 0;
}

}  // namespace tephra::coordinator
