// What is proved: that a job's end is told once it was received, signed, again after errors and after a restart, and to
// nobody that a recipe names.
#include "coordinator/webhook.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>

#include "cluster/http/http_server.h"
#include "coordinator/crypto.h"
#include "tests/base/temp_dir.h"
#include "tests/cluster/http/http_client.h"
#include "victim.h"

namespace tephra::coordinator {
namespace {

using cluster::HttpRequest;
using cluster::HttpResponse;
using cluster::HttpServer;
using nlohmann::json;

// Somebody who is told.
class Receiver {
 public:
  // Answers the first `errors` requests with 500.
  explicit Receiver(int errors = 0, uint16_t port = 0) : errors_(errors) {
    auto started = HttpServer::start("127.0.0.1", port, [this](const HttpRequest& request) { return take(request); });
    EXPECT_TRUE(started.ok()) << started.status().to_string();
    server_ = std::move(started).value();
  }
  ~Receiver() { server_->stop(); }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_->port()) + "/told?by=tephra"; }
  uint16_t port() const { return server_->port(); }
  std::vector<HttpRequest> wait_for(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(20), [&] { return got_.size() >= count; });
    return got_;
  }

 private:
  HttpResponse take(const HttpRequest& request) {
    std::lock_guard lock(mutex_);
    got_.push_back(request);
    changed_.notify_all();
    HttpResponse response;
    response.status = static_cast<int>(got_.size()) <= errors_ ? 500 : 204;
    return response;
  }

  const int errors_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<HttpRequest> got_;
  std::unique_ptr<HttpServer> server_;
};

class WebhookTest : public ::testing::Test {
 protected:
  Options options(const std::string& url) {
    Options options = make_options(dir_ / "store");
    options.webhook.url = url;
    options.webhook.secret = "s3cret";
    options.webhook.first_wait = std::chrono::milliseconds(20);
    options.webhook.timeout = std::chrono::milliseconds(1000);
    return options;
  }
  std::string run_job(Coordinator& coordinator) {
    const auto id = coordinator.submit(make_recipe(dir_.path(), 1, 2), "anna");
    EXPECT_TRUE(id.ok()) << id.status().to_string();
    EXPECT_TRUE(coordinator.wait(*id, Deadline::after(std::chrono::seconds(60))).ok());
    return *id;
  }
  TempDir dir_;
};

TEST_F(WebhookTest, TellsUntilItIsReceivedAndSigns) {
  Receiver receiver(2);
  auto coordinator = Coordinator::start(options(receiver.url()));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  const std::string id = run_job(**coordinator);
  const std::vector<HttpRequest> got = receiver.wait_for(3);
  ASSERT_EQ(got.size(), 3u);
  for (const HttpRequest& request : got) {
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/told");
    EXPECT_EQ(request.query.at("by"), "tephra");
    EXPECT_EQ(request.headers.at("tephra-delivery"), id + "/done");
    EXPECT_EQ(request.body, got[0].body);
    const std::string signature = request.headers.at("tephra-signature");
    const std::string time = signature.substr(2, signature.find(',') - 2);
    EXPECT_EQ(signature, "t=" + time + ",v1=" + hmac_sha256_hex("s3cret", time + "." + request.body));
    EXPECT_EQ(request.body.find("s3cret"), std::string::npos);
  }
  const json body = json::parse(got[0].body);
  EXPECT_EQ(body["event"], "done");
  EXPECT_EQ(body["job"], id);
  EXPECT_EQ(body["user"], "anna");
  EXPECT_EQ(body["stages"][1]["checkpoint"], id + "/more@2");
}

TEST_F(WebhookTest, TellsAfterARestartWhatNobodyReceived) {
  uint16_t port = 0;
  {
    const Receiver gone;
    port = gone.port();
  }
  const std::string url = "http://127.0.0.1:" + std::to_string(port) + "/told?by=tephra";
  std::string id;
  {
    auto coordinator = Coordinator::start(options(url));
    ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
    id = run_job(**coordinator);
  }
  Receiver receiver(0, port);
  {
    auto coordinator = Coordinator::start(options(url));
    ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
    const auto got = receiver.wait_for(1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(got[0].headers.at("tephra-delivery"), id + "/done");
  }
  auto coordinator = Coordinator::start(options(url));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  const std::string second = run_job(**coordinator);
  const auto got = receiver.wait_for(2);
  ASSERT_EQ(got.size(), 2u) << "what was received is not told again";
  EXPECT_EQ(got[1].headers.at("tephra-delivery"), second + "/done");
}

TEST_F(WebhookTest, DoesNotTellWhatIsOlderThanItself) {
  {
    auto coordinator = Coordinator::start(make_options(dir_ / "store"));
    ASSERT_TRUE(coordinator.ok());
    run_job(**coordinator);
  }
  Receiver receiver;
  auto coordinator = Coordinator::start(options(receiver.url()));
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  const std::string id = run_job(**coordinator);
  const auto got = receiver.wait_for(1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].headers.at("tephra-delivery"), id + "/done");
}

TEST_F(WebhookTest, OnlyOfTheEventsThatAreAskedFor) {
  Receiver receiver;
  Options asked = options(receiver.url());
  asked.webhook.phases = {Phase::kCancelled};
  auto coordinator = Coordinator::start(asked);
  ASSERT_TRUE(coordinator.ok()) << coordinator.status().to_string();
  run_job(**coordinator);
  setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"stage": "lm", "step": 1}})", 1);
  const auto id = (*coordinator)->submit(make_recipe(dir_.path(), 1, 2), "anna");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE((*coordinator)->cancel(*id, "enough").ok());
  const auto got = receiver.wait_for(1);
  unsetenv("TEPHRA_FAKE_PLAN");
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(json::parse(got[0].body)["event"], "cancelled");
  EXPECT_EQ(json::parse(got[0].body)["reason"], "cancelled: enough");
}

TEST_F(WebhookTest, AWrongUrlIsSaidAtTheStart) {
  const auto coordinator = Coordinator::start(options("ftp://somewhere/"));
  ASSERT_FALSE(coordinator.ok());
  EXPECT_EQ(coordinator.status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra::coordinator
