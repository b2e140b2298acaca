// What is proved: that the server speaks TLS 1.2 and later only, that the client believes nobody but whom it is told to,
// and that streams and late answers work the same over TLS.
#include "cluster/http/tls.h"

#include <gtest/gtest.h>

#include <fstream>
#include <future>

#include "base/env.h"
#include "certificate.h"
#include "cluster/http/http_client.h"
#include "tests/base/temp_dir.h"

namespace tephra::cluster {
namespace {

HttpResponse answer(const HttpRequest& request) {
  HttpResponse response;
  response.content_type = "text/plain";
  if (request.path == "/stream")
    response.stream = [](std::shared_ptr<HttpStream> stream) {
      for (int i = 0; i < 3; ++i) stream->write("part " + std::to_string(i) + "\n");
      stream->close();
    };
  if (request.path == "/later")
    response.later = [](std::shared_ptr<HttpReply> reply) {
      HttpResponse late;
      late.body = "late";
      reply->send(late);
    };
  response.body = request.path == "/stream" ? "" : request.method + " " + request.path + " [" + request.body + "]";
  return response;
}

Result<HttpAnswer> ask(const HttpEndpoint& endpoint, const std::string& target, const std::string& body = "") {
  HttpCall call;
  if (!body.empty()) call.method = "POST";
  call.target = target;
  call.body = body;
  return http_call(endpoint, call);
}

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    files_ = make_certificate(dir_.path(), "server");
    auto started = HttpServer::start("127.0.0.1", 0, answer, {}, files_);
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(started).value();
  }
  HttpEndpoint endpoint(const std::string& authority, const std::string& host = "127.0.0.1") const {
    return {"https://" + host + ":" + std::to_string(server_->port()), "", authority};
  }
  // Exit code of the openssl program as a client.
  int openssl(const std::string& options) const {
    return std::system(("openssl s_client -connect 127.0.0.1:" + std::to_string(server_->port()) + " " + options +
                        " < /dev/null > '" + dir_.path() + "/client.log' 2>&1")
                           .c_str());
  }

  TempDir dir_;
  TlsFiles files_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(TlsTest, AnswersAsWithoutTls) {
  const auto got = ask(endpoint(files_.certificate), "/x", "body");
  ASSERT_TRUE(got.ok()) << got.status().to_string();
  EXPECT_EQ(got->status, 200);
  EXPECT_EQ(got->body, "POST /x [body]");
  EXPECT_EQ(ask(endpoint(files_.certificate, "localhost"), "/later")->body, "late");
  std::string streamed;
  const auto status =
      http_call_stream(endpoint(files_.certificate), {.target = "/stream"}, [&](const std::string& bytes) {
        streamed += bytes;
        return true;
      });
  ASSERT_TRUE(status.ok()) << status.status().to_string();
  EXPECT_EQ(streamed, "part 0\npart 1\npart 2\n");
}

TEST_F(TlsTest, TheClientBelievesWhomItIsTold) {
  const TlsFiles other = make_certificate(dir_.path(), "other");
  for (const std::string& authority : {std::string(), other.certificate}) {
    const auto refused = ask(endpoint(authority), "/");
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), Code::kPermission) << refused.status().to_string();
    EXPECT_NE(refused.status().message().find("--tls-ca"), std::string::npos);
  }
  const auto other_name = ask(endpoint(files_.certificate, "127.0.0.2"), "/");
  ASSERT_FALSE(other_name.ok()) << "the certificate is of another name";
  EXPECT_EQ(other_name.status().code() == Code::kPermission || other_name.status().code() == Code::kUnavailable, true);
  EXPECT_FALSE(ask({"http://127.0.0.1:" + std::to_string(server_->port())}, "/").ok()) << "no TLS";
  EXPECT_EQ(ask(endpoint(dir_ / "none.pem"), "/").status().code(), Code::kInvalidArgument);
}

TEST_F(TlsTest, OldVersionsAreRefused) {
  EXPECT_EQ(openssl("-tls1_2"), 0);
  EXPECT_EQ(openssl("-tls1_3"), 0);
  EXPECT_NE(openssl("-tls1_1 -cipher DEFAULT@SECLEVEL=0"), 0);
}

TEST_F(TlsTest, FilesThatAreNoneAreNamed) {
  std::ofstream(dir_ / "text.pem") << "hello\n";
  const auto start = [](const TlsFiles& files) {
    return HttpServer::start("127.0.0.1", 0, answer, {}, files).status();
  };
  EXPECT_EQ(start({dir_ / "text.pem", files_.key}).code(), Code::kInvalidArgument);
  EXPECT_NE(start({dir_ / "text.pem", files_.key}).message().find("text.pem"), std::string::npos);
  EXPECT_EQ(start({files_.certificate, dir_ / "none.key"}).code(), Code::kInvalidArgument);
  const TlsFiles other = make_certificate(dir_.path(), "other");
  EXPECT_EQ(start({files_.certificate, other.key}).code(), Code::kInvalidArgument) << "another one's key";
}

TEST(HttpUrl, IsTakenApart) {
  const HttpUrl plain = *parse_http_url("http://127.0.0.1:7070");
  EXPECT_EQ(plain.host + "|" + plain.port + "|" + plain.path, "127.0.0.1|7070|");
  EXPECT_FALSE(plain.tls);
  const HttpUrl path = *parse_http_url("https://hooks.example/a/b?c=d");
  EXPECT_EQ(path.host + "|" + path.port + "|" + path.path, "hooks.example|443|/a/b?c=d");
  EXPECT_TRUE(path.tls);
  const HttpUrl six = *parse_http_url("http://[::1]:80/");
  EXPECT_EQ(six.host + "|" + six.port + "|" + six.path, "::1|80|");
  for (const char* wrong : {"", "127.0.0.1:7070", "ftp://x", "http://", "http://:80", "http://a:b", "http://user@host/",
                            "http://a b/", "http://a/\r\nX: y"})
    EXPECT_EQ(parse_http_url(wrong).status().code(), Code::kInvalidArgument) << wrong;
}

TEST(HttpClient, GivesUpInTime) {
  // The answer never comes: it waits for a reply that is kept.
  std::promise<std::shared_ptr<HttpReply>> kept;
  auto server = HttpServer::start("127.0.0.1", 0, [&](const HttpRequest&) {
    HttpResponse response;
    response.later = [&](std::shared_ptr<HttpReply> reply) { kept.set_value(std::move(reply)); };
    return response;
  });
  ASSERT_TRUE(server.ok());
  HttpCall call;
  call.timeout = std::chrono::milliseconds(200);
  const auto got = http_call({"http://127.0.0.1:" + std::to_string((*server)->port())}, call);
  EXPECT_EQ(got.status().code(), Code::kTimeout) << got.status().to_string();
  (*server)->stop();
}

}  // namespace
}  // namespace tephra::cluster
