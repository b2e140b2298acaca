// A blocking HTTP client over a plain socket, for tests: what is sent is exactly what the test wrote.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace tephra::cluster {

class Socket {
 public:
  explicit Socket(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    timeval limit{20, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
  }
  ~Socket() { close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  bool connected() const { return connected_; }
  void send(const std::string& bytes) { (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  // Reads until `mark` was read (empty: until the end). What was read so far in any case.
  const std::string& read_until(const std::string& mark) {
    char buffer[4096];
    while (mark.empty() || text_.find(mark) == std::string::npos) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) {
        closed_ = n == 0;
        break;
      }
      text_.append(buffer, static_cast<size_t>(n));
    }
    return text_;
  }
  bool closed() const { return closed_; }
  // Whether the other end closes the connection within `limit`.
  bool gone(std::chrono::milliseconds limit) {
    pollfd watched{fd_, POLLIN, 0};
    if (poll(&watched, 1, static_cast<int>(limit.count())) <= 0) return false;
    char buffer[4096];
    return recv(fd_, buffer, sizeof buffer, 0) <= 0;
  }

 private:
  int fd_;
  bool connected_ = false;
  bool closed_ = false;
  std::string text_;
};

struct Reply {
  int status = 0;
  std::string head;
  std::string body;
};

inline Reply request(int port, const std::string& method, const std::string& target, const std::string& token = "",
                     const std::string& body = "", const std::string& more_headers = "") {
  Socket socket(port);
  std::string text = method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                     "\r\nConnection: close\r\n" + more_headers;
  if (!token.empty()) text += "Authorization: Bearer " + token + "\r\n";
  if (!body.empty() || method == "POST") text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  socket.send(text + "\r\n" + body);
  const std::string all = socket.read_until("");
  Reply reply;
  const size_t end = all.find("\r\n\r\n");
  if (all.size() < 12 || end == std::string::npos) return reply;
  reply.status = std::atoi(all.c_str() + 9);
  reply.head = all.substr(0, end);
  reply.body = all.substr(end + 4);
  return reply;
}

}  // namespace tephra::cluster
