#include "coordinator/coordinator.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "coordinator/admission.h"
#include "coordinator/awaited.h"
#include "coordinator/coordinator_impl.h"
#include "coordinator/job_query.h"

namespace tephra::coordinator {
namespace {

constexpr std::chrono::milliseconds kScheduleEvery{20};
constexpr std::chrono::seconds kShutdownLimit{20};  // for gangs that would not die

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

Result<std::unique_ptr<Coordinator>> Coordinator::start(Options options) {
  auto coordinator = std::make_unique<CoordinatorImpl>(std::move(options));
  TEPHRA_RETURN_IF_ERROR(coordinator->open());
  return std::unique_ptr<Coordinator>(std::move(coordinator));
}

}  // namespace tephra::coordinator
