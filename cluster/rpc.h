// Framed messages between ranks (clients) and the coordinator (server) over TCP; docs/protocol.md. Each end runs one io
// thread of its own. Callbacks run on that thread, one at a time and in the order of arrival; they must not block and
// must not stop or destroy the object (stop(), RpcClient::close()). They may call send(), and RpcServer::close().
//
// Everything is bounded: message size, queued bytes and messages a connection, connections, time until the Hello. A
// peer that sends garbage, an unknown version, an oversize frame or anything before its Hello is closed with a reason.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "cluster/messages.h"

namespace tephra::cluster {

using ConnectionId = uint64_t;  // never reused within a server

// Versions of the protocol that one side speaks, both ends included. Each side says its own first; a connection's is the
// newest that both speak.
struct ProtocolVersions {
  uint16_t oldest = 1;
  uint16_t newest = 1;
};

struct RpcLimits {
  size_t message_bytes_max = 64u << 20;            // of one encoded message; larger frames close the connection
  size_t hello_bytes_max = 64u << 10;              // the same for the first message, before the peer is known
  size_t queue_bytes_max = 160u << 20;             // waiting to be written, a connection
  size_t queue_messages_max = 4096;                // the same, counted
  size_t connections_max = 4096;                   // further ones are closed at once
  std::chrono::milliseconds hello_timeout{10000};  // from accept to a complete Hello
  std::chrono::milliseconds close_timeout{2000};   // close() waits at most this long for queued messages to leave
  ProtocolVersions versions{};                     // of this build; others in tests only
};

class RpcServer {
 public:
  struct Handlers {
    // The first message of a connection is always a Hello, and none after it is.
    std::function<void(ConnectionId, RankMessage)> on_message;
    // Exactly once for each connection whose Hello was delivered, unless stop() ends it. kPeerLost: the peer went away;
    // kCorruption: it broke the protocol; kCancelled: close() was called.
    std::function<void(ConnectionId, const Status& reason)> on_closed;
  };

  // Listens on `address` (a numeric IPv4 or IPv6 address, "127.0.0.1") and `port` (0: a free one). kUnavailable when
  // the port is taken, kInvalidArgument for a bad address.
  static Result<std::unique_ptr<RpcServer>> start(const std::string& address, uint16_t port, Handlers handlers,
                                                  RpcLimits limits = {});
  virtual ~RpcServer() = default;  // stops

  virtual uint16_t port() const = 0;
  // The version agreed on with a peer whose Hello was delivered; 0: no such connection (any more). Any thread.
  virtual uint16_t version(ConnectionId connection) = 0;
  // Queues a message and returns at once; any thread. kNotFound: no such connection (any more). kBusy: the peer reads
  // too slowly and the queue is full; nothing was queued. kInvalidArgument: too large.
  virtual Status send(ConnectionId connection, const CoordinatorMessage& message) = 0;
  // Ends the connection after what is queued was written (bounded by close_timeout). Any thread; unknown ids are
  // ignored.
  virtual void close(ConnectionId connection) = 0;
  // Closes the listener and every connection at once and joins the io thread; no callback runs after it returns. Any
  // thread but the io thread. Twice is fine.
  virtual void stop() = 0;
};

class RpcClient {
 public:
  struct Handlers {
    std::function<void(CoordinatorMessage)> on_message;
    // Exactly once when the connection ends, unless this side called close(). To connect again, make a new client.
    std::function<void(const Status& reason)> on_closed;
  };

  // Connects (a refused or unreachable server is tried again, after 50 ms and then up to 1 s, until the deadline) and
  // agrees on the version. The caller then sends its Hello. kUnavailable: nobody answered in time; kUnsupported: no version
  // of the protocol that both speak, with both sides' named, or no Tephra coordinator. `host` is a name or numeric address. Blocks the caller.
  static Result<std::unique_ptr<RpcClient>> connect(const std::string& host, uint16_t port, Handlers handlers,
                                                    Deadline deadline, RpcLimits limits = {});
  virtual ~RpcClient() = default;  // closes

  virtual uint16_t version() const = 0;  // agreed on
  // Queues a message and returns at once; any thread. kBusy: the queue is full and nothing was queued (a heartbeat may
  // be dropped, other messages tried again after flush). After the connection ended: the reason, always the same.
  virtual Status send(const RankMessage& message) = 0;
  // Blocks until all that was queued before is handed to the kernel. kTimeout, or the reason of the closed connection.
  virtual Status flush(Deadline deadline) = 0;
  // Ends the connection after what is queued was written (bounded by close_timeout) and joins the io thread; no
  // callback runs after it returns. Twice is fine. Any thread but the io thread.
  virtual void close() = 0;
};

}  // namespace tephra::cluster
