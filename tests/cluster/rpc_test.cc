// Client and server over real sockets on 127.0.0.1: order, back-pressure, closing, and peers that break the protocol.
// After each abuse the server must still serve an honest client. Waiting is for events, with a generous deadline.
#include "cluster/rpc.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <mutex>
#include <optional>
#include <thread>

#include "cluster/messages_codec.h"
#include "tests/cluster/raw_peer.h"

namespace tephra::cluster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline soon() { return Deadline::after(seconds(30)); }

struct Received {
  ConnectionId id;
  RankMessage message;
};
struct Closed {
  ConnectionId id;
  Status reason;
};

class Rpc : public ::testing::Test {
 protected:
  void serve(RpcLimits limits = {}) {
    auto started = RpcServer::start("127.0.0.1", 0,
                                    {[this](ConnectionId id, RankMessage m) {
                                       received_.put({id, std::move(m)});
                                     },
                                     [this](ConnectionId id, const Status& s) {
                                       closed_.put({id, s});
                                     }},
                                    limits);
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(started).value();
  }

  std::unique_ptr<RpcClient> connect(RpcLimits limits = {}) {
    auto client = RpcClient::connect("127.0.0.1", server_->port(),
                                     {[this](CoordinatorMessage m) { answers_.put(std::move(m)); },
                                      [this](const Status& s) { client_closed_.put(s); }},
                                     soon(), limits);
    EXPECT_TRUE(client.ok()) << client.status().to_string();
    return client.ok() ? std::move(client).value() : nullptr;
  }

  // Says Hello and returns the server's id of the connection.
  ConnectionId greet(RpcClient& client) {
    EXPECT_TRUE(client.send(Hello{"job", 1, 0, 1, "token", 1, "build"}).ok());
    auto hello = received_.take();
    EXPECT_TRUE(hello && std::holds_alternative<Hello>(hello->message));
    return hello ? hello->id : 0;
  }

  void expect_still_serving() {
    auto client = connect();
    ASSERT_NE(client, nullptr);
    const ConnectionId id = greet(*client);
    ASSERT_TRUE(server_->send(id, Stop{"test"}).ok());
    auto answer = answers_.take();
    ASSERT_TRUE(answer);
    EXPECT_EQ(std::get<Stop>(*answer).reason, "test");
    client->close();
    auto closed = closed_.take();
    ASSERT_TRUE(closed);
    EXPECT_EQ(closed->id, id);
  }

  Inbox<Received> received_;
  Inbox<Closed> closed_;
  Inbox<CoordinatorMessage> answers_;
  Inbox<Status> client_closed_;
  std::unique_ptr<RpcServer> server_;  // stopped before the inboxes go
};

// A coordinator with bare hands.
class Listener {
 public:
  Listener() : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&at), size), 0);
    EXPECT_EQ(listen(fd_, 4), 0);
    EXPECT_EQ(getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size), 0);
    port_ = ntohs(at.sin_port);
  }
  ~Listener() { close(fd_); }
  uint16_t port() const { return port_; }
  int accept_one() { return accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC); }

 private:
  int fd_;
  uint16_t port_ = 0;
};

const Hello kHello{"job", 1, 0, 1, "token", 1, "build"};

TEST_F(Rpc, MessagesArriveInOrderBothWays) {
  serve();
  auto client = connect();
  ASSERT_NE(client, nullptr);
  const ConnectionId id = greet(*client);
  for (int64_t i = 0; i < 1000; ++i) {
    ASSERT_TRUE(client->send(Heartbeat{"forward", "", 0, i, 0, 0}).ok());
    ASSERT_TRUE(server_->send(id, Committed{"s", i, "c", true, ""}).ok());
  }
  for (int64_t i = 0; i < 1000; ++i) {
    auto up = received_.take();
    ASSERT_TRUE(up);
    ASSERT_EQ(std::get<Heartbeat>(up->message).step, i);
    auto down = answers_.take();
    ASSERT_TRUE(down);
    ASSERT_EQ(std::get<Committed>(*down).step, i);
  }
}

TEST_F(Rpc, CarriesLargeMessages) {
  serve();
  auto client = connect();
  const ConnectionId id = greet(*client);
  const std::string large(40u << 20, 'x');
  ASSERT_TRUE(client->send(ShardWritten{"s", 1, large, ""}).ok());
  ASSERT_TRUE(server_->send(id, Task{"train", "s", "{}", large, 1, 0, "", ""}).ok());
  auto up = received_.take();
  ASSERT_TRUE(up);
  EXPECT_EQ(std::get<ShardWritten>(up->message).shard_summary, large);
  auto down = answers_.take();
  ASSERT_TRUE(down);
  EXPECT_EQ(std::get<Task>(*down).located_manifest, large);
}

TEST_F(Rpc, LastMessageBeforeCloseArrives) {
  serve();
  for (int round = 0; round < 50; ++round) {
    auto client = connect();
    const ConnectionId id = greet(*client);
    // The server talks at the same time: unread answers must not turn the client's goodbye into a reset.
    for (int i = 0; i < 20; ++i) (void)server_->send(id, Committed{"s", i, "c", true, ""});
    ASSERT_TRUE(client->send(Finished{Code::kOk, RetryClass::kPermanent, "", std::to_string(round)}).ok());
    client->close();
    auto finished = received_.take();
    ASSERT_TRUE(finished) << round;
    EXPECT_EQ(std::get<Finished>(finished->message).result_json, std::to_string(round));
    auto closed = closed_.take();
    ASSERT_TRUE(closed);
    EXPECT_EQ(closed->reason.code(), Code::kPeerLost);
    EXPECT_EQ(server_->send(id, Stop{""}).code(), Code::kNotFound);
  }
}

TEST_F(Rpc, RefusalReachesTheClientBeforeTheClose) {
  serve();
  auto client = connect();
  const ConnectionId id = greet(*client);
  ASSERT_TRUE(server_->send(id, Refused{"old attempt"}).ok());
  server_->close(id);
  auto refused = answers_.take();
  ASSERT_TRUE(refused);
  EXPECT_EQ(std::get<Refused>(*refused).message, "old attempt");
  auto reason = client_closed_.take();
  ASSERT_TRUE(reason);
  EXPECT_EQ(reason->code(), Code::kPeerLost);
  auto closed = closed_.take();
  ASSERT_TRUE(closed);
  EXPECT_EQ(closed->reason.code(), Code::kCancelled);
  // The client stays closed, with the same words.
  EXPECT_EQ(client->send(Heartbeat{}).message(), reason->message());
  EXPECT_EQ(client->flush(soon()).message(), reason->message());
}

TEST_F(Rpc, StoppingTheServerEndsItsClients) {
  serve();
  auto client = connect();
  greet(*client);
  server_->stop();
  server_->stop();
  auto reason = client_closed_.take();
  ASSERT_TRUE(reason);
  EXPECT_EQ(reason->code(), Code::kPeerLost);
  EXPECT_FALSE(closed_.take(milliseconds(0)));  // stop() reports no connection
}

TEST_F(Rpc, FullQueueIsBusyAndNothingIsLost) {
  RpcLimits limits;
  limits.queue_bytes_max = 8u << 20;
  serve(limits);
  RawSocket slow(server_->port());  // reads nothing
  slow.send(greeting() + frame(kHello));
  auto hello = received_.take();
  ASSERT_TRUE(hello);
  const Task task{"train", "", "", std::string(1u << 20, 'x'), 1, 0, "", ""};
  int sent = 0;
  Status status;
  while (sent < 64 && (status = server_->send(hello->id, task)).ok()) ++sent;
  EXPECT_EQ(status.code(), Code::kBusy) << status.to_string();
  EXPECT_GE(sent, 7);
  server_->close(hello->id);
  const std::string all = slow.read_to_end();
  const size_t each = 4 + encode(CoordinatorMessage(task))->size();
  EXPECT_EQ(all.size(), 8 + sent * each);
}

// A coordinator that greets and then does not read, so that the client's queue fills for certain.
TEST_F(Rpc, ClientQueueIsBoundedByCount) {
  Listener listener;
  RpcLimits limits;
  limits.queue_messages_max = 3;
  auto connecting = std::async(std::launch::async,
                               [&] { return RpcClient::connect("127.0.0.1", listener.port(), {}, soon(), limits); });
  const int peer = listener.accept_one();
  ::send(peer, greeting().data(), kGreetingBytes, MSG_NOSIGNAL);
  auto client = connecting.get();
  ASSERT_TRUE(client.ok()) << client.status().to_string();
  const Log log{log::Level::kInfo, std::string(4u << 20, 'x')};
  Status status;
  for (int i = 0; i < 1000 && status.code() != Code::kBusy; ++i) status = (*client)->send(log);
  EXPECT_EQ(status.code(), Code::kBusy);
  EXPECT_NE(status.message().find("3 messages"), std::string::npos) << status.message();
  EXPECT_EQ((*client)->flush(Deadline::after(milliseconds(50))).code(), Code::kTimeout);
  std::thread reader([&] {
    std::vector<char> buffer(1u << 20);
    while (recv(peer, buffer.data(), buffer.size(), 0) > 0) {
    }
    ::close(peer);
  });
  EXPECT_TRUE((*client)->flush(soon()).ok());
  EXPECT_TRUE((*client)->send(log).ok());
  (*client)->close();
  reader.join();
}

TEST_F(Rpc, ConnectTriesUntilTheServerIsThere) {
  serve();
  const uint16_t port = server_->port();
  server_.reset();
  std::thread later([&] {
    std::this_thread::sleep_for(milliseconds(300));
    auto started = RpcServer::start("127.0.0.1", port, {}, {});
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    if (started.ok()) server_ = std::move(started).value();
  });
  auto client = RpcClient::connect("localhost", port, {}, soon());
  later.join();
  EXPECT_TRUE(client.ok()) << client.status().to_string();
}

TEST_F(Rpc, ConnectGivesUpAtTheDeadline) {
  serve();
  const uint16_t port = server_->port();
  server_.reset();
  auto client = RpcClient::connect("127.0.0.1", port, {}, Deadline::after(milliseconds(200)));
  ASSERT_FALSE(client.ok());
  EXPECT_EQ(client.status().code(), Code::kUnavailable);
  EXPECT_NE(client.status().message().find("check that it runs"), std::string::npos) << client.status().message();
}

TEST_F(Rpc, BadListenAddressesAreRefused) {
  EXPECT_EQ(RpcServer::start("not-an-address", 0, {}, {}).status().code(), Code::kInvalidArgument);
  serve();
  auto taken = RpcServer::start("127.0.0.1", server_->port(), {}, {});
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.status().code(), Code::kUnavailable);
}

TEST_F(Rpc, StrangersAreClosed) {
  RpcLimits limits;
  limits.hello_timeout = milliseconds(200);
  serve(limits);
  const std::string bad_starts[] = {
      "GET / HTTP/1.1\r\n\r\n",
      greeting(2, 2),
      greeting(0, 0),
      greeting(1, 0),  // what a build without a range said
      greeting() + u32(0),
      greeting() + u32(0xffffffff),
      greeting() + u32((64u << 10) + 1),  // over the limit before the Hello
      greeting() + u32(5) + "abc",        // and then silence
      greeting() + u32(4) + std::string("\xff\xff\xff\xff"),
      greeting() + frame(Heartbeat{"x", "", 0, 0, 0, 0}),  // not Hello first
      "TPH",                                               // silence
      "",
  };
  for (const std::string& start : bad_starts) {
    RawSocket stranger(server_->port());
    stranger.send(start);
    EXPECT_EQ(stranger.read_to_end().substr(0, 8), greeting()) << start;  // it learns whom it reached
  }
  EXPECT_FALSE(received_.take(milliseconds(0)));
  EXPECT_FALSE(closed_.take(milliseconds(0)));
  expect_still_serving();
}

TEST_F(Rpc, KnownPeersThatBreakTheProtocolAreClosedWithAReason) {
  serve();
  const std::pair<std::string, Code> cases[] = {
      {u32((64u << 20) + 1), Code::kCorruption},
      {u32(3) + "\xff\xff\xff", Code::kCorruption},
      {frame(kHello), Code::kCorruption},
      {u32(100) + "cut off", Code::kPeerLost},
      {frame(Heartbeat{"x", "", -1, 0, 0, 0}), Code::kCorruption},
  };
  for (const auto& [bytes, code] : cases) {
    RawSocket peer(server_->port());
    peer.send(greeting() + frame(kHello) + bytes);
    peer.end_of_stream();
    peer.read_to_end();
    ASSERT_TRUE(received_.take());
    auto closed = closed_.take();
    ASSERT_TRUE(closed);
    EXPECT_EQ(closed->reason.code(), code) << closed->reason.to_string();
  }
  expect_still_serving();
}

TEST_F(Rpc, ClientRefusesAnotherProtocol) {
  Listener listener;
  for (const std::string& words : {greeting(9, 9), std::string("HTTP/1.1 400 Bad Request\r\n\r\n")}) {
    std::thread other([&] {
      const int peer = listener.accept_one();
      ::send(peer, words.data(), words.size(), MSG_NOSIGNAL);
      char buffer[64];
      while (recv(peer, buffer, sizeof(buffer), 0) > 0) {
      }
      close(peer);
    });
    auto client = RpcClient::connect("127.0.0.1", listener.port(), {}, soon());
    other.join();
    ASSERT_FALSE(client.ok());
    EXPECT_EQ(client.status().code(), Code::kUnsupported) << client.status().to_string();
  }
}

TEST_F(Rpc, TheNewestVersionThatBothSpeakIsTaken) {
  const struct {
    ProtocolVersions server, client;
    uint16_t agreed;  // 0: none
  } cases[] = {
      {{1, 1}, {1, 1}, 1}, {{1, 3}, {2, 5}, 3}, {{2, 5}, {1, 3}, 3}, {{1, 9}, {4, 4}, 4},
      {{4, 4}, {1, 9}, 4}, {{1, 2}, {3, 5}, 0}, {{3, 5}, {1, 2}, 0},
  };
  for (const auto& c : cases) {
    RpcLimits limits;
    limits.versions = c.server;
    serve(limits);
    limits.versions = c.client;
    auto client = RpcClient::connect("127.0.0.1", server_->port(), {}, soon(), limits);
    if (c.agreed > 0) {
      ASSERT_TRUE(client.ok()) << client.status().to_string();
      const ConnectionId id = greet(**client);
      EXPECT_EQ((*client)->version(), c.agreed);
      EXPECT_EQ(server_->version(id), c.agreed);
      continue;
    }
    ASSERT_FALSE(client.ok());
    EXPECT_EQ(client.status().code(), Code::kUnsupported);
    const auto range = [](ProtocolVersions v) {
      return "versions " + std::to_string(v.oldest) + " to " + std::to_string(v.newest);
    };
    EXPECT_EQ(client.status().message(), "the peer speaks " + range(c.server) +
                                             " of the rank protocol and this build " + range(c.client) +
                                             "; use builds of tephra and tephra-worker that have one in common");
  }
  EXPECT_EQ(server_->version(12345), 0);
}

TEST_F(Rpc, ManyThreadsMaySendAtOnce) {
  serve();
  auto client = connect();
  greet(*client);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 250; ++i) EXPECT_TRUE(client->send(Heartbeat{"x", "", t, i, 0, 0}).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  int64_t next[4] = {};
  for (int i = 0; i < 1000; ++i) {
    auto got = received_.take();
    ASSERT_TRUE(got);
    const auto& heartbeat = std::get<Heartbeat>(got->message);
    EXPECT_EQ(heartbeat.step, next[heartbeat.micro_batch]++);
  }
}

}  // namespace
}  // namespace tephra::cluster
