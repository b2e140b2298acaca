#include <fcntl.h>

#include <atomic>
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "cluster/messages_codec.h"
#include "cluster/rpc_connection.h"

namespace tephra::cluster {
namespace {
using boost::asio::ip::tcp;
using boost::system::error_code;

class Server final : public RpcServer {
 public:
  Server(Handlers handlers, RpcLimits limits)
      : handlers_(std::move(handlers)), limits_(limits), acceptor_(io_), retry_(io_) {}
  ~Server() override { stop(); }

  Status listen(const std::string& address, uint16_t port);
  uint16_t port() const override { return port_; }
  uint16_t version(ConnectionId id) override {
    const auto connection = find(id);
    return connection == nullptr ? 0 : connection->version();
  }
  Status send(ConnectionId id, const CoordinatorMessage& message) override;
  void close(ConnectionId id) override;
  void stop() override;

 private:
  void accept();
  void welcome(tcp::socket socket);
  Status receive(ConnectionId id, bool& greeted, std::string_view payload);
  void forget(ConnectionId id, bool greeted, const std::string& peer, const Status& reason);
  std::shared_ptr<Connection> find(ConnectionId id);

  const Handlers handlers_;
  const RpcLimits limits_;
  boost::asio::io_context io_{1};
  tcp::acceptor acceptor_;
  boost::asio::steady_timer retry_;
  uint16_t port_ = 0;
  ConnectionId next_id_ = 1;  // io thread
  std::mutex mutex_;
  std::map<ConnectionId, std::shared_ptr<Connection>> connections_;  // guarded by mutex_
  std::mutex stop_mutex_;
  std::thread thread_;  // guarded by stop_mutex_
};

Status Server::listen(const std::string& address, uint16_t port) {
  error_code error;
  const auto ip = boost::asio::ip::make_address(address, error);
  if (error)
    return {Code::kInvalidArgument,
            "'" + address + "' is not a numeric IP address to listen on, for example 127.0.0.1"};
  const tcp::endpoint endpoint(ip, port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
  if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(boost::asio::socket_base::max_listen_connections, error);
  if (!error) port_ = acceptor_.local_endpoint(error).port();
  if (error) {
    return {Code::kUnavailable, RetryClass::kNeedsOperator,
            "cannot listen for ranks on " + address + " port " + std::to_string(port) + ": " + error.message()};
  }
  accept();
  thread_ = std::thread([this] {
    for (;;) {
      try {
        io_.run();
        return;
      } catch (
          const std::exception& e) {  // out of memory, or a callback's fault: one message is lost, the server goes on
        log::error("a handler of the rank server failed", {{"what", e.what()}});
      }
    }
  });
  return {};
}

void Server::accept() {
  acceptor_.async_accept([this](const error_code& error, tcp::socket socket) {
    if (error == boost::asio::error::operation_aborted) return;
    if (!error) {
      welcome(std::move(socket));
      return accept();
    }
    // Out of descriptors, usually: the waiting connection stays in the backlog.
    log::warning("a rank's connection could not be accepted", {{"error", error.message()}});
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](const error_code& stopped) {
      if (!stopped) accept();
    });
  });
}

void Server::welcome(tcp::socket socket) {
  configure_socket(socket);
  error_code ignored;
  const auto remote = socket.remote_endpoint(ignored);
  const std::string peer = remote.address().to_string(ignored) + ":" + std::to_string(remote.port());
  const ConnectionId id = next_id_++;
  auto connection = std::make_shared<Connection>(std::move(socket), limits_);
  {
    std::lock_guard lock(mutex_);
    if (connections_.size() >= limits_.connections_max) {
      log::warning("a rank's connection was closed: too many are open",
                   {{"peer", peer}, {"open", connections_.size()}});
      return;
    }
    connections_[id] = connection;
  }
  auto greeted = std::make_shared<bool>(false);
  connection->watch(limits_.hello_timeout,
                    "no Hello came within " + std::to_string(limits_.hello_timeout.count()) + " ms");
  connection->start({[this, id, greeted](std::string_view payload) { return receive(id, *greeted, payload); },
                     [this, id, greeted, peer](const Status& reason) { forget(id, *greeted, peer, reason); }},
                    /*expect_preamble=*/true, limits_.hello_bytes_max);
}

Status Server::receive(ConnectionId id, bool& greeted, std::string_view payload) {
  TEPHRA_ASSIGN_OR_RETURN(RankMessage message, decode_rank_message(payload));
  const bool is_hello = std::holds_alternative<Hello>(message);
  if (is_hello == greeted) {
    return {Code::kCorruption, greeted
                                   ? "a second Hello came on one connection"
                                   : "the first message is " + std::string(message_name(message)) + " and not Hello"};
  }
  if (is_hello) {
    greeted = true;
    if (auto connection = find(id)) {
      connection->cancel_watch();
      connection->set_frame_bytes_max(limits_.message_bytes_max);
    }
  }
  if (handlers_.on_message) handlers_.on_message(id, std::move(message));
  return {};
}

void Server::forget(ConnectionId id, bool greeted, const std::string& peer, const Status& reason) {
  {
    std::lock_guard lock(mutex_);
    connections_.erase(id);
  }
  if (!greeted) {
    log::warning("a connection ended before its Hello", {{"peer", peer}, {"reason", reason.to_string()}});
  } else if (handlers_.on_closed) {
    handlers_.on_closed(id, reason);
  }
}

std::shared_ptr<Connection> Server::find(ConnectionId id) {
  std::lock_guard lock(mutex_);
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second;
}

Status Server::send(ConnectionId id, const CoordinatorMessage& message) {
  auto connection = find(id);
  const Status gone(Code::kNotFound, "connection " + std::to_string(id) + " is closed");
  if (connection == nullptr) return gone;
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, encode(message));
  Status status = connection->queue(std::move(bytes));
  return status.ok() || status.code() == Code::kBusy ? status : gone;
}

void Server::close(ConnectionId id) {
  if (auto connection = find(id)) connection->close(Status(Code::kCancelled, "this side closed the connection"));
}

void Server::stop() {
  std::lock_guard stop_lock(stop_mutex_);
  if (!thread_.joinable()) return;
  TEPHRA_CHECK(thread_.get_id() != std::this_thread::get_id(), "RpcServer::stop() from its own io thread");
  boost::asio::post(io_, [this] {
    error_code ignored;
    acceptor_.close(ignored);
    retry_.cancel();
    std::map<ConnectionId, std::shared_ptr<Connection>> open;
    {
      std::lock_guard lock(mutex_);
      open.swap(connections_);
    }
    for (auto& [id, connection] : open) connection->drop();
  });
  thread_.join();  // run() returns when the last cancelled operation is done
}

}  // namespace

Result<std::unique_ptr<RpcServer>> RpcServer::start(const std::string& address, uint16_t port, Handlers handlers,
                                                    RpcLimits limits) {
  auto server = std::make_unique<Server>(std::move(handlers), limits);
  TEPHRA_RETURN_IF_ERROR(server->listen(address, port));
  return std::unique_ptr<RpcServer>(std::move(server));
}

}  // namespace tephra::cluster
