#include "worker/model_server.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "base/env.h"
#include "base/random.h"
#include "base/threads.h"
#include "cluster/http/http_server.h"
#include "cluster/http/http_text.h"
#include "data/utf8.h"
#include "worker/completion_api.h"

namespace tephra::worker {
namespace {

using cluster::HttpReply;
using cluster::HttpRequest;
using cluster::HttpResponse;
using cluster::HttpStream;

constexpr size_t kBodyBytes = 64u << 20;  // pictures come as text in the body

HttpResponse answer(const nlohmann::ordered_json& document, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.body = dump(document) + "\n";
  return response;
}

HttpResponse failure(const Status& status) {
  const bool theirs = status.code() == Code::kInvalidArgument;
  return answer(error_json(theirs ? "invalid_request_error" : "server_error", status.message()), theirs ? 400 : 500);
}

class Server final : public ModelServer {
 public:
  Server(const ModelServerOptions& options, LoadedModel model)
      : options_(options), model_(std::move(model)), started_(now()) {
    const auto& paths = options.model.paths;
    const std::filesystem::path folder = paths.model.empty() ? paths.llm : paths.model;
    name_ = !options.name.empty()   ? options.name
            : folder.has_filename() ? folder.filename().string()
                                    : folder.parent_path().filename().string();
  }
  ~Server() override { stop(); }

  Status listen() {
    cluster::HttpLimits limits;
    limits.body_bytes_max = kBodyBytes;
    TEPHRA_ASSIGN_OR_RETURN(server_, cluster::HttpServer::start(
                                         options_.host, options_.port,
                                         [this](const HttpRequest& request) { return handle(request); }, limits));
    return ok_status();
  }
  uint16_t port() const override { return server_->port(); }
  const std::string& name() const override { return name_; }
  void stop() override {
    stopping_ = true;
    if (server_) server_->stop();
    model_thread_.stop();
  }

 private:
  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  }

  HttpResponse handle(const HttpRequest& request) {
    if (request.path == "/healthz") return {200, "text/plain", "ok\n", {}, {}, {}};
    if (options_.api_key.empty() && !cluster::is_local_name(request))
      return answer(error_json("permission_error",
                               "this server has no key, so it answers only requests that are addressed to localhost"),
                    403);
    if (!options_.api_key.empty() && !cluster::has_bearer_token(request, options_.api_key)) {
      HttpResponse refused =
          answer(error_json("authentication_error", "this server asks for its key: Authorization: Bearer KEY"), 401);
      refused.headers["WWW-Authenticate"] = "Bearer";
      return refused;
    }
    if (request.path == "/v1/models" && request.method == "GET") return models();
    if (request.path == "/v1/chat/completions" && request.method == "POST") return complete(request);
    return answer(error_json("invalid_request_error", "there is no " + request.method + " " + request.path +
                                                          "; there are POST /v1/chat/completions and GET /v1/models"),
                  404);
  }

  HttpResponse models() const {
    return answer(
        {{"object", "list"},
         {"data", nlohmann::ordered_json::array(
                      {{{"id", name_}, {"object", "model"}, {"created", started_}, {"owned_by", "tephra"}}})}});
  }

  // The replies are made on the model's own thread, in the order in which they were asked for.
  HttpResponse complete(const HttpRequest& request) {
    auto parsed = parse_completion(request.body, options_.default_max_tokens);
    if (!parsed.ok()) return failure(parsed.status());
    HttpResponse response;
    const auto asked = std::make_shared<CompletionRequest>(std::move(*parsed));
    const CompletionIdentity identity = next_identity();
    if (!asked->stream) {
      response.later = [this, asked, identity](std::shared_ptr<HttpReply> out) {
        queue(*out, [this, asked, identity, out](const std::atomic<bool>& gone) {
          auto made = reply_to(*asked, [&](std::string_view) { return !gone && !stopping_; });
          out->send(made.ok() ? answer(completion_json(identity, *made)) : failure(made.status()));
        });
      };
      return response;
    }
    response.content_type = "text/event-stream";
    response.headers["Cache-Control"] = "no-cache";
    response.stream = [this, asked, identity](std::shared_ptr<HttpStream> out) {
      queue(*out, [this, asked, identity, out](const std::atomic<bool>&) {
        write_stream(*asked, identity, *out);
        out->close();
      });
    };
    return response;
  }

  // Runs work(gone) in its turn, unless the client has gone by then.
  template <typename Client, typename Work>
  void queue(Client& client, Work work) {
    const auto gone = std::make_shared<std::atomic<bool>>(false);
    client.on_closed([gone] { *gone = true; });
    model_thread_.post([this, gone, work = std::move(work)] {
      if (!*gone && !stopping_) work(*gone);
    });
  }

  void write_stream(const CompletionRequest& asked, const CompletionIdentity& identity, HttpStream& out) {
    out.write(server_sent(first_chunk(identity)));
    bool begun = false;  // white space in front of the reply is no part of it
    auto made = reply_to(asked, [&](std::string_view piece) {
      if (!begun) piece = data::strip_left(piece);
      if (piece.empty()) return !stopping_.load();
      begun = true;
      return out.write(server_sent(text_chunk(identity, piece))) && !stopping_.load();
    });
    if (!made.ok()) {
      out.write(server_sent(error_json("server_error", made.status().message())));
      return;
    }
    out.write(server_sent(last_chunk(identity, *made)));
    if (asked.include_usage) out.write(server_sent(usage_chunk(identity, *made)));
    out.write("data: [DONE]\n\n");
  }

  Result<ChatReply> reply_to(const CompletionRequest& asked, std::function<bool(std::string_view)> on_text) {
    ChatRequest request = asked.chat;
    request.on_text = std::move(on_text);
    return reply(model_, request);
  }

  CompletionIdentity next_identity() {
    char id[32];
    std::snprintf(id, sizeof id, "chatcmpl-%016llx",
                  static_cast<unsigned long long>(random_bits({static_cast<uint64_t>(started_), ++count_})));
    return {id, name_, now()};
  }

  const ModelServerOptions options_;
  LoadedModel model_;
  const int64_t started_;
  std::string name_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> count_{0};
  BlockingPool model_thread_{1};
  std::unique_ptr<cluster::HttpServer> server_;  // its threads use all else
};

}  // namespace

Result<std::unique_ptr<ModelServer>> ModelServer::start(const ModelServerOptions& options) {
  if (options.api_key.empty() && !cluster::is_loopback(options.host))
    return Status(Code::kInvalidArgument, "others can reach " + options.host +
                                              ", so a key is needed: --api-key-file FILE, or listen on 127.0.0.1");
  TEPHRA_ASSIGN_OR_RETURN(LoadedModel model, load_model(options.model));
  auto server = std::make_unique<Server>(options, std::move(model));
  TEPHRA_RETURN_IF_ERROR(server->listen());
  return std::unique_ptr<ModelServer>(std::move(server));
}

Status serve_model(ModelServerOptions options, const std::string& listen, const std::string& key_file) {
  TEPHRA_ASSIGN_OR_RETURN(const cluster::Address address, cluster::parse_address(listen));
  options.host = address.host;
  options.port = address.port;
  if (!key_file.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), key_file));
    options.api_key = text.substr(0, text.find_first_of("\r\n"));
    if (options.api_key.empty()) return {Code::kInvalidArgument, key_file + " holds no key in its first line"};
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  TEPHRA_ASSIGN_OR_RETURN(const auto server, ModelServer::start(options));
  const std::string url = "http://" + options.host + ":" + std::to_string(server->port()) + "/v1";
  if (options.json) {
    std::printf("%s\n", nlohmann::json{{"url", url}, {"model", server->name()}}.dump().c_str());
  } else {
    std::printf("tephra serves model %s at %s\n", server->name().c_str(), url.c_str());
  }
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  server->stop();
  return ok_status();
}

}  // namespace tephra::worker
