// A coordinator whose HTTP interface a test talks to.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/base/temp_dir.h"
#include "tests/cluster/http/http_client.h"
#include "victim.h"

namespace tephra::coordinator {

inline constexpr const char* kToken = "correct horse";

class ApiTest : public ::testing::Test {
 protected:
  void SetUp() override { start(); }
  virtual void change(Options&) {}  // what the coordinator is started with
  void start() {
    Options options = make_options(dir_ / "store");
    options.http_port = 0;
    options.token = kToken;
    change(options);
    auto started = Coordinator::start(options);
    ASSERT_TRUE(started.ok()) << started.status().to_string();
    coordinator_ = std::move(started).value();
    port_ = coordinator_->http_port();
  }
  cluster::Reply get(const std::string& target, const std::string& token = kToken) {
    return cluster::request(port_, "GET", target, token);
  }
  cluster::Reply post(const std::string& target, const std::string& body, const std::string& token = kToken,
                      const std::string& headers = "") {
    return cluster::request(port_, "POST", target, token, body, headers);
  }
  nlohmann::json get_json(const std::string& target, const std::string& token = kToken) {
    return nlohmann::json::parse(get(target, token).body);
  }
  // The body of a submission of a job that its first step holds, or that runs to its end.
  std::string submission(const std::string& user = "x") {
    return nlohmann::json{{"recipe_json", nlohmann::json::parse(make_recipe(dir_.path(), 1, 4))}, {"user", user}}
        .dump();
  }
  std::string submit(const std::string& token = kToken) {
    const cluster::Reply reply = post("/api/v1/jobs", submission(), token);
    EXPECT_EQ(reply.status, 201) << reply.body;
    return nlohmann::json::parse(reply.body)["id"];
  }

  TempDir dir_;
  std::unique_ptr<Coordinator> coordinator_;
  int port_ = 0;
};

}  // namespace tephra::coordinator
