// A chat endpoint for tests: a real HTTP server that answers each try as the test says and keeps what it was asked.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cluster/http/http_server.h"

namespace tephra::cluster {

inline HttpResponse chat_json(const std::string& text, int prompt_tokens = 10, int reply_tokens = 5) {
  HttpResponse response;
  response.body = nlohmann::json{{"model", "test-1"},
                                 {"choices", {{{"message", {{"content", text}}}, {"finish_reason", "stop"}}}},
                                 {"usage", {{"prompt_tokens", prompt_tokens}, {"completion_tokens", reply_tokens}}}}
                      .dump();
  return response;
}

inline std::string chat_piece(const std::string& text) {
  return "data: " + nlohmann::json{{"choices", {{{"delta", {{"content", text}}}}}}}.dump() + "\n\n";
}

// The text in pieces of three bytes; `whole` false: cut off in the middle.
inline HttpResponse chat_stream(const std::string& text, bool whole = true) {
  HttpResponse response;
  response.content_type = "text/event-stream";
  response.stream = [text, whole](const std::shared_ptr<HttpStream>& stream) {
    for (size_t at = 0; at < (whole ? text.size() : text.size() / 2); at += 3)
      stream->write(chat_piece(text.substr(at, 3)));
    if (whole)
      stream->write(
          "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
          "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n");
    stream->close();
  };
  return response;
}

inline HttpResponse chat_error(int status, const std::string& message, const std::string& retry_after = "") {
  HttpResponse response;
  response.status = status;
  response.body = nlohmann::json{{"error", {{"message", message}}}}.dump();
  if (!retry_after.empty()) response.headers["Retry-After"] = retry_after;
  return response;
}

// Accepts, and never answers; the connection lasts as long as the client wants.
inline HttpResponse chat_silence() {
  HttpResponse response;
  response.later = [](const std::shared_ptr<HttpReply>& reply) {
    reply->on_closed([reply] {});  // kept until then
  };
  return response;
}

class ChatServer {
 public:
  // Called for each try with the number of earlier tries of the same Idempotency-Key.
  using Answer = std::function<HttpResponse(const nlohmann::json& body, int earlier)>;

  explicit ChatServer(Answer answer) : answer_(std::move(answer)) {
    HttpLimits limits;
    auto started = HttpServer::start(
        "127.0.0.1", 0, [this](const HttpRequest& r) { return take(r); }, limits);
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(started).value();
  }
  ~ChatServer() { server_->stop(); }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_->port()) + "/v1"; }
  std::vector<HttpRequest> requests() const {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  // Tries by Idempotency-Key.
  std::map<std::string, int> tries() const {
    std::lock_guard lock(mutex_);
    return tries_;
  }

 private:
  HttpResponse take(const HttpRequest& request) {
    int earlier = 0;
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
      const auto key = request.headers.find("idempotency-key");
      earlier = tries_[key == request.headers.end() ? "" : key->second]++;
    }
    return answer_(nlohmann::json::parse(request.body, nullptr, false), earlier);
  }

  Answer answer_;
  mutable std::mutex mutex_;
  std::vector<HttpRequest> requests_;
  std::map<std::string, int> tries_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace tephra::cluster
