#include "cluster/http/http_connection.h"

#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>

#include "cluster/http/http_text.h"

namespace tephra::cluster {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using error_code = boost::system::error_code;
using Plain = beast::tcp_stream;
using Tls = beast::ssl_stream<beast::tcp_stream>;

constexpr std::chrono::seconds kGoodbye{2};  // for the peer's half of TLS's ending

// The same over TCP and over TLS on TCP.
template <class Layer>
class Connection final : public HttpConnection {
 public:
  template <class... Args>
  Connection(HttpShared& shared, const std::string& from, Args&&... layer)
      : shared_(shared), stream_(std::forward<Args>(layer)...), from_(from) {
    shared_.connections.insert(this);
    ++shared_.by_address[from_];
  }
  ~Connection() override {
    shared_.connections.erase(this);
    if (--shared_.by_address[from_] == 0) shared_.by_address.erase(from_);
  }

  void start() override;
  void pump() override;
  void drop() override;
  void reply(HttpResponse response) override;

 private:
  std::shared_ptr<Connection> self() { return std::static_pointer_cast<Connection>(shared_from_this()); }
  beast::tcp_stream& tcp() { return beast::get_lowest_layer(stream_); }
  void read();
  void received(error_code error);
  void reject(unsigned status, const std::string& code, const std::string& message);
  void answer(HttpResponse response);
  void answer_later(std::function<void(std::shared_ptr<HttpReply>)> make);
  void start_stream(const HttpResponse& response);
  void watch();
  void end_stream();
  void stream_sent();
  void finish();

  HttpShared& shared_;
  Layer stream_;
  const std::string from_;  // the peer's address
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  std::optional<http::response<http::empty_body>> head_;
  std::optional<http::response_serializer<http::empty_body>> head_writer_;
  std::shared_ptr<ConnectionStream> out_;
  std::shared_ptr<ConnectionReply> awaited_;
  std::string chunk_;
  bool keep_alive_ = false;
  bool writing_ = false;
  bool last_sent_ = false;
  char watched_ = 0;
};

template <class Layer>
void Connection<Layer>::start() {
  if constexpr (std::is_same_v<Layer, Tls>) {
    tcp().expires_after(shared_.limits.read_timeout);
    stream_.async_handshake(asio::ssl::stream_base::server, [self = self()](error_code error) {
      if (error) return self->drop();
      self->read();
    });
  } else {
    read();
  }
}

// The answer is sent: TLS says so to the peer, which otherwise cannot know that nothing was cut off.
template <class Layer>
void Connection<Layer>::finish() {
  if constexpr (std::is_same_v<Layer, Tls>) {
    tcp().expires_after(kGoodbye);
    stream_.async_shutdown([self = self()](error_code) { self->drop(); });
  } else {
    drop();
  }
}

template <class Layer>
void Connection<Layer>::stream_sent() {
  if (const auto out = std::exchange(out_, nullptr)) out->ended();
  finish();
}

template <class Layer>
void Connection<Layer>::read() {
  parser_.emplace();
  parser_->header_limit(static_cast<uint32_t>(shared_.limits.header_bytes_max));
  parser_->body_limit(shared_.limits.body_bytes_max);
  tcp().expires_after(shared_.limits.read_timeout);
  auto self = this->self();
  http::async_read(stream_, buffer_, *parser_, [self](error_code error, size_t) { self->received(error); });
}

template <class Layer>
void Connection<Layer>::received(error_code error) {
  if (error == http::error::body_limit)
    return reject(413, "too_large",
                  "the body is larger than " + std::to_string(shared_.limits.body_bytes_max) + " bytes");
  if (error == http::error::header_limit)
    return reject(431, "too_large",
                  "the header is larger than " + std::to_string(shared_.limits.header_bytes_max) + " bytes");
  if (error && error.category() == http::make_error_code(http::error::end_of_stream).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message)
    return reject(400, "bad_request", "this is not an HTTP/1.1 request");
  if (error) return drop();
  tcp().expires_never();
  const auto& message = parser_->get();
  keep_alive_ = message.keep_alive();
  HttpRequest request;
  request.method = std::string(message.method_string());
  if (!split_target(std::string(message.target()), &request))
    return reject(400, "bad_request", "the request's target is not a path");
  for (const auto& field : message)
    request.headers[lower_case(std::string(field.name_string()))] = std::string(field.value());
  request.body = message.body();
  request.from = from_;
  // The connection is moved on to the io thread with the answer: a connection must not end on a handler thread.
  shared_.pool->post([&shared = shared_, self = this->self(), request = std::move(request)]() mutable {
    HttpResponse response = shared.handler(request);
    asio::post(shared.io, [self = std::move(self), response = std::move(response)]() mutable {
      self->answer(std::move(response));
    });
  });
}

template <class Layer>
void Connection<Layer>::reject(unsigned status, const std::string& code, const std::string& message) {
  keep_alive_ = false;
  HttpResponse response;
  response.status = static_cast<int>(status);
  response.body = "{\"error\":{\"code\":\"" + code + "\",\"message\":\"" + message + "\"}}\n";
  response.headers["X-Content-Type-Options"] = "nosniff";
  answer(std::move(response));
}

template <class Layer>
void Connection<Layer>::answer(HttpResponse response) {
  if (response.later) return answer_later(std::move(response.later));
  if (response.stream) return start_stream(response);
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
  tcp().expires_after(shared_.limits.read_timeout);
  auto self = this->self();
  http::async_write(stream_, response_, [self](error_code error, size_t) {
    if (error) return self->drop();
    if (!self->keep_alive_) return self->finish();
    self->read();
  });
}

template <class Layer>
void Connection<Layer>::answer_later(std::function<void(std::shared_ptr<HttpReply>)> make) {
  awaited_ = std::make_shared<ConnectionReply>(shared_, self());
  // A client that goes away makes the socket readable with nothing to read; what it sends ahead of the answer stays where it is.
  auto self = this->self();
  tcp().socket().async_wait(tcp::socket::wait_read, [self, waiting = awaited_](error_code error) {
    if (error || self->awaited_ != waiting) return;
    if (self->tcp().socket().available(error) == 0 || error) self->drop();
  });
  shared_.pool->post([make = std::move(make), reply = awaited_] { make(reply); });
}

template <class Layer>
void Connection<Layer>::reply(HttpResponse response) {
  awaited_ = nullptr;
  tcp().socket().cancel();
  answer(std::move(response));
}

template <class Layer>
void Connection<Layer>::start_stream(const HttpResponse& response) {
  head_.emplace(static_cast<http::status>(response.status), 11);
  head_->set(http::field::content_type, response.content_type);
  head_->set(http::field::cache_control, "no-store");
  for (const auto& [name, value] : response.headers) head_->set(name, value);
  head_->keep_alive(false);
  head_->chunked(true);
  head_writer_.emplace(*head_);
  out_ = std::make_shared<ConnectionStream>(shared_, self());
  writing_ = true;
  auto self = this->self();
  tcp().expires_after(shared_.limits.read_timeout);
  http::async_write_header(stream_, *head_writer_,
                           [self, begin = response.stream, body = response.body](error_code error, size_t) {
                             self->writing_ = false;
                             if (error || self->out_ == nullptr) return self->end_stream();
                             self->tcp().expires_never();
                             self->watch();
                             if (!body.empty()) (void)self->out_->write(body);
                             self->shared_.pool->post([begin, out = self->out_] { begin(out); });
                           });
}

// A client that goes away is noticed by reading, also while nothing is written.
template <class Layer>
void Connection<Layer>::watch() {
  auto self = this->self();
  stream_.async_read_some(asio::buffer(&watched_, 1), [self](error_code error, size_t) {
    if (error) return self->end_stream();
    self->watch();
  });
}

template <class Layer>
void Connection<Layer>::pump() {
  if (writing_ || out_ == nullptr || last_sent_) return;
  chunk_ = out_->take();
  auto self = this->self();
  const auto done = [self](error_code error, size_t) {
    self->writing_ = false;
    if (error) return self->end_stream();
    if (self->last_sent_) return self->stream_sent();
    self->pump();
  };
  if (!chunk_.empty()) {
    writing_ = true;
    asio::async_write(stream_, http::make_chunk(asio::buffer(chunk_)), done);
  } else if (out_->closing()) {
    writing_ = true;
    last_sent_ = true;
    asio::async_write(stream_, http::make_chunk_last(), done);
  }
}

template <class Layer>
void Connection<Layer>::end_stream() {
  drop();
  if (const auto out = std::exchange(out_, nullptr)) out->ended();
}

template <class Layer>
void Connection<Layer>::drop() {
  error_code ignored;
  tcp().socket().shutdown(tcp::socket::shutdown_both, ignored);
  tcp().close();
  if (const auto out = std::exchange(out_, nullptr)) out->ended();
  if (const auto awaited = std::exchange(awaited_, nullptr)) awaited->ended();
}

}  // namespace

std::shared_ptr<HttpConnection> make_connection(HttpShared& shared, tcp::socket socket, const std::string& from) {
  if (shared.tls == nullptr) return std::make_shared<Connection<Plain>>(shared, from, std::move(socket));
  return std::make_shared<Connection<Tls>>(shared, from, std::move(socket), *shared.tls);
}

}  // namespace tephra::cluster
