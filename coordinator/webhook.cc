#include "coordinator/webhook.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/log.h"
#include "cluster/http/http_client.h"
#include "coordinator/api_reply.h"
#include "coordinator/coordinator.h"
#include "coordinator/crypto.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr milliseconds kLongestWait{300000};
constexpr int64_t kTellForMs = 24LL * 3600 * 1000;
constexpr size_t kWaitingMax = 10000;
constexpr const char* kMark = "webhook/job/";    // + job: what became of it
constexpr const char* kSince = "webhook/since";  // jobs that ended before a webhook was first named are not told

std::string body_of(const JobState& state) {
  json stages = json::array();
  for (size_t i = 0; i < state.stages.size(); ++i)
    stages.push_back(
        {{"name", state.plan[i].name}, {"step", state.stages[i].step}, {"checkpoint", state.stages[i].checkpoint}});
  return dump({{"event", phase_name(state.phase)},
               {"job", state.id},
               {"recipe_name", state.recipe_name},
               {"user", state.user},
               {"reason", state.phase == Phase::kDone ? "" : state.ended_early()},
               {"attempt", state.attempt},
               {"restarts", state.restarts_total},
               {"finished_unix_ms", state.finished_unix_ms},
               {"stages", stages}});
}

}  // namespace

std::string webhook_signature(const std::string& secret, int64_t timestamp, const std::string& body) {
  const std::string time = std::to_string(timestamp);
  return "t=" + time + ",v1=" + hmac_sha256_hex(secret, time + "." + body);
}

struct Webhook::Impl {
  Impl(Coordinator& c, const WebhookOptions& o) : coordinator(c), options(o) {}

  struct Telling {
    std::string job;
    int tries = 0;
  };

  void add(const std::string& job) {
    std::lock_guard lock(mutex);
    if (stopping) return;
    if (waiting.size() >= kWaitingMax) {
      log::warning("too many jobs wait to be told of; the next start tells of this one", {{"job", job}});
      return;
    }
    waiting.emplace(SteadyClock::now(), Telling{job});
    changed.notify_all();
  }

  // Jobs that ended while nobody could be told.
  Status find_untold() {
    storage::Store& store = coordinator.store();
    const int64_t now = coordinator.options().clock->unix_ms();
    TEPHRA_ASSIGN_OR_RETURN(const auto since_text, store.read(storage::ColumnFamily::kMeta, kSince));
    if (!since_text) return store.write({{storage::ColumnFamily::kMeta, kSince, std::to_string(now), false}});
    const int64_t since = std::max<int64_t>(std::strtoll(since_text->c_str(), nullptr, 10), now - kTellForMs);
    std::set<std::string> told;
    TEPHRA_RETURN_IF_ERROR(store.scan(storage::ColumnFamily::kMeta, kMark, [&](std::string_view key, std::string_view) {
      told.insert(std::string(key.substr(std::string_view(kMark).size())));
      return true;
    }));
    JobQuery query;
    query.phases = options.phases;
    query.limit = 1000;
    query.ended_since_unix_ms = since;
    do {
      TEPHRA_ASSIGN_OR_RETURN(const JobPage page, coordinator.page(query));
      for (const JobView& view : page.jobs)
        if (!told.contains(view.state.id)) add(view.state.id);
      query.after = page.next;
    } while (query.after != 0);
    return ok_status();
  }

  void mark(const std::string& job, const char* what) {
    const Status written = coordinator.store().write({{storage::ColumnFamily::kMeta, kMark + job, what, false}});
    if (!written.ok()) log::warning("a webhook's mark was not written", {{"job", job}, {"reason", written.message()}});
  }

  Status tell(const JobState& state) const {
    cluster::HttpCall call;
    call.method = "POST";
    call.body = body_of(state);
    call.timeout = options.timeout;
    call.headers["Tephra-Delivery"] = state.id + "/" + std::string(phase_name(state.phase));
    if (!options.secret.empty())
      call.headers["Tephra-Signature"] =
          webhook_signature(options.secret, coordinator.options().clock->unix_ms() / 1000, call.body);
    const auto answer = cluster::http_call({options.url, "", options.tls_authority}, call);
    if (!answer.ok()) return answer.status();
    if (answer->status >= 200 && answer->status < 300) return ok_status();
    return {Code::kUnavailable, "the receiver answered " + std::to_string(answer->status)};
  }

  // Nothing: it is not to be tried again.
  std::optional<Telling> attempt(Telling telling) {
    const Result<JobView> view = coordinator.get(telling.job);
    if (!view.ok()) return std::nullopt;
    const Status told = tell(view->state);
    ++telling.tries;
    if (told.ok()) {
      mark(telling.job, "received");
      return std::nullopt;
    }
    const bool last = telling.tries >= options.tries_max;
    log::warning(last ? "a webhook was given up" : "a webhook was not received",
                 {{"job", telling.job}, {"tries", telling.tries}, {"reason", told.message()}});
    if (!last) return telling;
    mark(telling.job, "given up");
    return std::nullopt;
  }

  void run() {
    std::unique_lock lock(mutex);
    while (!stopping) {
      if (waiting.empty()) {
        changed.wait(lock);
        continue;
      }
      const auto due = waiting.begin()->first;
      if (due > SteadyClock::now()) {
        changed.wait_until(lock, due);
        continue;
      }
      Telling telling = std::move(waiting.begin()->second);
      waiting.erase(waiting.begin());
      lock.unlock();
      const std::optional<Telling> again = attempt(std::move(telling));
      lock.lock();
      if (!again) continue;
      const auto wait = std::min(kLongestWait, options.first_wait * (int64_t{1} << std::min(again->tries - 1, 20)));
      waiting.emplace(SteadyClock::now() + wait, *again);
    }
  }

  Coordinator& coordinator;
  const WebhookOptions options;
  std::mutex mutex;
  std::condition_variable changed;
  std::multimap<SteadyClock::time_point, Telling> waiting;  // by when it is due
  bool stopping = false;
  std::thread thread;
};

Webhook::Webhook(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Webhook>> Webhook::start(Coordinator& coordinator, const WebhookOptions& options) {
  if (const auto url = cluster::parse_http_url(options.url); !url.ok()) return url.status().with_context("webhook");
  auto impl = std::make_shared<Impl>(coordinator, options);
  // The listener keeps what it writes to alive; after stop() it does nothing.
  coordinator.subscribe("", [impl](const JobEvent& event) {
    const auto& phases = impl->options.phases;
    if (event.kind == JobEvent::Kind::kState && is_final(event.phase) &&
        std::find(phases.begin(), phases.end(), event.phase) != phases.end())
      impl->add(event.job);
  });
  TEPHRA_RETURN_IF_ERROR(impl->find_untold());
  impl->thread = std::thread([impl = impl.get()] { impl->run(); });
  return std::unique_ptr<Webhook>(new Webhook(std::move(impl)));
}

Webhook::~Webhook() { stop(); }

void Webhook::stop() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace tephra::coordinator
