#include "cluster/http/http_server.h"

#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/post.hpp>
#include <thread>
#include <vector>

#include "cluster/http/http_connection.h"
#include "cluster/http/tls.h"

namespace tephra::cluster {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using error_code = boost::system::error_code;

constexpr int kHandlerThreads = 4;

class Server final : public HttpServer {
 public:
  Server(HttpHandler handler, HttpLimits limits, std::unique_ptr<asio::ssl::context> tls) : acceptor_(shared_.io) {
    shared_.handler = std::move(handler);
    shared_.limits = limits;
    shared_.tls = std::move(tls);
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
    std::vector<std::shared_ptr<HttpConnection>> open;
    for (HttpConnection* connection : shared_.connections) open.push_back(connection->shared_from_this());
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
      const std::string from = socket.remote_endpoint(ignored).address().to_string();
      const auto of_address = shared_.by_address.find(from);
      if (shared_.connections.size() < shared_.limits.connections_max &&
          (of_address == shared_.by_address.end() || of_address->second < shared_.limits.connections_per_address_max))
        make_connection(shared_, std::move(socket), from)->start();
      accept();
    });
  }

  HttpShared shared_;
  tcp::acceptor acceptor_;
  asio::steady_timer retry_{shared_.io};
  uint16_t port_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::start(const std::string& address, uint16_t port, HttpHandler handler,
                                                      HttpLimits limits, const TlsFiles& tls) {
  try {
    std::unique_ptr<asio::ssl::context> context;
    if (!tls.certificate.empty()) {
      TEPHRA_ASSIGN_OR_RETURN(context, tls_server_context(tls));
    }
    auto server = std::make_unique<Server>(std::move(handler), limits, std::move(context));
    TEPHRA_RETURN_IF_ERROR(server->listen(address, port));
    return std::unique_ptr<HttpServer>(std::move(server));
  } catch (const std::exception& error) {  // Asio's constructors throw when the process is out of descriptors
    return Status(Code::kUnavailable, std::string("the HTTP server cannot start: ") + error.what());
  }
}

}  // namespace tephra::cluster
