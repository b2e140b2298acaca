// What is proved: that a submission whose answer is lost is sent again, as the same one.
#include "cli/http_client.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

namespace tephra::cli {
namespace {

// Takes connections one after another: the first `lost` are closed once their request is there, the next one is answered.
class Flaky {
 public:
  explicit Flaky(int lost) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(fd_, 8), 0);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this, lost] {
      for (int i = 0; i <= lost; ++i) serve(i < lost);
    });
  }
  ~Flaky() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  const std::vector<std::string>& requests() const { return requests_; }  // once the client has its answer

 private:
  void serve(bool lost) {
    const int client = accept(fd_, nullptr, nullptr);
    if (client < 0) return;
    std::string text;
    char buffer[4096];
    while (!text.ends_with("{}")) {
      const ssize_t n = recv(client, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      text.append(buffer, static_cast<size_t>(n));
    }
    requests_.push_back(text);
    const std::string answer = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
    if (!lost) (void)!send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    close(client);
  }

  int fd_;
  int port_ = 0;
  std::thread thread_;
  std::vector<std::string> requests_;
};

std::string key_of(const std::string& request) {
  const size_t at = request.find("Idempotency-Key: ");
  return at == std::string::npos ? "" : request.substr(at, request.find("\r\n", at) - at);
}

TEST(HttpPostOnce, IsSentAgainAsTheSame) {
  Flaky server(2);
  const auto reply = http_post_once({server.url()}, "/api/v1/jobs", "{}");
  ASSERT_TRUE(reply.ok()) << reply.status().to_string();
  EXPECT_EQ(reply->status, 201);
  ASSERT_EQ(server.requests().size(), 3u);
  EXPECT_NE(key_of(server.requests()[0]), "");
  EXPECT_EQ(key_of(server.requests()[1]), key_of(server.requests()[0]));
  EXPECT_EQ(server.requests()[2], server.requests()[0]);
}

TEST(HttpPostOnce, GivesUpAfterThree) {
  Flaky server(3);
  EXPECT_EQ(http_post_once({server.url()}, "/api/v1/jobs", "{}").status().code(), Code::kPeerLost);
}

}  // namespace
}  // namespace tephra::cli
