#include "cli/http_client.h"

#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <nlohmann/json.hpp>

#include "base/version.h"

namespace tephra::cli {
namespace {
namespace beast = boost::beast;
namespace http = beast::http;
using tcp = boost::asio::ip::tcp;

struct Address {
  std::string host, port;
};

Result<Address> parse_url(const std::string& url) {
  const std::string prefix = "http://";
  size_t colon = url.rfind(':');
  if (!url.starts_with(prefix) || colon == std::string::npos || colon < prefix.size())
    return Status(Code::kInvalidArgument, "'" + url + "' is not a server address; it looks like http://127.0.0.1:7070");
  std::string port = url.substr(colon + 1);
  while (!port.empty() && port.back() == '/') port.pop_back();
  return Address{url.substr(prefix.size(), colon - prefix.size()), port};
}

struct Connection {
  boost::asio::io_context io;
  beast::tcp_stream stream{io};
  beast::flat_buffer buffer;
};

Status open(Connection& connection, const Server& server, http::request<http::string_body> request) {
  TEPHRA_ASSIGN_OR_RETURN(Address address, parse_url(server.url));
  beast::error_code error;
  tcp::resolver resolver(connection.io);
  auto found = resolver.resolve(address.host, address.port, error);
  if (!error) connection.stream.connect(found, error);
  if (error)
    return {Code::kUnavailable,
            "no coordinator answers at " + server.url + " (" + error.message() + "); start one with tephra serve"};
  request.set(http::field::host, address.host);
  request.set(http::field::user_agent, "tephra/" + std::string(kVersion));
  if (!server.token.empty()) request.set(http::field::authorization, "Bearer " + server.token);
  request.prepare_payload();
  http::write(connection.stream, request, error);
  if (error) return {Code::kPeerLost, server.url + ": " + error.message()};
  return ok_status();
}
}  // namespace

Result<HttpReply> http_request(const Server& server, const std::string& method, const std::string& target,
                               const std::string& body) {
  Connection connection;
  http::request<http::string_body> request{http::string_to_verb(method), target, 11};
  request.body() = body;
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  TEPHRA_RETURN_IF_ERROR(open(connection, server, std::move(request)));
  http::response_parser<http::string_body> parser;
  parser.body_limit(uint64_t{1} << 30);
  beast::error_code error;
  http::read(connection.stream, connection.buffer, parser, error);
  if (error) return Status(Code::kPeerLost, server.url + ": " + error.message());
  return HttpReply{static_cast<int>(parser.get().result_int()), parser.get().body()};
}

Result<int> http_stream(const Server& server, const std::string& target,
                        const std::function<bool(const std::string&)>& on_bytes) {
  Connection connection;
  TEPHRA_RETURN_IF_ERROR(open(connection, server, http::request<http::string_body>{http::verb::get, target, 11}));
  http::response_parser<http::buffer_body> parser;
  parser.body_limit(boost::none);
  beast::error_code error;
  http::read_header(connection.stream, connection.buffer, parser, error);
  if (error) return Status(Code::kPeerLost, server.url + ": " + error.message());
  char chunk[16384];
  while (!parser.is_done()) {
    parser.get().body().data = chunk;
    parser.get().body().size = sizeof chunk;
    http::read_some(connection.stream, connection.buffer, parser, error);
    if (error == http::error::need_buffer) error = {};
    if (error) return Status(Code::kPeerLost, server.url + ": the connection ended (" + error.message() + ")");
    size_t n = sizeof chunk - parser.get().body().size;
    if (n > 0 && !on_bytes(std::string(chunk, n))) break;
  }
  return static_cast<int>(parser.get().result_int());
}

Result<std::string> checked(const Result<HttpReply>& reply) {
  if (!reply.ok()) return reply.status();
  if (reply->status >= 200 && reply->status < 300) return reply->body;
  auto j = nlohmann::json::parse(reply->body, nullptr, false);
  std::string message = reply->body;
  if (j.is_object() && j.contains("error") && j["error"].is_object()) message = j["error"].value("message", message);
  switch (reply->status) {
    case 401:
    case 403: return Status(Code::kPermission, message + "; set TEPHRA_TOKEN or give --store of the server's store");
    case 404: return Status(Code::kNotFound, message);
    case 409: return Status(Code::kAlreadyExists, message);
    case 429: return Status(Code::kBusy, message);
    case 400:
    case 422: return Status(Code::kInvalidArgument, message);
    case 503: return Status(Code::kUnavailable, message);
    default: return Status(Code::kInternal, "the server answered " + std::to_string(reply->status) + ": " + message);
  }
}

}  // namespace tephra::cli
