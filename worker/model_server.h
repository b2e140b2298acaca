// `tephra serve-model`: a model behind OpenAI's chat completions, for programs that speak that API.
//   POST /v1/chat/completions   worker/completion_api.h
//   GET  /v1/models             the one model
//   GET  /healthz               "ok"
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "worker/chat_model.h"

namespace tephra::worker {

struct ModelServerOptions {
  InferenceModel model;
  std::string name;                  // as /v1/models gives it; "" takes the model folder's
  std::string host = "127.0.0.1";    // numeric
  uint16_t port = 0;                 // 0: a free one
  std::string api_key;               // asked for as a bearer token; "": none is, which only a loopback address may do
  int64_t default_max_tokens = 512;  // of a request that names none
  bool json = false;                 // serve_model() says its address as a JSON line {"url", "model"}
};

class ModelServer {
 public:
  // Loads the model, then listens. Replies are made one after another in the order of the requests; a
  // client that leaves ends its own. kUnavailable: the port is in use.
  // kInvalidArgument: an address that others can reach, without a key.
  static Result<std::unique_ptr<ModelServer>> start(const ModelServerOptions& options);
  virtual ~ModelServer() = default;  // stop()
  virtual uint16_t port() const = 0;
  virtual const std::string& name() const = 0;
  // Ends the reply that is being written, closes all connections and joins the threads.
  virtual void stop() = 0;
};

// Starts one, prints where it listens, and stops it at SIGINT or SIGTERM. `listen` is HOST:PORT, `key_file` a file whose first
// line is the key, or "". Call it before other threads exist: it blocks these signals, for all of them.
Status serve_model(ModelServerOptions options, const std::string& listen, const std::string& key_file);

}  // namespace tephra::worker
