// A small HTTP/1.1 server behind a plain interface, with or without TLS. One io thread serves all connections; handlers run
// on a few threads of the server's own and may block for a short while.
//
// Limits (HttpLimits): header 8 KiB (431 beyond), body 1 MiB (413 beyond), 30 s for a whole request to come, however it
// trickles, and as long for an answer to be taken; 1024 connections, 256 of one address (further ones are closed at once).
// A client that does not read a stream is closed when 4 MiB wait for it. What the server itself refuses is answered with
// {"error": {"code", "message"}}.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/status.h"

namespace tephra::cluster {

struct HttpRequest {
  std::string method;                          // "GET"
  std::string path;                            // percent-decoded, without the query: "/api/v1/jobs"
  std::string raw_path;                        // as it was sent: "%2F" in a segment is still that
  std::string from;                            // numeric address of the peer
  std::map<std::string, std::string> query;    // percent-decoded
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// The writing end of a streamed response. Any thread. Copies share the stream.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  // Queues bytes; false when the client has gone (or reads too slowly), after which every call returns false.
  virtual bool write(const std::string& bytes) = 0;
  virtual void close() = 0;  // after what was written
  // Called once when the client goes away or the server stops; at once when it already has. Runs on the io thread, must
  // not block.
  virtual void on_closed(std::function<void()> callback) = 0;
  // Runs `work` on a handler thread every `interval` until it returns false or the stream is closed. At most one a
  // stream.
  virtual void repeat(std::chrono::milliseconds interval, std::function<bool()> work) = 0;
};

// Where a response goes that is made later. Any thread. Copies share it.
class HttpReply {
 public:
  virtual ~HttpReply() = default;
  virtual void send(struct HttpResponse response) = 0;  // once; not one that is made later itself
  // As HttpStream's.
  virtual void on_closed(std::function<void()> callback) = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::map<std::string, std::string> headers;
  // When set, `body` is sent first, then what the function writes, chunked, until close(). Called on a handler thread.
  std::function<void(std::shared_ptr<HttpStream>)> stream;
  // When set, all else is unused: called on a handler thread, and the client waits for what is sent then.
  std::function<void(std::shared_ptr<HttpReply>)> later;
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

struct HttpLimits {
  size_t header_bytes_max = 8u << 10;
  size_t body_bytes_max = 1u << 20;
  std::chrono::milliseconds read_timeout{30000};
  size_t connections_max = 1024;
  size_t connections_per_address_max = 256;
  size_t stream_bytes_max = 4u << 20;
};

// PEM files: the certificate with those that lead to its issuer, and its private key. TLS 1.2 or later is spoken.
struct TlsFiles {
  std::string certificate;  // empty: no TLS
  std::string key;
};

class HttpServer {
 public:
  // `address`: numeric. `port` 0: a free one. kUnavailable: the port is in use, named in the sentence;
  // kInvalidArgument: bad address, or files that hold no certificate and its key.
  static Result<std::unique_ptr<HttpServer>> start(const std::string& address, uint16_t port, HttpHandler handler,
                                                   HttpLimits limits = {}, const TlsFiles& tls = {});
  virtual ~HttpServer() = default;  // stop()
  virtual uint16_t port() const = 0;
  // Closes everything and joins the threads; no handler runs afterwards.
  virtual void stop() = 0;
};

bool is_loopback(const std::string& address);
// Compares in a time that depends on the lengths only.
bool equal_constant_time(const std::string& a, const std::string& b);

}  // namespace tephra::cluster
