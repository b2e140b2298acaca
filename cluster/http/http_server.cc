#include "cluster/http/http_server.h"

#include <algorithm>
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <deque>
#include <optional>
#include <set>
#include <thread>

#include "base/log.h"
#include "base/threads.h"
#include "cluster/http/http_text.h"

namespace tephra::cluster {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using error_code = boost::system::error_code;

constexpr int kHandlerThreads = 4;

struct Shared {
  HttpHandler handler;
  HttpLimits limits;
  std::set<class Connection*> connections;  // io thread only; before `io`, whose last handlers own connections
  asio::io_context io{1};
  std::unique_ptr<BlockingPool> pool;
};

class Connection;

// Tells once that a client has gone.
class Ending {
 public:
  void on_end(std::function<void()> callback) {
    {
      std::lock_guard lock(mutex_);
      if (!ended_) {
        callback_ = std::move(callback);
        return;
      }
    }
    callback();
  }
  void end() {
    std::function<void()> callback;
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      callback = std::exchange(callback_, nullptr);
    }
    if (callback) callback();
  }

 private:
  std::mutex mutex_;
  bool ended_ = false;
  std::function<void()> callback_;
};

// The stream of one response. `connection_` is touched on the io thread only.
class Stream final : public HttpStream, public std::enable_shared_from_this<Stream> {
 public:
  Stream(Shared& shared, std::shared_ptr<Connection> connection)
      : shared_(shared), timer_(shared.io), connection_(std::move(connection)) {}
  bool write(const std::string& bytes) override;
  void close() override;
  void on_closed(std::function<void()> callback) override { ending_.on_end(std::move(callback)); }
  void repeat(std::chrono::milliseconds interval, std::function<bool()> work) override;

  // From the connection, on the io thread.
  void ended();
  std::string take();
  bool closing();

 private:
  void tick(std::chrono::milliseconds interval, std::function<bool()> work);

  Shared& shared_;
  asio::steady_timer timer_;
  std::shared_ptr<Connection> connection_;
  std::mutex mutex_;
  std::string waiting_;
  bool closing_ = false;
  bool ended_ = false;
  bool overflowed_ = false;
  Ending ending_;
};

// A response that is made later. `connection_` is touched on the io thread only.
class Reply final : public HttpReply, public std::enable_shared_from_this<Reply> {
 public:
  Reply(Shared& shared, std::shared_ptr<Connection> connection) : shared_(shared), connection_(std::move(connection)) {}
  void send(HttpResponse response) override;
  void on_closed(std::function<void()> callback) override { ending_.on_end(std::move(callback)); }

  void ended();  // from the connection, on the io thread

 private:
  Shared& shared_;
  std::shared_ptr<Connection> connection_;
  Ending ending_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shared& shared, tcp::socket socket) : shared_(shared), stream_(std::move(socket)) {
    shared_.connections.insert(this);
  }
  ~Connection() { shared_.connections.erase(this); }

  void read();
  void pump();  // more may be waiting in the response's stream
  void drop();
  void reply(HttpResponse response);  // what was to be made later

 private:
  void received(error_code error);
  void reject(unsigned status, const std::string& message);
  void answer(HttpResponse response);
  void answer_later(std::function<void(std::shared_ptr<HttpReply>)> make);
  void start_stream(HttpResponse response);
  void watch();
  void end_stream();

  Shared& shared_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response<http::empty_body>> head_;
  std::optional<http::response_serializer<http::empty_body>> head_writer_;
  std::shared_ptr<Stream> out_;
  std::shared_ptr<Reply> awaited_;
  std::string chunk_;
  bool keep_alive_ = false;
  bool writing_ = false;
  bool last_sent_ = false;
  char watched_ = 0;
};

bool Stream::write(const std::string& bytes) {
  bool overflow = false;
  {
    std::lock_guard lock(mutex_);
    if (ended_ || closing_ || overflowed_) return false;
    overflow = overflowed_ = waiting_.size() + bytes.size() > shared_.limits.stream_bytes_max;
    if (!overflow) waiting_ += bytes;
  }
  auto self = shared_from_this();
  asio::post(shared_.io, [self, overflow] {
    if (self->connection_ == nullptr) return;
    if (overflow)
      self->connection_->drop();
    else
      self->connection_->pump();
  });
  return !overflow;
}

void Stream::close() {
  {
    std::lock_guard lock(mutex_);
    if (ended_ || closing_) return;
    closing_ = true;
  }
  auto self = shared_from_this();
  asio::post(shared_.io, [self] {
    if (self->connection_ != nullptr) self->connection_->pump();
  });
}

void Stream::repeat(std::chrono::milliseconds interval, std::function<bool()> work) {
  auto self = shared_from_this();
  asio::post(shared_.io, [self, interval, work = std::move(work)]() mutable { self->tick(interval, std::move(work)); });
}

void Stream::tick(std::chrono::milliseconds interval, std::function<bool()> work) {
  if (connection_ == nullptr) return;
  timer_.expires_after(interval);
  auto self = shared_from_this();
  timer_.async_wait([self, interval, work = std::move(work)](error_code error) mutable {
    if (error || self->connection_ == nullptr) return;
    self->shared_.pool->post([self, interval, work = std::move(work)]() mutable {
      if (!work()) return;
      asio::post(self->shared_.io,
                 [self, interval, work = std::move(work)]() mutable { self->tick(interval, std::move(work)); });
    });
  });
}

void Stream::ended() {
  connection_ = nullptr;
  timer_.cancel();
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ending_.end();
}

std::string Stream::take() {
  std::lock_guard lock(mutex_);
  return std::exchange(waiting_, {});
}

bool Stream::closing() {
  std::lock_guard lock(mutex_);
  return closing_;
}

void Reply::send(HttpResponse response) {
  auto self = shared_from_this();
  asio::post(shared_.io, [self, response = std::move(response)]() mutable {
    const auto connection = std::exchange(self->connection_, nullptr);
    if (connection != nullptr) connection->reply(std::move(response));
  });
}

void Reply::ended() {
  connection_ = nullptr;
  ending_.end();
}

void Connection::read() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes_max));
  parser_->body_limit(shared_.limits.body_bytes_max);
  stream_.expires_after(shared_.limits.read_timeout);
  auto self = shared_from_this();
  http::async_read(stream_, buffer_, *parser_, [self](error_code error, size_t) { self->received(error); });
}

void Connection::received(error_code error) {
  if (error == http::error::body_limit)
    return reject(413, "the body is larger than " + std::to_string(shared_.limits.body_bytes_max) + " bytes");
  if (error == http::error::header_limit)
    return reject(431, "the header is larger than " + std::to_string(shared_.limits.header_bytes_max) + " bytes");
  if (error && error.category() == http::make_error_code(http::error::end_of_stream).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message)
    return reject(400, "this is not an HTTP/1.1 request");
  if (error) return drop();
  stream_.expires_never();
  const auto& message = parser_->get();
  keep_alive_ = message.keep_alive();
  HttpRequest request;
  request.method = std::string(message.method_string());
  if (!split_target(std::string(message.target()), &request)) return reject(400, "the request's target is not a path");
  for (const auto& field : message)
    request.headers[lower_case(std::string(field.name_string()))] = std::string(field.value());
  request.body = message.body();
  // The connection is moved on to the io thread with the answer: a connection must not end on a handler thread.
  shared_.pool->post([&shared = shared_, self = shared_from_this(), request = std::move(request)]() mutable {
    HttpResponse response = shared.handler(request);
    asio::post(shared.io, [self = std::move(self), response = std::move(response)]() mutable {
      self->answer(std::move(response));
    });
  });
}

void Connection::reject(unsigned status, const std::string& message) {
  keep_alive_ = false;
  HttpResponse response;
  response.status = static_cast<int>(status);
  response.content_type = "text/plain; charset=utf-8";
  response.body = message + "\n";
  answer(std::move(response));
}

void Connection::answer(HttpResponse response) {
  if (response.later) return answer_later(std::move(response.later));
  if (response.stream) return start_stream(std::move(response));
  response_ = {};
  response_.version(11);
  response_.result(static_cast<unsigned>(response.status));
  response_.set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.headers) response_.set(name, value);
  response_.keep_alive(keep_alive_);
  const bool head = parser_.has_value() && parser_->is_header_done() && parser_->get().method() == http::verb::head;
  response_.body() = std::move(response.body);
  response_.prepare_payload();
  if (head) response_.body().clear();
  stream_.expires_after(shared_.limits.read_timeout);
  auto self = shared_from_this();
  http::async_write(stream_, response_, [self](error_code error, size_t) {
    if (error || !self->keep_alive_) return self->drop();
    self->read();
  });
}

void Connection::answer_later(std::function<void(std::shared_ptr<HttpReply>)> make) {
  awaited_ = std::make_shared<Reply>(shared_, shared_from_this());
  // A client that goes away makes the socket readable with nothing to read; what it sends ahead of the answer stays where it is.
  auto self = shared_from_this();
  stream_.socket().async_wait(tcp::socket::wait_read, [self, waiting = awaited_](error_code error) {
    if (error || self->awaited_ != waiting) return;
    if (self->stream_.socket().available(error) == 0 || error) self->drop();
  });
  shared_.pool->post([make = std::move(make), reply = awaited_] { make(reply); });
}

void Connection::reply(HttpResponse response) {
  awaited_ = nullptr;
  stream_.socket().cancel();
  answer(std::move(response));
}

void Connection::start_stream(HttpResponse response) {
  head_.emplace(static_cast<http::status>(response.status), 11);
  head_->set(http::field::content_type, response.content_type);
  head_->set(http::field::cache_control, "no-store");
  for (const auto& [name, value] : response.headers) head_->set(name, value);
  head_->keep_alive(false);
  head_->chunked(true);
  head_writer_.emplace(*head_);
  out_ = std::make_shared<Stream>(shared_, shared_from_this());
  writing_ = true;
  auto self = shared_from_this();
  stream_.expires_after(shared_.limits.read_timeout);
  http::async_write_header(stream_, *head_writer_,
                           [self, begin = response.stream, body = response.body](error_code error, size_t) {
                             self->writing_ = false;
                             if (error || self->out_ == nullptr) return self->end_stream();
                             self->stream_.expires_never();
                             self->watch();
                             if (!body.empty()) (void)self->out_->write(body);
                             self->shared_.pool->post([begin, out = self->out_] { begin(out); });
                           });
}

// A client that goes away is noticed by reading, also while nothing is written.
void Connection::watch() {
  auto self = shared_from_this();
  stream_.socket().async_read_some(asio::buffer(&watched_, 1), [self](error_code error, size_t) {
    if (error) return self->end_stream();
    self->watch();
  });
}

void Connection::pump() {
  if (writing_ || out_ == nullptr || last_sent_) return;
  chunk_ = out_->take();
  auto self = shared_from_this();
  const auto done = [self](error_code error, size_t) {
    self->writing_ = false;
    if (error || self->last_sent_) return self->end_stream();
    self->pump();
  };
  if (!chunk_.empty()) {
    writing_ = true;
    asio::async_write(stream_.socket(), http::make_chunk(asio::buffer(chunk_)), done);
  } else if (out_->closing()) {
    writing_ = true;
    last_sent_ = true;
    asio::async_write(stream_.socket(), http::make_chunk_last(), done);
  }
}

void Connection::end_stream() {
  drop();
  if (const auto out = std::exchange(out_, nullptr)) out->ended();
}

void Connection::drop() {
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  stream_.close();
  if (const auto out = std::exchange(out_, nullptr)) out->ended();
  if (const auto awaited = std::exchange(awaited_, nullptr)) awaited->ended();
}

class Server final : public HttpServer {
 public:
  Server(HttpHandler handler, HttpLimits limits) : acceptor_(shared_.io) {
    shared_.handler = std::move(handler);
    shared_.limits = limits;
    shared_.pool = std::make_unique<BlockingPool>(kHandlerThreads);
  }
  ~Server() override { stop(); }

  Status listen(const std::string& address, uint16_t port) {
    error_code error;
    const auto ip = asio::ip::make_address(address, error);
    if (error)
      return {Code::kInvalidArgument,
              "'" + address + "' is not a numeric IP address to listen on, for example 127.0.0.1"};
    const tcp::endpoint endpoint(ip, port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    const std::string place = address + ":" + std::to_string(port);
    if (error == asio::error::address_in_use)
      return {Code::kUnavailable,
              "port " + std::to_string(port) + " on " + address + " is in use by another program; choose another port"};
    if (error == asio::error::access_denied) return {Code::kPermission, "this user may not listen on " + place};
    if (error) return {Code::kUnavailable, "cannot listen on " + place + ": " + error.message()};
    port_ = acceptor_.local_endpoint(error).port();
    accept();
    thread_ = std::thread([this] { shared_.io.run(); });
    return ok_status();
  }

  uint16_t port() const override { return port_; }

  void stop() override {
    if (!thread_.joinable()) {
      shared_.pool->stop();
      return;
    }
    asio::post(shared_.io, [this] {
      error_code ignored;
      acceptor_.close(ignored);
      stopping_ = true;
      drop_all();
    });
    // Handlers that still run post their answers to connections that are closed by then.
    shared_.pool->stop();
    asio::post(shared_.io, [this] { drop_all(); });
    thread_.join();
  }

 private:
  void drop_all() {
    std::vector<std::shared_ptr<Connection>> open;
    for (Connection* connection : shared_.connections) open.push_back(connection->shared_from_this());
    for (const auto& connection : open) connection->drop();
  }

  void accept() {
    acceptor_.async_accept([this](error_code error, tcp::socket socket) {
      if (stopping_ || error == asio::error::operation_aborted) return;
      if (error) {
        // Out of descriptors, mostly: try again a little later instead of spinning.
        retry_.expires_after(std::chrono::milliseconds(100));
        return retry_.async_wait([this](error_code e) {
          if (!e && !stopping_) accept();
        });
      }
      error_code ignored;
      socket.set_option(tcp::no_delay(true), ignored);
      if (shared_.connections.size() < shared_.limits.connections_max)
        std::make_shared<Connection>(shared_, std::move(socket))->read();
      accept();
    });
  }

  Shared shared_;
  tcp::acceptor acceptor_;
  asio::steady_timer retry_{shared_.io};
  uint16_t port_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(const std::string& address, uint16_t port, HttpHandler handler,
                                                      HttpLimits limits) {
  try {
    auto server = std::make_unique<Server>(std::move(handler), limits);
    TEPHRA_RETURN_IF_ERROR(server->listen(address, port));
    return std::unique_ptr<HttpServer>(std::move(server));
  } catch (const std::exception& error) {  // Asio's constructors throw when the process is out of descriptors
    return Status(Code::kUnavailable, std::string("the HTTP server cannot start: ") + error.what());
  }
}

}  // namespace tephra::cluster
