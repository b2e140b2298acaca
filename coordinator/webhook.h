// Tells another program of jobs that ended: one POST a job, signed, tried again with growing waits. Which url that is says
// who starts the coordinator, never a recipe: a recipe that could name one could make the coordinator knock at any door of
// its network (docs/security.md).
//
//   POST URL      {"event": "done", "job", "recipe_name", "user", "reason", "attempt", "restarts", "finished_unix_ms",
//                  "stages": [{"name", "step", "checkpoint"}]}
//   Tephra-Delivery: JOB/EVENT                 the same at each try: a receiver may get it more than once
//   Tephra-Signature: t=SECONDS,v1=HEX         HMAC-SHA-256 with the secret over "SECONDS.BODY"
//
// Any 2xx is taken as received; redirects are not followed. What was received, or given up after the last try, is marked in
// the store's index, so a coordinator that restarts tells what an earlier one could not, for a day.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "coordinator/job_state.h"

namespace tephra::coordinator {

class Coordinator;

struct WebhookOptions {
  std::string url{};     // http[s]://...; empty: none
  std::string secret{};  // empty: unsigned
  std::vector<Phase> phases{Phase::kDone, Phase::kFailed, Phase::kCancelled};
  std::string tls_authority{};  // PEM; empty: the machine's
  int tries_max = 10;
  std::chrono::milliseconds first_wait{1000};  // doubled after each try, up to five minutes
  std::chrono::milliseconds timeout{5000};     // of connecting, and of each wait for the receiver
};

// `timestamp`: seconds since 1970.
std::string webhook_signature(const std::string& secret, int64_t timestamp, const std::string& body);

class Webhook {
 public:
  // Starts a thread. `coordinator` outlives this. kInvalidArgument: no such url.
  static Result<std::unique_ptr<Webhook>> start(Coordinator& coordinator, const WebhookOptions& options);
  ~Webhook();   // stop()
  void stop();  // waits for the try in flight

 private:
  struct Impl;
  explicit Webhook(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tephra::coordinator
