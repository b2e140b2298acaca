// Requests to a coordinator's HTTP interface. Blocking; one request a connection.
#pragma once

#include <functional>
#include <string>

#include "base/status.h"

namespace tephra::cli {

struct Server {
  std::string url;    // http://HOST:PORT
  std::string token;  // bearer token; may be empty
};

struct HttpReply {
  int status = 0;
  std::string body;
};

// kUnavailable: nobody answers there; kInvalidArgument: not such a url. An HTTP error is a reply, not a failure.
Result<HttpReply> http_request(const Server& server, const std::string& method, const std::string& target,
                               const std::string& body = "");
// Calls `on_bytes` with the body as it comes, until it ends or on_bytes returns false.
Result<int> http_stream(const Server& server, const std::string& target,
                        const std::function<bool(const std::string&)>& on_bytes);

// The reply's body when its status is 2xx; else the server's sentence as a Status.
Result<std::string> checked(const Result<HttpReply>& reply);

}  // namespace tephra::cli
