#include "cluster/http/http_client.h"

#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <limits>
#include <optional>

#include "base/version.h"
#include "cluster/http/http_text.h"
#include "cluster/http/tls.h"

namespace tephra::cluster {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using error_code = boost::system::error_code;
using Tls = beast::ssl_stream<beast::tcp_stream>;
using OnBytes = std::function<bool(const std::string&)>;

constexpr uint64_t kAnswerBytes = uint64_t{1} << 30;

// Runs what was begun until `done`, or until it is cancelled, which `close` brings about.
void run_until(asio::io_context& io, const bool& done, const std::function<bool()>& cancelled,
               const std::function<void()>& close) {
  io.restart();
  if (!cancelled) {
    io.run();
    return;
  }
  while (!done) {
    io.run_for(std::chrono::milliseconds(100));
    if (done || !cancelled()) continue;
    close();
    io.run();
    return;
  }
}

template <class Message>
HttpAnswer head_of(const Message& message) {
  HttpAnswer answer{static_cast<int>(message.result_int())};
  for (const auto& field : message)
    answer.headers[lower_case(std::string(field.name_string()))] = std::string(field.value());
  return answer;
}

// One request over a connected stream. Operations are asynchronous ones that are waited for: only those have time-outs.
template <class Layer>
class Exchange {
 public:
  Exchange(asio::io_context& io, Layer& stream, const HttpCall& call) : io_(io), stream_(stream), call_(call) {}

  error_code handshake() {
    return wait([&](auto done) { stream_.async_handshake(asio::ssl::stream_base::client, done); });
  }
  error_code send(http::request<http::string_body>& request) {
    return wait([&](auto done) { http::async_write(stream_, request, ignore_size(done)); });
  }
  error_code receive(HttpAnswer* answer) {
    http::response_parser<http::string_body> parser;
    parser.body_limit(kAnswerBytes);
    const error_code error = wait([&](auto done) { http::async_read(stream_, buffer_, parser, ignore_size(done)); });
    if (error) return error;
    *answer = head_of(parser.get());
    answer->body = std::move(parser.get().body());
    return error;
  }
  error_code receive(HttpAnswer* head, const OnBytes& on_bytes) {
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(
        std::numeric_limits<uint64_t>::max());  // with none, Boost 1.74 takes any Content-Length for too large
    error_code error = wait([&](auto done) { http::async_read_header(stream_, buffer_, parser, ignore_size(done)); });
    if (error) return error;
    *head = head_of(parser.get());
    char chunk[16384];
    while (!parser.is_done()) {
      // One that trickles never lets a wait grow long enough to be asked about.
      if (call_.cancelled && call_.cancelled()) return asio::error::operation_aborted;
      parser.get().body().data = chunk;
      parser.get().body().size = sizeof chunk;
      error = wait([&](auto done) { http::async_read_some(stream_, buffer_, parser, ignore_size(done)); });
      if (error && error != http::error::need_buffer) return error;
      const size_t n = sizeof chunk - parser.get().body().size;
      if (n > 0 && !on_bytes(std::string(chunk, n))) break;
    }
    return {};
  }

 private:
  template <class Done>
  static auto ignore_size(Done done) {
    return [done](error_code error, size_t) { done(error); };
  }
  template <class Start>
  error_code wait(Start start) {
    auto& socket = beast::get_lowest_layer(stream_);
    if (call_.timeout.count() > 0)
      socket.expires_after(call_.timeout);
    else
      socket.expires_never();
    error_code result;
    bool done = false;
    start([&](error_code error) {
      result = error;
      done = true;
    });
    run_until(io_, done, call_.cancelled, [&socket] { socket.cancel(); });
    return result;
  }

  asio::io_context& io_;
  Layer& stream_;
  const HttpCall& call_;
  beast::flat_buffer buffer_;
};

http::request<http::string_body> make_request(const HttpEndpoint& endpoint, const HttpUrl& url, const HttpCall& call) {
  const std::string target = url.path + call.target;
  http::request<http::string_body> request{http::string_to_verb(call.method), target.empty() ? "/" : target, 11};
  const std::string host = url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
  request.set(http::field::host, host + ":" + url.port);
  request.set(http::field::user_agent, "tephra/" + std::string(kVersion));
  request.keep_alive(false);
  if (!endpoint.token.empty()) request.set(http::field::authorization, "Bearer " + endpoint.token);
  if (!call.body.empty()) request.set(http::field::content_type, "application/json");
  for (const auto& [name, value] : call.headers) request.set(name, value);
  request.body() = call.body;
  request.prepare_payload();
  return request;
}

Status cancelled_status(const HttpEndpoint& endpoint) { return {Code::kCancelled, endpoint.url + ": given up"}; }

// What `work` makes of a connection to the endpoint on which the request was sent.
template <class Work>
Status with_connection(const HttpEndpoint& endpoint, const HttpCall& call, Work work) {
  TEPHRA_ASSIGN_OR_RETURN(const HttpUrl url, parse_http_url(endpoint.url));
  std::unique_ptr<asio::ssl::context> tls;
  if (url.tls) {
    TEPHRA_ASSIGN_OR_RETURN(tls, tls_client_context(endpoint.tls_authority));
  }
  asio::io_context io;
  beast::tcp_stream tcp_stream(io);
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(url.host, url.port, error);
  if (!error) {
    if (call.timeout.count() > 0) tcp_stream.expires_after(call.timeout);
    bool done = false;
    tcp_stream.async_connect(found, [&](error_code result, const tcp::endpoint&) {
      error = result;
      done = true;
    });
    run_until(io, done, call.cancelled, [&tcp_stream] { tcp_stream.cancel(); });
  }
  if (error == asio::error::operation_aborted) return cancelled_status(endpoint);
  if (error) return {Code::kUnavailable, "nobody answers at " + endpoint.url + " (" + error.message() + ")"};
  http::request<http::string_body> request = make_request(endpoint, url, call);
  const auto run = [&](auto exchange) -> Status {
    error = exchange.send(request);
    if (!error) error = work(exchange);
    if (error == asio::error::operation_aborted) return cancelled_status(endpoint);
    if (error == beast::error::timeout) return {Code::kTimeout, endpoint.url + ": nothing came in time"};
    return error ? Status(Code::kPeerLost, endpoint.url + ": " + error.message()) : ok_status();
  };
  if (!url.tls) return run(Exchange<beast::tcp_stream>(io, tcp_stream, call));
  Tls stream(std::move(tcp_stream), *tls);
  SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str());
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  error = Exchange<Tls>(io, stream, call).handshake();
  if (error == asio::error::operation_aborted) return cancelled_status(endpoint);
  if (error)
    return {Code::kPermission,
            endpoint.url + ": no trusted connection (" + error.message() +
                "); name the file of its certificate or of its issuer's with --tls-ca, and the host as "
                "the certificate does"};
  return run(Exchange<Tls>(io, stream, call));
}

}  // namespace

Result<HttpUrl> parse_http_url(const std::string& url) {
  const auto bad = [&url] {
    return Status(Code::kInvalidArgument,
                  "'" + url + "' is no address; it looks like http://127.0.0.1:7070 or https://HOST:PORT");
  };
  HttpUrl out;
  out.tls = url.starts_with("https://");
  if (!out.tls && !url.starts_with("http://")) return bad();
  const size_t begin = out.tls ? 8 : 7;
  const size_t slash = std::min(url.find_first_of("/?", begin), url.size());
  std::string place = url.substr(begin, slash - begin);
  out.path = url.substr(slash);
  if (out.path == "/") out.path.clear();
  if (out.path.starts_with('?')) out.path = "/" + out.path;
  const size_t bracket = place.starts_with('[') ? place.find(']') : std::string::npos;
  const size_t colon = place.find(':', bracket == std::string::npos ? 0 : bracket);
  out.port = colon == std::string::npos ? (out.tls ? "443" : "80") : place.substr(colon + 1);
  place = place.substr(0, colon);
  out.host = bracket == std::string::npos ? place : place.substr(1, bracket - 1);
  if (out.host.empty() || out.port.empty() || out.port.find_first_not_of("0123456789") != std::string::npos)
    return bad();
  if (url.find_first_of(" \r\n\t@") != std::string::npos) return bad();
  return out;
}

Result<HttpAnswer> http_call(const HttpEndpoint& endpoint, const HttpCall& call) {
  HttpAnswer answer;
  TEPHRA_RETURN_IF_ERROR(with_connection(endpoint, call, [&](auto& exchange) { return exchange.receive(&answer); }));
  return answer;
}

Result<HttpAnswer> http_call_stream(const HttpEndpoint& endpoint, const HttpCall& call, const OnBytes& on_bytes) {
  HttpAnswer head;
  TEPHRA_RETURN_IF_ERROR(
      with_connection(endpoint, call, [&](auto& exchange) { return exchange.receive(&head, on_bytes); }));
  return head;
}

}  // namespace tephra::cluster
