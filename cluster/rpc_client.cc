#include <algorithm>
#include <atomic>
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <mutex>
#include <optional>
#include <thread>

#include "base/log.h"
#include "cluster/messages_codec.h"
#include "cluster/rpc_connection.h"

namespace tephra::cluster {
namespace {
using boost::asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;

// One try may not eat the whole deadline: a coordinator that is being restarted accepts nothing for a while.
constexpr std::chrono::seconds kTryTimeout{5};

class Client final : public RpcClient {
 public:
  Client(Handlers handlers, RpcLimits limits) : handlers_(std::move(handlers)), limits_(limits) {}
  ~Client() override { close(); }

  Status open(const std::string& host, uint16_t port, Deadline deadline);
  uint16_t version() const override { return connection_->version(); }
  Status send(const RankMessage& message) override;
  Status flush(Deadline deadline) override { return connection_->wait_written(deadline); }
  void close() override;

 private:
  Result<std::shared_ptr<Connection>> open_once(const std::string& host, uint16_t port, Deadline deadline);
  Status wait(tcp::socket& socket, std::optional<error_code>& done, Deadline deadline, const char* what);

  const Handlers handlers_;
  const RpcLimits limits_;
  boost::asio::io_context io_{1};
  std::shared_ptr<Connection> connection_;  // set before anyone else sees the client
  std::atomic<bool> closed_by_us_{false};
  std::mutex close_mutex_;
  std::thread thread_;  // guarded by close_mutex_
};

// Runs the context until the one operation under way is done; at the deadline the operation is cancelled.
Status Client::wait(tcp::socket& socket, std::optional<error_code>& done, Deadline deadline, const char* what) {
  io_.restart();
  const SteadyTime limit = std::min(deadline.at, std::chrono::steady_clock::now() + kTryTimeout);
  while (!done && std::chrono::steady_clock::now() < limit) io_.run_one_until(limit);
  if (!done) {
    error_code ignored;
    socket.close(ignored);
    io_.restart();
    io_.run();
    return {Code::kTimeout, std::string(what) + " took too long"};
  }
  return *done ? Status(Code::kUnavailable, std::string(what) + ": " + done->message()) : Status();
}

Result<std::shared_ptr<Connection>> Client::open_once(const std::string& host, uint16_t port, Deadline deadline) {
  error_code error;
  tcp::resolver resolver(io_);
  const auto endpoints = resolver.resolve(host, std::to_string(port), error);
  if (error) return Status(Code::kUnavailable, "the name '" + host + "' cannot be resolved: " + error.message());

  tcp::socket socket(io_);
  std::optional<error_code> done;
  boost::asio::async_connect(socket, endpoints, [&](const error_code& e, const tcp::endpoint&) { done = e; });
  TEPHRA_RETURN_IF_ERROR(wait(socket, done, deadline, "connecting"));
  configure_socket(socket);

  auto ours = preamble(limits_.versions);
  done.reset();
  boost::asio::async_write(socket, boost::asio::buffer(ours), [&](const error_code& e, size_t) { done = e; });
  TEPHRA_RETURN_IF_ERROR(wait(socket, done, deadline, "greeting"));
  std::array<char, kPreambleBytes> theirs{};
  done.reset();
  boost::asio::async_read(socket, boost::asio::buffer(theirs), [&](const error_code& e, size_t) { done = e; });
  TEPHRA_RETURN_IF_ERROR(wait(socket, done, deadline, "waiting for the coordinator's greeting"));
  TEPHRA_ASSIGN_OR_RETURN(const uint16_t version, agree(theirs, limits_.versions));
  auto connection = std::make_shared<Connection>(std::move(socket), limits_);
  connection->set_version(version);
  return connection;
}

Status Client::open(const std::string& host, uint16_t port, Deadline deadline) {
  milliseconds pause{50};
  for (;;) {
    Result<std::shared_ptr<Connection>> opened = open_once(host, port, deadline);
    if (opened.ok()) {
      connection_ = std::move(opened).value();
      break;
    }
    if (opened.status().code() == Code::kUnsupported) return opened.status();  // will not get better
    const SteadyTime next = std::chrono::steady_clock::now() + pause;
    if (next >= deadline.at) {
      return {Code::kUnavailable, "no coordinator at " + host + " port " + std::to_string(port) + ": " +
                                      opened.status().message() +
                                      "; check that it runs and that the address is reachable from this host"};
    }
    std::this_thread::sleep_until(next);
    pause = std::min(pause * 2, milliseconds(1000));
  }
  connection_->start({[this](std::string_view payload) -> Status {
                        TEPHRA_ASSIGN_OR_RETURN(CoordinatorMessage message, decode_coordinator_message(payload));
                        if (handlers_.on_message) handlers_.on_message(std::move(message));
                        return {};
                      },
                      [this](const Status& reason) {
                        if (!closed_by_us_ && handlers_.on_closed) handlers_.on_closed(reason);
                      }},
                     /*expect_preamble=*/false, limits_.message_bytes_max);
  io_.restart();
  thread_ = std::thread([this] {
    for (;;) {  // until the connection has ended: then nothing is left to run
      try {
        io_.run();
        return;
      } catch (const std::exception& e) {
        log::error("a handler of the coordinator's connection failed", {{"what", e.what()}});
      }
    }
  });
  return {};
}

Status Client::send(const RankMessage& message) {
  TEPHRA_ASSIGN_OR_RETURN(std::string bytes, encode(message));
  return connection_->queue(std::move(bytes));
}

void Client::close() {
  std::lock_guard lock(close_mutex_);
  if (!thread_.joinable()) return;
  TEPHRA_CHECK(thread_.get_id() != std::this_thread::get_id(), "RpcClient::close() from its own io thread");
  closed_by_us_ = true;
  connection_->close(Status(Code::kCancelled, "this side closed the connection"));
  thread_.join();
}

}  // namespace

Result<std::unique_ptr<RpcClient>> RpcClient::connect(const std::string& host, uint16_t port, Handlers handlers,
                                                      Deadline deadline, RpcLimits limits) {
  auto client = std::make_unique<Client>(std::move(handlers), limits);
  TEPHRA_RETURN_IF_ERROR(client->open(host, port, deadline));
  return std::unique_ptr<RpcClient>(std::move(client));
}

}  // namespace tephra::cluster
