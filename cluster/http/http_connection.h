// The inside of the HTTP server: connections, and where the answers that are made later or piece by piece go. For
// http_server.cc and its neighbours only.
#pragma once

#include <algorithm>
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/threads.h"
#include "cluster/http/http_server.h"

namespace tephra::cluster {

class HttpConnection;

// What the server and its connections share.
struct HttpShared {
  HttpHandler handler;
  HttpLimits limits;
  std::set<HttpConnection*> connections;           // io thread only; before `io`, whose last handlers own connections
  std::map<std::string, size_t> by_address;        // io thread only: connections of each peer
  std::unique_ptr<boost::asio::ssl::context> tls;  // none: plain
  boost::asio::io_context io{1};
  std::unique_ptr<BlockingPool> pool;
};

// One connection, on the io thread. It must not end on another one.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  virtual ~HttpConnection() = default;
  virtual void start() = 0;
  virtual void pump() = 0;  // more may be waiting in the response's stream
  virtual void drop() = 0;
  virtual void reply(HttpResponse response) = 0;  // what was to be made later
};

// With TLS when `shared` has a context for it.
std::shared_ptr<HttpConnection> make_connection(HttpShared& shared, boost::asio::ip::tcp::socket socket,
                                                const std::string& from);

// Tells once that a client has gone.
class Ending {
 public:
  void on_end(std::function<void()> callback);
  void end();

 private:
  std::mutex mutex_;
  bool ended_ = false;
  std::function<void()> callback_;
};

// The stream of one response. `connection_` is touched on the io thread only.
class ConnectionStream final : public HttpStream, public std::enable_shared_from_this<ConnectionStream> {
 public:
  ConnectionStream(HttpShared& shared, std::shared_ptr<HttpConnection> connection)
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

  HttpShared& shared_;
  boost::asio::steady_timer timer_;
  std::shared_ptr<HttpConnection> connection_;
  std::mutex mutex_;
  std::string waiting_;
  bool closing_ = false;
  bool ended_ = false;
  bool overflowed_ = false;
  Ending ending_;
};

// A response that is made later. `connection_` is touched on the io thread only.
class ConnectionReply final : public HttpReply, public std::enable_shared_from_this<ConnectionReply> {
 public:
  ConnectionReply(HttpShared& shared, std::shared_ptr<HttpConnection> connection)
      : shared_(shared), connection_(std::move(connection)) {}
  void send(HttpResponse response) override;
  void on_closed(std::function<void()> callback) override { ending_.on_end(std::move(callback)); }

  void ended();  // from the connection, on the io thread

 private:
  HttpShared& shared_;
  std::shared_ptr<HttpConnection> connection_;
  Ending ending_;
};

}  // namespace tephra::cluster
