#include "cli/http_client.h"

#include <nlohmann/json.hpp>

#include "coordinator/tokens.h"

namespace tephra::cli {
namespace {

Status with_remedy(const Server& server, const Status& status) {
  if (status.code() == Code::kUnavailable)
    return {Code::kUnavailable, status.message() + "; start a coordinator with tephra serve"};
  if (status.code() != Code::kPeerLost) return status;
  // Not a byte came.
  const bool perhaps_tls =
      server.url.starts_with("http://") && status.message().find("end of stream") != std::string::npos;
  return {Code::kPeerLost,
          status.message() + "; the connection ended before the whole answer came: start the coordinator " +
              "again if it was ended" + (perhaps_tls ? ", or name it with https:// if it speaks TLS" : "")};
}

}  // namespace

Result<HttpReply> http_request(const Server& server, const std::string& method, const std::string& target,
                               const std::string& body) {
  cluster::HttpCall call;
  call.method = method;
  call.target = target;
  call.body = body;
  Result<HttpReply> reply = cluster::http_call(server, call);
  return reply.ok() ? std::move(reply) : with_remedy(server, reply.status());
}

Result<HttpReply> http_post_once(const Server& server, const std::string& target, const std::string& body) {
  cluster::HttpCall call;
  call.method = "POST";
  call.target = target;
  call.body = body;
  call.headers["Idempotency-Key"] = coordinator::random_token();
  Result<HttpReply> reply = cluster::http_call(server, call);
  for (int again = 0; again < 2 && reply.status().code() == Code::kPeerLost; ++again)
    reply = cluster::http_call(server, call);
  return reply.ok() ? std::move(reply) : with_remedy(server, reply.status());
}

Result<int> http_stream(const Server& server, const std::string& target,
                        const std::function<bool(const std::string&)>& on_bytes) {
  cluster::HttpCall call;
  call.target = target;
  const Result<HttpReply> head = cluster::http_call_stream(server, call, on_bytes);
  return head.ok() ? Result<int>(head->status) : with_remedy(server, head.status());
}

Result<std::string> checked(const Result<HttpReply>& reply) {
  if (!reply.ok()) return reply.status();
  if (reply->status >= 200 && reply->status < 300) return reply->body;
  auto j = nlohmann::json::parse(reply->body, nullptr, false);
  std::string message = reply->body;
  std::string code;
  if (j.is_object() && j.contains("error") && j["error"].is_object()) {
    message = j["error"].value("message", message);
    code = j["error"].value("code", "");
  }
  switch (reply->status) {
    case 401:
    case 403: return Status(Code::kPermission, message + "; set TEPHRA_TOKEN or give --token-file");
    case 409: return Status(code == code_name(Code::kUnavailable) ? Code::kUnavailable : Code::kAlreadyExists, message);
    case 404: return Status(Code::kNotFound, message);
    case 429: return Status(Code::kBusy, message);
    case 400:
    case 422: return Status(Code::kInvalidArgument, message);
    case 503: return Status(Code::kUnavailable, message);
    default: return Status(Code::kInternal, "the server answered " + std::to_string(reply->status) + ": " + message);
  }
}

}  // namespace tephra::cli
