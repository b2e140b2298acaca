#include "coordinator/coordinator.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "base/env.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/threads.h"
#include "cluster/hosts.h"
#include "cluster/http/http_server.h"
#include "coordinator/admission.h"
#include "coordinator/api.h"
#include "coordinator/awaited.h"
#include "coordinator/job_query.h"
#include "coordinator/job_queue.h"
#include "coordinator/job_runner.h"
#include "coordinator/readiness.h"
#include "coordinator/rpc_address.h"
#include "coordinator/slot_history.h"
#include "coordinator/tokens.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"
#include "storage/pack.h"

namespace tephra::coordinator {
namespace {

constexpr int kPoolThreads = 4;
constexpr std::chrono::milliseconds kScheduleEvery{20};
constexpr std::chrono::seconds kShutdownLimit{20};  // for gangs that would not die

int machine_slots() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

JobState state_for(const recipes::Recipe& recipe, const std::string& recipe_json, const std::string& user) {
  JobState state;
  state.user = user;
  state.recipe_json = recipe_json;
  state.recipe_name = recipe.name;
  state.world = state.world_max = static_cast<int>(recipe.gang.permitted_ranks().front());
  state.world_min = static_cast<int>(recipe.gang.permitted_ranks().back());
  state.threads_per_rank = static_cast<int>(recipe.gang.threads_per_rank);
  state.max_restarts = static_cast<int>(recipe.gang.max_restarts);
  state.priority = static_cast<int>(recipe.queue.priority);
  state.time_limit_ms = static_cast<int64_t>(recipe.queue.time_limit_s * 1000);
  state.after = recipe.queue.after;
  for (const recipes::StageRecipe& stage : recipe.stages)
    state.plan.push_back({stage.name, stage.init, stage.evaluate, recipe.benches_during(stage)});
  return state;
}

class CoordinatorImpl final : public Coordinator {
 public:
  explicit CoordinatorImpl(Options options) : options_(std::move(options)), pool_(kPoolThreads), preparations_(pool_) {
    if (options_.memory_bytes <= 0 && options_.launcher == "local") options_.memory_bytes = machine_memory_bytes();
  }
  ~CoordinatorImpl() override { shutdown(); }

  Status open();

  Result<std::string> submit(const std::string& recipe_json, const std::string& user, const SubmitOnce& once) override;
  Status cancel(const std::string& job, const std::string& reason) override {
    return request(job, CancelRequested{reason});
  }
  Status pause(const std::string& job) override { return request(job, PauseRequested{}); }
  Status resume(const std::string& job) override { return request(job, ResumeRequested{options_.clock->unix_ms()}); }
  std::vector<JobView> list() const override;
  JobPage page(const JobQuery& query) const override;
  Result<JobView> get(const std::string& job) const override;
  Workload workload() const override;
  Result<std::vector<JournaledEvent>> history(const std::string& job, uint64_t after, size_t limit) const override;
  std::vector<ReadinessCheck> readiness() const override { return readiness_->checks(); }
  void flights(const std::string& job, uint32_t records_max,
               std::function<void(Result<GangFlight>)> done) const override;
  uint64_t subscribe(const std::string& job, Subscriber subscriber) override;
  void unsubscribe(uint64_t id) override;
  Result<JobState> wait(const std::string& job, Deadline deadline) override;
  void shutdown() override;
  int http_port() const override { return http_ == nullptr ? -1 : http_->port(); }
  int slots() const override { return options_.slots; }
  storage::Store& store() override { return *store_; }
  const Options& options() const override { return options_; }

 private:
  struct Connection {
    std::string job;
    uint32_t attempt = 0;
    int rank = 0;
  };
  struct SubscriberEntry {
    std::string job;
    Subscriber call;
  };

  Status open_launcher();
  Status open_http();
  Result<std::shared_ptr<cluster::Gang>> take_back(const JournaledJob& job, bool changes);
  Status load_jobs();
  void load_job(JournaledJob job, const std::map<std::string, GangChange>& changes);
  Result<std::map<std::string, GangChange>> gang_changes(const std::vector<JournaledJob>& jobs) const;
  Status recall_usage(const std::vector<JournaledJob>& jobs);
  int fewer_ranks(JobState state, const CoordinatorRestarted& restarted) const;
  Status check_slots(const recipes::Recipe& recipe) const;
  Result<std::string> enqueue(const recipes::Recipe& recipe, JobState state,
                              std::function<void(const Status&)> durable);
  Result<std::string> submitted_before(const JobState& state) const;
  void rank_said(cluster::ConnectionId connection, cluster::RankMessage message);
  void rank_left(cluster::ConnectionId connection, const Status& reason);
  void schedule() const;
  void schedule_soon();
  void decide_now() const;
  void changed(const std::string& job);
  void publish(JobEvent event);
  Status request(const std::string& job, Event event);
  void stop_gangs();

  Options options_;
  mutable Dispatcher dispatcher_;
  BlockingPool pool_;
  Lane preparations_;
  std::unique_ptr<storage::Store> store_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<Readiness> readiness_;
  std::unique_ptr<cluster::Launcher> launcher_;
  std::unique_ptr<cluster::RpcServer> rpc_;
  std::unique_ptr<cluster::HttpServer> http_;
  std::unique_ptr<Webhook> webhook_;
  Services services_;

  // On the dispatcher thread only.
  std::vector<std::shared_ptr<JobRunner>> runners_;  // in order of submission
  std::map<std::string, std::shared_ptr<JobRunner>> by_id_;
  std::map<cluster::ConnectionId, Connection> connections_;
  // Those of runners_ that had not ended at the last schedule().
  mutable std::vector<std::shared_ptr<JobRunner>> unfinished_;
  std::unique_ptr<JobQueue> queue_;
  mutable bool schedule_due_ = false;
  mutable SteadyTime scheduled_at_{};
  std::map<std::string, uint64_t> counters_;  // of job ids, by recipe name
  std::map<std::string, std::shared_ptr<JobRunner>> by_submit_key_;
  uint64_t order_ = 0;
  bool stopping_ = false;

  std::mutex subscribers_mutex_;  // held while callbacks run, so that unsubscribe() waits for them
  std::map<uint64_t, SubscriberEntry> subscribers_;
  uint64_t next_subscriber_ = 1;
  uint64_t sequence_ = 0;

  std::mutex ended_mutex_;
  std::condition_variable ended_changed_;
  std::set<std::string> ended_;  // jobs that ended under this coordinator
  bool shut_ = false;
  std::mutex shutdown_mutex_;
  bool shutdown_done_ = false;
};

Status CoordinatorImpl::open() {
  Env& env = Env::posix();
  if (options_.tokens_file.empty()) options_.tokens_file = tokens_path(options_.store_dir);
  if (options_.http_port >= 0 && !TokenCheck(options_.token, options_.tokens_file).required() &&
      !cluster::is_loopback(options_.http_host))
    return {Code::kInvalidArgument,
            "listening on " + options_.http_host +
                " without a token would let anyone on the network run jobs; give a token, or listen on 127.0.0.1"};
  TEPHRA_RETURN_IF_ERROR(env.make_directories(options_.store_dir));
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

void CoordinatorImpl::load_job(JournaledJob job, const std::map<std::string, GangChange>& changes) {
  order_ = std::max(order_, job.order);
  const std::string id = job.state.id;
  const size_t dash = id.rfind('-');
  uint64_t& counter = counters_[id.substr(0, dash)];
  counter = std::max(counter, static_cast<uint64_t>(std::strtoull(id.c_str() + dash + 1, nullptr, 10)));
  const std::string submit_key = job.state.submit_key;
  const bool ended = is_final(job.state.phase);
  static const auto none = std::make_shared<const recipes::Recipe>();  // of a job that has ended: not needed any more
  std::shared_ptr<const recipes::Recipe> recipe = none;
  if (!ended) {
    const auto change = changes.find(id);
    Result<recipes::Recipe> read =
        recipes::from_json(change == changes.end() ? job.state.recipe_json : change->second.recipe_json);
    if (!read.ok()) {
      job.state.failing = true;  // the state machine ends it
      job.state.reason = "this build does not read the job's recipe: " + read.status().message();
    } else {
      recipe = std::make_shared<const recipes::Recipe>(std::move(read).value());
    }
  }
  auto runner = std::make_shared<JobRunner>(services_, std::move(job), std::move(recipe));
  runners_.push_back(runner);
  if (!ended) unfinished_.push_back(runner);
  by_id_[id] = runner;
  if (!submit_key.empty()) by_submit_key_[submit_key] = runner;
}

Status CoordinatorImpl::load_jobs() {
  TEPHRA_ASSIGN_OR_RETURN(std::vector<JournaledJob> jobs, journal_->load_brief());
  TEPHRA_ASSIGN_OR_RETURN(const auto changes, gang_changes(jobs));
  TEPHRA_RETURN_IF_ERROR(recall_usage(jobs));
  std::map<std::string, std::shared_ptr<cluster::Gang>> adopted;
  std::set<std::string> leased;
  for (const JournaledJob& job : jobs) {
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
    runners_.reserve(jobs.size());
    for (JournaledJob& job : jobs) load_job(std::move(job), changes);
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

// What users' jobs held before this start, as far back as it counts.
Status CoordinatorImpl::recall_usage(const std::vector<JournaledJob>& jobs) {
  const int64_t now = options_.clock->unix_ms();
  UsageBook& usage = queue_->usage();
  for (const JournaledJob& job : jobs) {
    const JobState& state = job.state;
    if (is_final(state.phase) && state.finished_unix_ms < now - usage.memory_ms()) continue;
    std::vector<SlotStretch> stretches;
    if (record_tells_slots(state)) {
      stretches = slot_stretches(state, now);
    } else {
      TEPHRA_ASSIGN_OR_RETURN(const std::vector<JournaledEvent> events, journal_->events(state.id));
      stretches = slot_stretches(state, events, now);
    }
    for (const SlotStretch& stretch : stretches)
      usage.recall(state.user, stretch.slots, now - stretch.from_unix_ms, now - stretch.to_unix_ms);
  }
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

Status CoordinatorImpl::check_slots(const recipes::Recipe& recipe) const {
  const int64_t least = recipe.gang.permitted_ranks().back();
  if (least * recipe.gang.threads_per_rank <= options_.slots || recipe.gang.oversubscribe) return ok_status();
  int64_t ranks = 1;
  while (ranks * 2 * recipe.gang.threads_per_rank <= options_.slots) ranks *= 2;
  return {Code::kUnavailable, "recipe wants " + std::string(least < recipe.gang.ranks ? "at least " : "") +
                                  std::to_string(least) + " ranks x " + std::to_string(recipe.gang.threads_per_rank) +
                                  " threads but this machine has " + std::to_string(options_.slots) +
                                  " slots; set gang.ranks" + (least < recipe.gang.ranks ? "_min: " : ": ") +
                                  std::to_string(ranks) + " or --set gang.oversubscribe=true"};
}

Result<std::string> CoordinatorImpl::submit(const std::string& recipe_json, const std::string& user,
                                            const SubmitOnce& once) {
  TEPHRA_ASSIGN_OR_RETURN(const recipes::Recipe recipe, recipes::from_json(recipe_json));
  if (const auto refused = check_judges(recipe, options_.judges); !refused.empty())
    return Status(Code::kInvalidArgument, to_string(refused));
  TEPHRA_RETURN_IF_ERROR(check_slots(recipe));
  TEPHRA_RETURN_IF_ERROR(check_memory(recipe, options_.memory_bytes));
  const auto durable = std::make_shared<Awaited>();
  JobState state = state_for(recipe, recipes::to_json(recipe), user);
  state.submit_key = once.key;
  state.submit_hash = once.request_hash;
  Result<std::string> id = Status(Code::kCancelled, "the coordinator is shutting down");
  bool before = false;
  dispatcher_.call([&] {
    before = !once.key.empty() && by_submit_key_.contains(once.key);
    if (before) {
      id = submitted_before(state);
      return;
    }
    id = enqueue(recipe, std::move(state), [durable](const Status& status) { durable->set(status); });
  });
  if (!id.ok() || before) return id;
  const Status status = durable->wait();
  if (status.ok()) return id;
  if (!once.key.empty()) dispatcher_.call([&] { by_submit_key_.erase(once.key); });
  return status;
}

Result<std::string> CoordinatorImpl::submitted_before(const JobState& state) const {
  const JobRunner& runner = *by_submit_key_.at(state.submit_key);
  if (runner.state().submit_hash != state.submit_hash)
    return Status(Code::kAlreadyExists,
                  "this Idempotency-Key was used for another submission, job " + runner.state().id + "; use a new key");
  if (!runner.durable()) return Status(Code::kBusy, "the same submission is being made; ask again");
  return runner.state().id;
}

Result<std::string> CoordinatorImpl::enqueue(const recipes::Recipe& recipe, JobState state,
                                             std::function<void(const Status&)> durable) {
  if (stopping_) return Status(Code::kCancelled, "the coordinator is shutting down");
  for (const std::string& before : recipe.queue.after)
    if (!by_id_.contains(before))
      return Status(Code::kInvalidArgument, "queue.after: there is no job '" + before + "'; tephra ps lists them");
  JournaledJob job;
  job.state = std::move(state);
  job.state.id = recipe.name + "-" + std::to_string(++counters_[recipe.name]);
  TEPHRA_RETURN_IF_ERROR(storage::check_name("job", job.state.id));
  job.state.stages.resize(job.state.plan.size());
  job.order = ++order_;
  const std::string id = job.state.id;
  auto runner = std::make_shared<JobRunner>(services_, std::move(job), std::make_shared<const recipes::Recipe>(recipe));
  runners_.push_back(runner);
  unfinished_.push_back(runner);
  by_id_[id] = runner;
  if (!runner->state().submit_key.empty()) by_submit_key_[runner->state().submit_key] = runner;
  runner->handle(Submitted{options_.clock->unix_ms()}, std::move(durable));
  return id;
}

Status CoordinatorImpl::request(const std::string& job, Event event) {
  const auto durable = std::make_shared<Awaited>();
  const auto tell = [durable](const Status& status) { durable->set(status); };
  dispatcher_.call([&] {
    const auto found = by_id_.find(job);
    if (found == by_id_.end()) return tell(Status(Code::kNotFound, "there is no job '" + job + "'"));
    if (stopping_) return tell(Status(Code::kCancelled, "the coordinator is shutting down"));
    found->second->handle(event, tell);
  });
  if (dispatcher_.on_thread()) return ok_status();  // a subscriber: the request is queued
  return durable->wait();
}

std::vector<JobView> CoordinatorImpl::list() const {
  JobQuery all;
  all.limit = SIZE_MAX;
  return page(all).jobs;
}

JobPage CoordinatorImpl::page(const JobQuery& query) const {
  JobPage page;
  decide_now();
  dispatcher_.call([&] {
    page = select_jobs(runners_, query);
    for (JobView& view : page.jobs) queue_->explain(&view, options_.clock->steady());
  });
  return page;
}

Result<JobView> CoordinatorImpl::get(const std::string& job) const {
  std::optional<JobView> view;
  decide_now();
  dispatcher_.call([&] {
    const auto found = by_id_.find(job);
    if (found == by_id_.end()) return;
    view = found->second->view();
    queue_->explain(&*view, options_.clock->steady());
  });
  if (!view) return Status(Code::kNotFound, "there is no job '" + job + "'");
  if (view->state.recipe_json.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(view->state.recipe_json, journal_->recipe_json(job));
  }
  return *std::move(view);
}

Workload CoordinatorImpl::workload() const {
  Workload load;
  dispatcher_.call([&] {
    load = workload_of(runners_);
    load.decision_seconds = queue_->decision_seconds();
  });
  return load;
}

Result<std::vector<JournaledEvent>> CoordinatorImpl::history(const std::string& job, uint64_t after,
                                                             size_t limit) const {
  bool known = false;
  dispatcher_.call([&] { known = by_id_.contains(job); });
  if (!known) return Status(Code::kNotFound, "there is no job '" + job + "'");
  return journal_->events(job, after, limit);
}

void CoordinatorImpl::flights(const std::string& job, uint32_t records_max,
                              std::function<void(Result<GangFlight>)> done) const {
  dispatcher_.post([this, job, records_max, done = std::move(done)] {
    const auto found = by_id_.find(job);
    if (found == by_id_.end()) return done(Status(Code::kNotFound, "there is no job '" + job + "'"));
    if (stopping_) return done(Status(Code::kCancelled, "the coordinator is shutting down"));
    found->second->ask_flights(records_max, done);
  });
}

uint64_t CoordinatorImpl::subscribe(const std::string& job, Subscriber subscriber) {
  std::lock_guard lock(subscribers_mutex_);
  subscribers_[next_subscriber_] = {job, std::move(subscriber)};
  return next_subscriber_++;
}

void CoordinatorImpl::unsubscribe(uint64_t id) {
  std::lock_guard lock(subscribers_mutex_);
  subscribers_.erase(id);
}

void CoordinatorImpl::publish(JobEvent event) {
  event.sequence = ++sequence_;
  event.unix_ms = options_.clock->unix_ms();
  std::lock_guard lock(subscribers_mutex_);
  for (const auto& [id, subscriber] : subscribers_)
    if (subscriber.job.empty() || subscriber.job == event.job) subscriber.call(event);
}

void CoordinatorImpl::changed(const std::string& job) {
  const auto found = by_id_.find(job);
  if (found != by_id_.end() && is_final(found->second->state().phase)) {
    {
      std::lock_guard lock(ended_mutex_);
      ended_.insert(job);
    }
    ended_changed_.notify_all();
  }
  schedule_soon();
}

// Changes come in bursts: one decision for those of a moment.
void CoordinatorImpl::schedule_soon() {
  if (schedule_due_) return;
  schedule_due_ = true;
  const auto since =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - scheduled_at_);
  dispatcher_.post_after(std::max(std::chrono::milliseconds(0), kScheduleEvery - since), [this] { schedule(); });
}

// For who looks at the queue: what is said of it holds for all that has happened. A subscriber is in the midst of a change.
void CoordinatorImpl::decide_now() const {
  if (dispatcher_.on_thread()) return;
  dispatcher_.call([this] { schedule(); });
}

void CoordinatorImpl::schedule() const {
  if (!std::exchange(schedule_due_, false) || stopping_) return;
  scheduled_at_ = std::chrono::steady_clock::now();
  std::erase_if(unfinished_, [](const auto& runner) { return is_final(runner->state().phase); });
  const auto find = [this](const std::string& job) {
    const auto found = by_id_.find(job);
    return found == by_id_.end() ? nullptr : &found->second->state();
  };
  queue_->schedule(unfinished_, find, options_.clock->steady());
}

void CoordinatorImpl::rank_said(cluster::ConnectionId connection, cluster::RankMessage message) {
  if (const auto* hello = std::get_if<cluster::Hello>(&message)) {
    const auto found = by_id_.find(hello->job);
    // Entered before the runner sees it: it may send its first task at once.
    connections_[connection] = {hello->job, hello->attempt, hello->rank};
    const Status taken = found == by_id_.end() ? Status(Code::kNotFound, "there is no job '" + hello->job + "'")
                                               : found->second->hello(connection, *hello);
    if (taken.ok()) return;
    connections_.erase(connection);
    log::warning("a rank was refused", {{"job", hello->job}, {"rank", hello->rank}, {"reason", taken.message()}});
    (void)rpc_->send(connection, cluster::Refused{taken.message()});
    rpc_->close(connection);
    return;
  }
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  by_id_.at(found->second.job)->message(found->second.rank, found->second.attempt, message);
}

void CoordinatorImpl::rank_left(cluster::ConnectionId connection, const Status& reason) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  const Connection left = found->second;
  connections_.erase(found);
  by_id_.at(left.job)->connection_closed(left.rank, left.attempt, reason);
}

Result<JobState> CoordinatorImpl::wait(const std::string& job, Deadline deadline) {
  std::optional<JobState> state;
  const auto look = [&] {
    dispatcher_.call([&] {
      if (const auto found = by_id_.find(job); found != by_id_.end()) state = found->second->state();
    });
  };
  look();
  if (!state) return Status(Code::kNotFound, "there is no job '" + job + "'");
  if (is_final(state->phase)) return *state;
  {
    std::unique_lock lock(ended_mutex_);
    const auto over = [&] { return ended_.contains(job) || shut_; };
    if (deadline.at == SteadyTime::max()) {
      ended_changed_.wait(lock, over);
    } else if (!ended_changed_.wait_until(lock, deadline.at, over)) {
      return Status(Code::kTimeout, "job " + job + " is still running");
    }
    if (!ended_.contains(job))
      return Status(Code::kCancelled, "the coordinator was shut down before job " + job + " ended");
  }
  look();
  return *state;
}

void CoordinatorImpl::stop_gangs() {
  struct Count {
    std::mutex mutex;
    std::condition_variable changed;
    size_t left = 0;
  };
  auto count = std::make_shared<Count>();
  dispatcher_.call([&] {
    stopping_ = true;
    {
      std::lock_guard lock(count->mutex);
      count->left = runners_.size();
    }
    for (const auto& runner : runners_)
      runner->shut_down([count] {
        std::lock_guard lock(count->mutex);
        --count->left;
        count->changed.notify_all();
      });
  });
  std::unique_lock lock(count->mutex);
  if (!count->changed.wait_for(lock, options_.stop_grace + kShutdownLimit, [&] { return count->left == 0; }))
    log::error("some gangs did not end; their ranks end by themselves when they see the coordinator gone", {});
}

void CoordinatorImpl::shutdown() {
  std::lock_guard once(shutdown_mutex_);
  if (shutdown_done_) return;
  shutdown_done_ = true;
  if (http_ != nullptr) http_->stop();
  if (webhook_ != nullptr) webhook_->stop();
  stop_gangs();
  {
    std::lock_guard lock(ended_mutex_);
    shut_ = true;
  }
  ended_changed_.notify_all();
  if (rpc_ != nullptr) rpc_->stop();
  // Work in flight ends: the pool first, whose results the dispatcher then takes.
  pool_.stop();
  dispatcher_.stop();
}

}  // namespace

Result<std::unique_ptr<Coordinator>> Coordinator::start(Options options) {
  auto coordinator = std::make_unique<CoordinatorImpl>(std::move(options));
  TEPHRA_RETURN_IF_ERROR(coordinator->open());
  return std::unique_ptr<Coordinator>(std::move(coordinator));
}

}  // namespace tephra::coordinator
