// Requests to a coordinator's HTTP interface.
#pragma once

#include <string>

#include "base/status.h"
#include "cluster/http/http_client.h"

namespace tephra::cli {

using Server = cluster::HttpEndpoint;
using HttpReply = cluster::HttpAnswer;

// As cluster::http_call. When nobody answers, the sentence says how to start a coordinator.
Result<HttpReply> http_request(const Server& server, const std::string& method, const std::string& target,
                               const std::string& body = "");
// A POST that makes something and is made once: it carries a key, and is sent again, twice at most, when the connection ends
// before the answer is there.
Result<HttpReply> http_post_once(const Server& server, const std::string& target, const std::string& body);
Result<int> http_stream(const Server& server, const std::string& target,
                        const std::function<bool(const std::string&)>& on_bytes);

// The reply's body when its status is 2xx; else the server's sentence as a Status.
Result<std::string> checked(const Result<HttpReply>& reply);

}  // namespace tephra::cli
