// What is proved: who may ask, what wrong requests get, and that a job can be run and watched over HTTP alone.
#include "coordinator/api.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <nlohmann/json.hpp>
#include <set>

#include "api_fixture.h"

namespace tephra::coordinator {
namespace {

using cluster::Reply;
using cluster::request;
using cluster::Socket;
using nlohmann::json;

TEST_F(ApiTest, AsksForTheToken) {
  EXPECT_EQ(request(port_, "GET", "/healthz").status, 200);
  EXPECT_EQ(request(port_, "GET", "/readyz").status, 200);
  const Reply page = request(port_, "GET", "/");
  EXPECT_EQ(page.status, 200);
  EXPECT_NE(page.head.find("Content-Security-Policy"), std::string::npos);
  EXPECT_EQ(page.body.find("http://"), std::string::npos) << "the page loads nothing from elsewhere";
  EXPECT_EQ(page.body.find("https://"), std::string::npos);
  for (const char* target :
       {"/api/v1/jobs", "/api/v1/jobs/x", "/api/v1/jobs/x/events", "/api/v1/checkpoints", "/nothing"}) {
    EXPECT_EQ(request(port_, "GET", target).status, 401) << target;
    EXPECT_EQ(request(port_, "GET", target, "correct horsf").status, 401) << target;
  }
  EXPECT_EQ(request(port_, "POST", "/api/v1/jobs", "", "{}").status, 401);
  EXPECT_EQ(get("/api/v1/jobs").status, 200);
}

// Each row of the table answers where it says, and says so in the document that is served.
TEST_F(ApiTest, ServesWhatItsDocumentSays) {
  const Reply served = request(port_, "GET", "/api/v1/openapi.json");
  ASSERT_EQ(served.status, 200);
  const json document = json::parse(served.body);
  EXPECT_EQ(document["openapi"], "3.1.0");
  ASSERT_GE(document["paths"].size(), 15u);
  std::set<std::string> ids;
  for (const auto& [path, methods] : document["paths"].items()) {
    std::string target = path;
    for (size_t open; (open = target.find('{')) != std::string::npos;)
      target.replace(open, target.find('}') - open + 1, "none");
    for (const auto& [method, operation] : methods.items()) {
      EXPECT_TRUE(ids.insert(operation["operationId"]).second) << operation["operationId"];
      const bool open = operation["security"].empty();
      const std::string upper = method == "get" ? "GET" : "POST";
      EXPECT_EQ(request(port_, upper, target).status == 401, !open) << method << " " << path;
      for (const auto& [status, response] : operation["responses"].items())
        if (status[0] == '2')
          for (const auto& [type, content] : response["content"].items()) {
            if (!content.contains("schema") || !content["schema"].contains("$ref")) continue;
            const std::string name = content["schema"]["$ref"].get<std::string>().substr(21);
            EXPECT_TRUE(document["components"]["schemas"].contains(name)) << name;
          }
      if (path.find('{') != std::string::npos) {
        EXPECT_EQ(request(port_, upper, target, kToken).status, 404) << path;
      }
    }
    const Reply refused = request(port_, "DELETE", target, kToken);
    EXPECT_EQ(refused.status, 405) << path;
    EXPECT_NE(refused.head.find("Allow: "), std::string::npos) << refused.head;
  }
  EXPECT_EQ(request(port_, "HEAD", "/api/v1/jobs", kToken).status, 200);
  EXPECT_EQ(request(port_, "HEAD", "/api/v1/events", kToken).status, 200) << "a stream's head alone";
}

TEST_F(ApiTest, SaysWhatIsWrongWithARequest) {
  EXPECT_EQ(get("/nothing").status, 404);
  EXPECT_EQ(get("/api/v1/jobs/none").status, 404);
  EXPECT_EQ(json::parse(get("/api/v1/jobs/none").body)["error"]["message"],
            "there is no job 'none'; tephra ps lists them");
  EXPECT_EQ(post("/api/v1/jobs", "{not json").status, 400);
  EXPECT_EQ(post("/api/v1/jobs", "[]").status, 400);
  EXPECT_EQ(post("/api/v1/jobs", "{}").status, 422);
  EXPECT_EQ(post("/api/v1/jobs", R"({"recipe_json": {"name": 5}})").status, 422);
  EXPECT_EQ(post("/api/v1/jobs", std::string(2 << 20, ' ')).status, 413);
  EXPECT_EQ(request(port_, "DELETE", "/api/v1/jobs", kToken).status, 405);
  EXPECT_EQ(post("/api/v1/jobs", json{{"recipe_yaml", "name: x"}, {"base_dir", "relative"}}.dump()).status, 422);
  const Reply broken = post("/api/v1/jobs", json{{"recipe_yaml", "name: x\nstagez: 1\n"}, {"base_dir", "/tmp"}}.dump());
  EXPECT_EQ(broken.status, 422);
  const json rows = json::parse(broken.body)["error"]["diagnostics"];
  ASSERT_FALSE(rows.empty());
  EXPECT_EQ(rows[0]["line"], 2) << rows.dump();
}

TEST_F(ApiTest, RunsAndShowsAJob) {
  const std::string recipe = make_recipe(dir_.path(), 2, 4);
  const Reply created = post("/api/v1/jobs", json{{"recipe_json", json::parse(recipe)}, {"user", "web"}}.dump());
  ASSERT_EQ(created.status, 201) << created.body;
  const std::string id = json::parse(created.body)["id"];
  const std::string at = "/api/v1/jobs/" + id;
  const Reply events = get(at + "/events");  // until the job has ended
  EXPECT_EQ(events.status, 200);
  EXPECT_NE(events.head.find("text/event-stream"), std::string::npos);
  EXPECT_NE(events.body.find("event: checkpoint\n"), std::string::npos);
  EXPECT_NE(events.body.find("event: bench_result\n"), std::string::npos);
  EXPECT_NE(events.body.find("\"phase\":\"done\""), std::string::npos);
  const json job = json::parse(get(at).body);
  EXPECT_EQ(job["phase"], "done");
  EXPECT_EQ(job["user"], "web");
  EXPECT_EQ(job["stages"][1]["checkpoint"], id + "/more@4");
  EXPECT_EQ(job["recipe"]["name"], "demo");
  EXPECT_EQ(json::parse(get("/api/v1/jobs").body)["jobs"].size(), 1u);
  EXPECT_NE(get(at + "/report").body.find("<html"), std::string::npos);
  EXPECT_NE(get(at + "/metrics").body.find("\"step\":4"), std::string::npos);
  const std::string all = get(at + "/logs").body, one = get(at + "/logs?rank=1").body;
  EXPECT_NE(all.find("fake rank 0 of 2"), std::string::npos) << all;
  EXPECT_NE(one.find("fake rank 1 of 2"), std::string::npos) << one;
  EXPECT_EQ(one.find("fake rank 0 of 2"), std::string::npos) << one;
  EXPECT_NE(get(at + "/logs?follow=1").body.find("fake rank 0 of 2"), std::string::npos) << "ends with the job";
  EXPECT_EQ(json::parse(get("/api/v1/checkpoints?job=" + id).body)["checkpoints"].size(), 4u);
  EXPECT_EQ(get(at + "/nothing").status, 404);
  EXPECT_EQ(request(port_, "GET", at + "/cancel", kToken).status, 405);
}

TEST_F(ApiTest, ChangesCheckpoints) {
  const auto id = coordinator_->submit(make_recipe(dir_.path(), 1, 4), "x");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(coordinator_->wait(*id, Deadline::after(std::chrono::seconds(60))).ok());
  const std::string at = "/api/v1/checkpoints/";
  EXPECT_EQ(request(port_, "POST", at + "tag", "", "{}").status, 401);
  EXPECT_EQ(get(at + "tag").status, 405);
  EXPECT_EQ(post(at + "shred", "{}").status, 404);
  EXPECT_EQ(post(at + "tag", "{}").status, 422);
  const Reply tagged = post(at + "tag", json{{"name", *id + "/lm@2"}, {"tag", "good"}}.dump());
  EXPECT_EQ(tagged.status, 200) << tagged.body;
  EXPECT_EQ(post(at + "tag", json{{"name", *id + "/lm@4"}, {"tag", "good"}}.dump()).status, 409);
  const json listed = json::parse(get("/api/v1/checkpoints").body)["checkpoints"];
  EXPECT_EQ(listed[0]["tags"], json{"good"});
  EXPECT_EQ(listed[0]["pinned"], false);
  EXPECT_EQ(post(at + "rm", json{{"names", {*id + "/lm@2"}}}.dump()).status, 422) << "tagged";
  EXPECT_EQ(post(at + "prune", json{{"policy", {{"last", 1}}}}.dump()).status, 200);
  EXPECT_EQ(post(at + "gc", "").status, 200);
  EXPECT_EQ(json::parse(get("/api/v1/checkpoints").body)["checkpoints"].size(), 3u)
      << "more@2 went; the tagged one and each stage's newest stay";
}

TEST_F(ApiTest, ShowsWhereTheRanksAre) {
  setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"stage": "lm", "step": 3}})", 1);
  const auto id = coordinator_->submit(make_recipe(dir_.path(), 2, 4), "x");
  ASSERT_TRUE(id.ok());
  const std::string at = "/api/v1/jobs/" + *id;
  Socket events(port_);
  events.send("GET " + at + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + std::string(kToken) + "\r\n\r\n");
  EXPECT_NE(events.read_until("event: checkpoint").find("event: checkpoint"), std::string::npos);
  const Reply report = get(at + "/flights?view=report");
  ASSERT_EQ(report.status, 200) << report.body;
  const json findings = json::parse(report.body);
  EXPECT_EQ(findings["ranks"][1]["collective"]["unit"], "w");
  EXPECT_EQ(findings["paces"][1]["last"], 1);
  EXPECT_NE(findings["verdict"].get<std::string>().find("all ranks are in all_gather #5 of w"), std::string::npos);
  const auto gang = gang_flight_from_json(get(at + "/flights?records=10").body);
  ASSERT_TRUE(gang.ok()) << gang.status().to_string();
  EXPECT_EQ(gang->ranks[0].flight->records.size(), 2u);
  EXPECT_EQ(get(at + "/flights?attempt=1").status, 404) << "nothing was filed";
  EXPECT_EQ(get(at + "/flight-report").status, 404);
  EXPECT_EQ(post(at + "/cancel", "").status, 202);
  events.read_until("\"phase\":\"cancelled\"");
  EXPECT_EQ(get(at + "/flights").status, 409);
  unsetenv("TEPHRA_FAKE_PLAN");
}

TEST_F(ApiTest, CancelsAJob) {
  setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"stage": "lm", "step": 3}})", 1);
  const auto id = coordinator_->submit(make_recipe(dir_.path(), 1, 4), "x");
  ASSERT_TRUE(id.ok());
  Socket events(port_);
  events.send("GET /api/v1/jobs/" + *id + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
              std::string(kToken) + "\r\n\r\n");
  EXPECT_NE(events.read_until("event: step").find("event: step"), std::string::npos);
  EXPECT_EQ(post("/api/v1/jobs/" + *id + "/cancel", "").status, 202);
  EXPECT_NE(events.read_until("\"phase\":\"cancelled\"").find("\"phase\":\"cancelled\""), std::string::npos);
  unsetenv("TEPHRA_FAKE_PLAN");
}

TEST(Api, WithoutATokenOnlyLoopbackNamesAreAnswered) {
  TempDir dir;
  Options options = make_options(dir / "store");
  options.http_port = 0;
  auto started = Coordinator::start(options);
  ASSERT_TRUE(started.ok()) << started.status().to_string();
  const int port = (*started)->http_port();
  EXPECT_EQ(request(port, "GET", "/api/v1/jobs").status, 200);
  Socket rebound(port);
  rebound.send("GET /api/v1/jobs HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n");
  const std::string answer = rebound.read_until("");
  EXPECT_NE(answer.find(" 403 "), std::string::npos) << answer;
}

TEST(Api, RefusesToListenOpenlyWithoutAToken) {
  TempDir dir;
  Options options = make_options(dir / "store");
  options.http_port = 0;
  options.http_host = "0.0.0.0";
  const auto started = Coordinator::start(options);
  ASSERT_FALSE(started.ok());
  EXPECT_EQ(started.status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra::coordinator
