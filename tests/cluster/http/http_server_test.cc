// What is proved: limits, time-outs, broken requests and streams of the HTTP server, over real sockets.
#include "cluster/http/http_server.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <vector>

#include "cluster/http/http_text.h"
#include "tests/cluster/http/http_client.h"

namespace tephra::cluster {
namespace {

HttpResponse echo(const HttpRequest& request) {
  HttpResponse response;
  response.content_type = "text/plain";
  response.body = request.method + " " + request.path + " [" + request.body + "]";
  for (const auto& [name, value] : request.query) response.body += " " + name + "=" + value;
  return response;
}

std::unique_ptr<HttpServer> serve(HttpHandler handler, HttpLimits limits = {}) {
  auto server = HttpServer::start("127.0.0.1", 0, std::move(handler), limits);
  EXPECT_TRUE(server.ok()) << server.status().to_string();
  return std::move(server).value();
}

TEST(HttpServer, HandsRequestsToTheHandler) {
  auto server = serve(echo);
  EXPECT_EQ(request(server->port(), "GET", "/a%20b?x=1&y=%2F+z").body, "GET /a b [] x=1 y=/ z");
  const Reply posted = request(server->port(), "POST", "/p", "", "body");
  EXPECT_EQ(posted.status, 200);
  EXPECT_EQ(posted.body, "POST /p [body]");
}

TEST(HttpServer, KeepsAConnectionForSeveralRequests) {
  auto server = serve(echo);
  Socket socket(server->port());
  socket.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
  socket.read_until("GET /1 []");
  socket.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(socket.read_until("GET /2 []").find("GET /2 []"), std::string::npos);
}

TEST(HttpServer, RefusesWhatIsTooLargeOrBroken) {
  auto server = serve(echo);
  EXPECT_EQ(request(server->port(), "POST", "/", "", std::string((1 << 20) + 1, 'x')).status, 413);
  EXPECT_EQ(request(server->port(), "POST", "/", "", std::string(1 << 20, 'x')).status, 200) << "exactly the limit";
  EXPECT_EQ(request(server->port(), "GET", "/", "", "", "X-Long: " + std::string(9000, 'x') + "\r\n").status, 431);
  EXPECT_EQ(request(server->port(), "GET", "nopath").status, 400);
  EXPECT_EQ(request(server->port(), "GET", "/%zz").status, 400);
  Socket garbage(server->port());
  garbage.send("this is no request at all\r\n\r\n");
  EXPECT_NE(garbage.read_until("").find(" 400 "), std::string::npos);
}

TEST(HttpServer, DropsASlowClient) {
  HttpLimits limits;
  limits.read_timeout = std::chrono::milliseconds(200);
  auto server = serve(echo, limits);
  Socket slow(server->port());
  slow.send("GET / HTTP/1.1\r\nHost");
  slow.read_until("");
  EXPECT_TRUE(slow.closed());
  EXPECT_EQ(request(server->port(), "GET", "/").status, 200) << "others are served";
}

// A slow loris keeps a connection by sending its request a byte at a time. The limit is of the whole request.
TEST(HttpServer, DropsARequestThatTrickles) {
  HttpLimits limits;
  limits.read_timeout = std::chrono::milliseconds(300);
  auto server = serve(echo, limits);
  for (const bool in_body : {false, true}) {
    Socket slow(server->port());
    if (in_body) slow.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    const auto begin = std::chrono::steady_clock::now();
    while (!slow.gone(std::chrono::milliseconds(20)) &&
           std::chrono::steady_clock::now() - begin < std::chrono::seconds(10))
      slow.send(in_body ? "x" : "G");
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5)) << in_body;
  }
}

// One connection is served; a second one beside it is not.
void expect_one_connection_only(uint16_t port) {
  Socket first(port);
  first.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n");
  first.read_until("GET /1 []");
  Socket second(port);
  second.send("GET /2 HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(second.read_until("").find("200 OK"), std::string::npos);
}

TEST(HttpServer, OneAddressDoesNotTakeAllConnections) {
  HttpLimits limits;
  limits.connections_per_address_max = 1;
  auto server = serve(echo, limits);
  expect_one_connection_only(server->port());
  // The first one's place is free again once the server has seen it go.
  int status = 0;
  for (int i = 0; i < 1000 && status != 200; ++i) status = request(server->port(), "GET", "/3").status;
  EXPECT_EQ(status, 200);
}

TEST(HttpServer, WhatItRefusesItselfHasTheCommonForm) {
  auto server = serve(echo);
  const Reply refused = request(server->port(), "POST", "/", "", std::string((1 << 20) + 1, 'x'));
  EXPECT_NE(refused.head.find("application/json"), std::string::npos) << refused.head;
  EXPECT_EQ(refused.body,
            "{\"error\":{\"code\":\"too_large\",\"message\":\"the body is larger than 1048576 bytes\"}}\n");
}

TEST(HttpServer, ClosesConnectionsBeyondItsLimit) {
  HttpLimits limits;
  limits.connections_max = 1;
  auto server = serve(echo, limits);
  expect_one_connection_only(server->port());
}

TEST(HttpServer, StreamsUntilClosed) {
  auto server = serve([](const HttpRequest&) {
    HttpResponse response;
    response.content_type = "text/event-stream";
    response.body = "begin;";
    response.stream = [](std::shared_ptr<HttpStream> stream) {
      auto count = std::make_shared<int>(0);
      stream->repeat(std::chrono::milliseconds(5), [stream, count] {
        stream->write("tick" + std::to_string(++*count) + ";");
        if (*count < 3) return true;
        stream->close();
        return false;
      });
    };
    return response;
  });
  const Reply reply = request(server->port(), "GET", "/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_NE(reply.head.find("Transfer-Encoding: chunked"), std::string::npos);
  for (const char* part : {"begin;", "tick1;", "tick2;", "tick3;"})
    EXPECT_NE(reply.body.find(part), std::string::npos) << part;
  EXPECT_TRUE(reply.body.ends_with("0\r\n\r\n"));
}

TEST(HttpServer, TellsAStreamThatItsClientLeft) {
  auto left = std::make_shared<std::promise<void>>();
  auto server = serve([left](const HttpRequest&) {
    HttpResponse response;
    response.stream = [left](std::shared_ptr<HttpStream> stream) {
      stream->on_closed([left] { left->set_value(); });
      stream->write("hello");
    };
    return response;
  });
  {
    Socket socket(server->port());
    socket.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.read_until("hello");
  }
  EXPECT_EQ(left->get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
}

// What the handler put off, for the test to answer.
struct Waiting {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<HttpReply>> replies;

  HttpHandler handler() {
    return [this](const HttpRequest& asked) {
      if (asked.path != "/later") return echo(asked);
      HttpResponse response;
      response.later = [this](std::shared_ptr<HttpReply> reply) {
        const std::lock_guard lock(mutex);
        replies.push_back(std::move(reply));
        changed.notify_all();
      };
      return response;
    };
  }
  bool reaches(size_t count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), [&] { return replies.size() == count; });
  }
};

TEST(HttpServer, AnswersLaterWhileOthersAreServed) {
  Waiting waiting;
  auto server = serve(waiting.handler());
  constexpr size_t kCount = 12;  // more than there are handler threads
  std::vector<std::unique_ptr<Socket>> clients;
  for (size_t i = 0; i < kCount; ++i) {
    clients.push_back(std::make_unique<Socket>(server->port()));
    clients.back()->send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(waiting.reaches(i + 1));
  }
  EXPECT_EQ(request(server->port(), "GET", "/now").body, "GET /now []");
  clients[0]->send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");  // before its first answer
  for (size_t i = 0; i < kCount; ++i) {
    HttpResponse response;
    response.status = 404;
    response.body = "answer " + std::to_string(i);
    waiting.replies[i]->send(response);
    const std::string& text = clients[i]->read_until("answer " + std::to_string(i));
    EXPECT_TRUE(text.starts_with("HTTP/1.1 404")) << text;
  }
  EXPECT_NE(clients[0]->read_until("GET /next []").find("200 OK"), std::string::npos);
}

TEST(HttpServer, TellsALaterReplyThatItsClientLeft) {
  Waiting waiting;
  auto server = serve(waiting.handler());
  std::promise<void> left;
  {
    Socket socket(server->port());
    socket.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(waiting.reaches(1));
    waiting.replies[0]->on_closed([&] { left.set_value(); });
  }
  EXPECT_EQ(left.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  waiting.replies[0]->send({});  // nobody is there
  EXPECT_EQ(request(server->port(), "GET", "/now").status, 200);
}

TEST(HttpServer, StopsWithRepliesOutstanding) {
  Waiting waiting;
  auto server = serve(waiting.handler());
  Socket socket(server->port());
  socket.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(waiting.reaches(1));
  server->stop();
  socket.read_until("");
  EXPECT_TRUE(socket.closed());
  waiting.replies[0]->send({});
  waiting.replies.clear();
}

TEST(HttpServer, StopsWithStreamsOpen) {
  auto closed = std::make_shared<std::promise<void>>();
  auto server = serve([closed](const HttpRequest&) {
    HttpResponse response;
    response.stream = [closed](std::shared_ptr<HttpStream> stream) {
      stream->on_closed([closed] { closed->set_value(); });
      stream->write("hello");
    };
    return response;
  });
  Socket socket(server->port());
  socket.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  socket.read_until("hello");
  server->stop();
  EXPECT_EQ(closed->get_future().wait_for(std::chrono::seconds(0)), std::future_status::ready);
  socket.read_until("");
  EXPECT_TRUE(socket.closed());
}

TEST(HttpServer, NamesAPortThatIsInUse) {
  auto server = serve(echo);
  const auto second = HttpServer::start("127.0.0.1", server->port(), echo);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kUnavailable);
  EXPECT_EQ(second.status().message(), "port " + std::to_string(server->port()) +
                                           " on 127.0.0.1 is in use by another program; choose another port");
  EXPECT_EQ(HttpServer::start("somewhere", 0, echo).status().code(), Code::kInvalidArgument);
}

TEST(HttpText, ComparesInConstantTimeAndRight) {
  EXPECT_TRUE(equal_constant_time("", ""));
  EXPECT_TRUE(equal_constant_time("secret", "secret"));
  for (const char* other : {"", "secre", "secret2", "Secret", "secres"}) {
    EXPECT_FALSE(equal_constant_time("secret", other)) << other;
    EXPECT_FALSE(equal_constant_time(other, "secret")) << other;
  }
}

TEST(HttpText, KnowsLoopback) {
  for (const char* address : {"127.0.0.1", "127.9.8.7", "::1"}) EXPECT_TRUE(is_loopback(address)) << address;
  for (const char* address : {"0.0.0.0", "10.0.0.1", "::", "localhost", "1270.0.0.1", ""})
    EXPECT_FALSE(is_loopback(address)) << address;
}

}  // namespace
}  // namespace tephra::cluster
