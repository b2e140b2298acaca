// One framed TCP connection, the same for both ends. Private to rpc_server.cc and rpc_client.cc: it includes Asio.
//
// Threading: everything runs on the io thread of the socket's context but queue(), wait_written() and close(), which
// may be called from any thread.
#pragma once

#include <array>
#include <atomic>
#include <utility>  // first: Boost 1.74 uses std::exchange without it

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cluster/rpc.h"

namespace tephra::cluster {

inline constexpr size_t kPreambleBytes = 8;
// "TPHR", then the oldest and the newest version as u16 little-endian.
std::array<char, kPreambleBytes> preamble(ProtocolVersions ours);
// The newest version that both sides speak. kUnsupported: there is none, naming both sides', or no Tephra at all.
Result<uint16_t> agree(const std::array<char, kPreambleBytes>& theirs, ProtocolVersions ours);

// No delay, keep-alive (a vanished host is noticed within half a minute), close-on-exec.
void configure_socket(boost::asio::ip::tcp::socket& socket);

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  struct Events {
    std::function<Status(std::string_view payload)> on_frame;  // an error ends the connection with that reason
    std::function<void(const Status& reason)> on_end;          // exactly once, unless drop() came first
  };
  Connection(boost::asio::ip::tcp::socket socket, RpcLimits limits);

  // `expect_preamble`: the server's side. `frame_bytes_max`: of the next frames, changed by set_frame_bytes_max.
  void start(Events events, bool expect_preamble, size_t frame_bytes_max);
  uint16_t version() const { return version_; }  // 0: not agreed on yet; any thread
  void set_version(uint16_t version) { version_ = version; }
  void set_frame_bytes_max(size_t bytes) { frame_bytes_max_ = bytes; }
  // Ends with kTimeout unless cancel_watch() comes first.
  void watch(std::chrono::milliseconds timeout, std::string words);
  void cancel_watch() { watch_.cancel(); }

  Status queue(std::string payload);  // as RpcClient::send
  Status wait_written(Deadline deadline);
  // Writes what is queued, says goodbye, waits for the peer's, then ends with `reason`; all bounded by close_timeout.
  void close(Status reason);
  void drop();  // ends at once, without on_end; io thread, or when the io thread is gone

 private:
  void read_preamble();
  void read_header();
  void read_body(size_t length);
  Status deliver();
  void write_failed(Status reason);
  void write_next();
  void finish_closing();
  void end(Status reason);

  const RpcLimits limits_;
  boost::asio::ip::tcp::socket socket_;
  boost::asio::steady_timer watch_;
  boost::asio::steady_timer close_timer_;
  Events events_;
  size_t frame_bytes_max_ = 0;
  std::atomic<uint16_t> version_{0};
  std::array<char, kPreambleBytes> preamble_in_{};
  std::array<char, kPreambleBytes> preamble_out_{};
  std::array<unsigned char, 4> header_{};
  std::string body_;
  bool ended_ = false;
  bool writing_ = false;
  bool shut_ = false;                   // our direction is shut down
  std::vector<std::string> in_flight_;  // frames being written

  std::mutex mutex_;
  std::condition_variable written_;
  // Guarded by mutex_:
  std::deque<std::string> queue_;  // frames
  size_t queued_bytes_ = 0;        // with those in flight
  size_t queued_messages_ = 0;
  bool closing_ = false;  // nothing more is queued
  bool discard_ = false;  // close() was called: what the peer still sends is dropped
  Status reason_;         // why it is closing or closed
};

}  // namespace tephra::cluster
