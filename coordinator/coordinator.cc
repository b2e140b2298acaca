#include "coordinator/coordinator.h"

#include <algorithm>
#include <utility>

#include "base/env.h"
#include "base/log.h"
#include "coordinator/admission.h"
#include "coordinator/awaited.h"
#include "coordinator/coordinator_impl.h"

namespace tephra::coordinator {
namespace {

constexpr std::chrono::milliseconds kScheduleEvery{20};
constexpr std::chrono::seconds kShutdownLimit{20};  // for gangs that would not die

Status no_such_job(const std::string& job) {
  return {Code::kNotFound, "there is no job '" + job + "'; tephra ps lists them"};
}

}  // namespace

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
  const SubmittedOnce& before = by_submit_key_.at(state.submit_key);
  if (before.request_hash != state.submit_hash)
    return Status(Code::kAlreadyExists,
                  "this Idempotency-Key was used for another submission, job " + before.job + "; use a new key");
  const JobRunner* runner = jobs_.runner(before.job);
  if (runner != nullptr && !runner->durable())
    return Status(Code::kBusy, "the same submission is being made; ask again");
  return before.job;
}

Result<std::string> CoordinatorImpl::enqueue(const recipes::Recipe& recipe, JobState state,
                                             std::function<void(const Status&)> durable) {
  if (stopping_) return Status(Code::kCancelled, "the coordinator is shutting down");
  for (const std::string& before : recipe.queue.after)
    if (jobs_.find(before) == nullptr)
      return Status(Code::kInvalidArgument, "queue.after: there is no job '" + before + "'; tephra ps lists them");
  JournaledJob job;
  job.state = std::move(state);
  job.state.id = recipe.name + "-" + std::to_string(++counters_[recipe.name]);
  TEPHRA_RETURN_IF_ERROR(storage::check_name("job", job.state.id));
  job.state.stages.resize(job.state.plan.size());
  job.order = ++order_;
  const std::string id = job.state.id;
  auto runner = std::make_shared<JobRunner>(services_, std::move(job), std::make_shared<const recipes::Recipe>(recipe));
  jobs_.add(live_entry(runner));
  unfinished_.push_back(runner);
  if (!runner->state().submit_key.empty())
    by_submit_key_[runner->state().submit_key] = {id, runner->state().submit_hash};
  runner->handle(Submitted{options_.clock->unix_ms()}, std::move(durable));
  return id;
}

Status CoordinatorImpl::request(const std::string& job, Event event) {
  const auto durable = std::make_shared<Awaited>();
  const auto tell = [durable](const Status& status) { durable->set(status); };
  dispatcher_.call([&] {
    const JobEntry* found = jobs_.find(job);
    if (found == nullptr) return tell(no_such_job(job));
    if (stopping_) return tell(Status(Code::kCancelled, "the coordinator is shutting down"));
    if (found->runner == nullptr) return tell(ok_status());
    const std::shared_ptr<JobRunner> runner = found->runner;
    runner->handle(event, tell);
  });
  if (dispatcher_.on_thread()) return ok_status();  // a subscriber: the request is queued
  return durable->wait();
}

Result<JobPage> CoordinatorImpl::page(const JobQuery& query) const {
  JobPage page;
  decide_now();
  dispatcher_.call([&] {
    page = jobs_.select(query);
    for (JobView& view : page.jobs) queue_->explain(&view, options_.clock->steady());
  });
  for (JobView& view : page.jobs) {
    if (!view.state.plan.empty()) continue;  // it has a runner
    TEPHRA_ASSIGN_OR_RETURN(view, ended_view(view.state.id));
    view.state.recipe_json = {};
  }
  return page;
}

Result<JobView> CoordinatorImpl::ended_view(const std::string& job) const {
  TEPHRA_ASSIGN_OR_RETURN(JournaledJob found, journal_->get(job));
  return stored_view(std::move(found.state), options_.store_dir);
}

Result<JobView> CoordinatorImpl::get(const std::string& job) const {
  std::optional<JobView> view;
  bool known = false;
  decide_now();
  dispatcher_.call([&] {
    const JobEntry* found = jobs_.find(job);
    known = found != nullptr;
    if (!known || found->runner == nullptr) return;
    view = found->runner->view();
    queue_->explain(&*view, options_.clock->steady());
  });
  if (!known) return no_such_job(job);
  if (!view) return ended_view(job);
  return *std::move(view);
}

Workload CoordinatorImpl::workload() const {
  Workload load;
  dispatcher_.call([&] {
    load = jobs_.workload();
    load.decision_seconds = queue_->decision_seconds();
  });
  return load;
}

Result<std::vector<JournaledEvent>> CoordinatorImpl::history(const std::string& job, uint64_t after,
                                                             size_t limit) const {
  bool known = false;
  dispatcher_.call([&] { known = jobs_.find(job) != nullptr; });
  if (!known) return no_such_job(job);
  return journal_->events(job, after, limit);
}

void CoordinatorImpl::flights(const std::string& job, uint32_t records_max,
                              std::function<void(Result<GangFlight>)> done) const {
  dispatcher_.post([this, job, records_max, done = std::move(done)] {
    const JobEntry* found = jobs_.find(job);
    if (found == nullptr) return done(no_such_job(job));
    if (stopping_) return done(Status(Code::kCancelled, "the coordinator is shutting down"));
    if (found->runner == nullptr) return done(no_ranks_run(job, found->ended_as, found->attempt));
    found->runner->ask_flights(records_max, done);
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
  const JobRunner* runner = jobs_.runner(job);
  if (runner != nullptr && is_final(runner->state().phase)) {
    // One that shuts down is asked of it yet.
    if (!stopping_ && runner->journaled()) jobs_.retire(job);
    {
      std::lock_guard lock(ended_mutex_);
      ++ended_;
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
    const JobEntry* found = jobs_.find(job);
    return found == nullptr ? std::nullopt : std::optional(found->phase());
  };
  queue_->schedule(unfinished_, find, options_.clock->steady());
}

void CoordinatorImpl::rank_said(cluster::ConnectionId connection, cluster::RankMessage message) {
  if (const auto* hello = std::get_if<cluster::Hello>(&message)) {
    const JobEntry* found = jobs_.find(hello->job);
    // Entered before the runner sees it: it may send its first task at once.
    connections_[connection] = {hello->job, hello->attempt, hello->rank};
    const Status taken = found == nullptr           ? no_such_job(hello->job)
                         : found->runner == nullptr ? no_gang(hello->job)
                                                    : found->runner->hello(connection, *hello);
    if (taken.ok()) return;
    connections_.erase(connection);
    log::warning("a rank was refused", {{"job", hello->job}, {"rank", hello->rank}, {"reason", taken.message()}});
    (void)rpc_->send(connection, cluster::Refused{taken.message()});
    rpc_->close(connection);
    return;
  }
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  if (JobRunner* runner = jobs_.runner(found->second.job))
    runner->message(found->second.rank, found->second.attempt, message);
}

void CoordinatorImpl::rank_left(cluster::ConnectionId connection, const Status& reason) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  const Connection left = found->second;
  connections_.erase(found);
  if (JobRunner* runner = jobs_.runner(left.job)) runner->connection_closed(left.rank, left.attempt, reason);
}

Result<JobState> CoordinatorImpl::wait(const std::string& job, Deadline deadline) {
  for (;;) {
    uint64_t seen = 0;
    bool shut = false;
    {
      std::lock_guard lock(ended_mutex_);
      seen = ended_;
      shut = shut_;
    }
    bool known = false, ended = false;
    std::optional<JobState> state;  // of a runner
    dispatcher_.call([&] {
      const JobEntry* found = jobs_.find(job);
      known = found != nullptr;
      ended = known && is_final(found->phase());
      if (ended && found->runner != nullptr) state = found->runner->state();
    });
    if (!known) return no_such_job(job);
    if (state) return *std::move(state);
    if (ended) {
      TEPHRA_ASSIGN_OR_RETURN(JournaledJob found, journal_->get(job));
      return std::move(found.state);
    }
    if (shut) return Status(Code::kCancelled, "the coordinator was shut down before job " + job + " ended");
    std::unique_lock lock(ended_mutex_);
    const auto news = [&] { return ended_ != seen || shut_; };
    if (deadline.at == SteadyTime::max()) {
      ended_changed_.wait(lock, news);
    } else if (!ended_changed_.wait_until(lock, deadline.at, news)) {
      return Status(Code::kTimeout, "job " + job + " is still running");
    }
  }
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
    std::vector<std::shared_ptr<JobRunner>> runners;
    for (const JobEntry& job : jobs_.entries())
      if (job.runner != nullptr) runners.push_back(job.runner);
    {
      std::lock_guard lock(count->mutex);
      count->left = runners.size();
    }
    for (const auto& runner : runners)
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

Result<std::unique_ptr<Coordinator>> Coordinator::start(Options options) {
  auto coordinator = std::make_unique<CoordinatorImpl>(std::move(options));
  TEPHRA_RETURN_IF_ERROR(coordinator->open());
  return std::unique_ptr<Coordinator>(std::move(coordinator));
}

}  // namespace tephra::coordinator
