// A rank with bare hands: bytes on a socket, for tests of the rank server.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "cluster/messages_codec.h"

namespace tephra::cluster {

// Events of one kind, put in by a callback and taken out by the test.
template <typename T>
class Inbox {
 public:
  void put(T value) {
    std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    condition_.notify_all();
  }
  std::optional<T> take(std::chrono::milliseconds timeout = std::chrono::seconds(30)) {
    std::unique_lock lock(mutex_);
    if (!condition_.wait_for(lock, timeout, [&] { return !values_.empty(); })) return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  std::deque<T> values_;
};

// A peer with bare hands.
class RawSocket {
 public:
  explicit RawSocket(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
  }
  ~RawSocket() { close(fd_); }
  void send(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t n = ::send(fd_, bytes.data() + at, bytes.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has had enough
      at += n;
    }
  }
  void end_of_stream() { shutdown(fd_, SHUT_WR); }
  // What the server says until it closes; fails the test when it does not close.
  std::string read_to_end() {
    std::string bytes;
    char buffer[4096];
    for (;;) {
      pollfd p{fd_, POLLIN, 0};
      if (poll(&p, 1, 30000) <= 0) {
        ADD_FAILURE() << "the server did not close the connection";
        return bytes;
      }
      const ssize_t n = recv(fd_, buffer, sizeof(buffer), 0);
      if (n <= 0) return bytes;
      bytes.append(buffer, n);
    }
  }

 private:
  int fd_;
};

inline constexpr size_t kGreetingBytes = 8;
inline std::string u32(uint32_t v) {
  return std::string(reinterpret_cast<char*>(&v), 4);
}  // this machine is little-endian
inline std::string greeting(uint32_t oldest = 1, uint32_t newest = 1) { return "TPHR" + u32(oldest | newest << 16); }
inline std::string frame(const RankMessage& message) {
  const std::string payload = *encode(message);
  return u32(static_cast<uint32_t>(payload.size())) + payload;
}

}  // namespace tephra::cluster
