// The options of verbs that ask an OpenAI-compatible endpoint, and the client that they make.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "cluster/chat/chat_client.h"

namespace CLI {
class App;
}

namespace tephra::cli {

struct EndpointOptions {
  cluster::ChatClientOptions client;
  std::string key_variable =
      "OPENAI_API_KEY";  // of the environment: a key on a command line is read by everybody on the machine
  int concurrency = 8;
  double timeout_s = 120, retry_wait_s = 1;
  bool whole = false;  // not streamed
};

void add_endpoint_options(CLI::App* verb, EndpointOptions* options);
// Reads the key, if its variable is set. kInvalidArgument as ChatClient::create.
Result<std::unique_ptr<cluster::ChatClient>> make_chat_client(const EndpointOptions& options);

}  // namespace tephra::cli
