// The coordinator's inside. How it starts, and what it finds of an earlier one, is in coordinator_start.cc; the rest is in
// coordinator.cc. Threading: its public methods on any thread; the others where the members that they touch say.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/threads.h"
#include "cluster/http/http_server.h"
#include "coordinator/coordinator.h"
#include "coordinator/job_queue.h"
#include "coordinator/job_runner.h"
#include "coordinator/job_table.h"
#include "coordinator/readiness.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"

namespace tephra::coordinator {

// What a job of the recipe begins with. `recipe_json`: the same, as a job keeps it.
JobState state_for(const recipes::Recipe& recipe, const std::string& recipe_json, const std::string& user);

class CoordinatorImpl final : public Coordinator {
 public:
  explicit CoordinatorImpl(Options options);
  ~CoordinatorImpl() override { shutdown(); }

  Status open();

  Result<std::string> submit(const std::string& recipe_json, const std::string& user, const SubmitOnce& once) override;
  Status cancel(const std::string& job, const std::string& reason) override {
    return request(job, CancelRequested{reason});
  }
  Status pause(const std::string& job) override { return request(job, PauseRequested{}); }
  Status resume(const std::string& job) override { return request(job, ResumeRequested{options_.clock->unix_ms()}); }
  Result<JobPage> page(const JobQuery& query) const override;
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
  struct SubmittedOnce {
    std::string job, request_hash;
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
  void add(JobEntry entry);
  Result<JobView> ended_view(const std::string& job) const;
  Result<std::map<std::string, GangChange>> gang_changes(const std::vector<JournaledJob>& jobs) const;
  Status recall_usage(const JournaledJob& job);
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
  JobTable jobs_;
  std::map<cluster::ConnectionId, Connection> connections_;
  // Those that had not ended at the last schedule(), in order of submission.
  mutable std::vector<std::shared_ptr<JobRunner>> unfinished_;
  std::unique_ptr<JobQueue> queue_;
  mutable bool schedule_due_ = false;
  mutable SteadyTime scheduled_at_{};
  std::map<std::string, uint64_t> counters_;  // of job ids, by recipe name
  std::map<std::string, SubmittedOnce> by_submit_key_;
  uint64_t order_ = 0;
  bool stopping_ = false;

  std::mutex subscribers_mutex_;  // held while callbacks run, so that unsubscribe() waits for them
  std::map<uint64_t, SubscriberEntry> subscribers_;
  uint64_t next_subscriber_ = 1;
  uint64_t sequence_ = 0;

  std::mutex ended_mutex_;
  std::condition_variable ended_changed_;
  uint64_t ended_ = 0;  // jobs that ended under this coordinator
  bool shut_ = false;
  std::mutex shutdown_mutex_;
  bool shutdown_done_ = false;
};

}  // namespace tephra::coordinator
