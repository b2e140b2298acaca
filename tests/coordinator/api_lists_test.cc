// What is proved: pages, filters, submissions that are sent twice, and streams that go on where they broke.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "api_fixture.h"
#include "coordinator/event_hub.h"

namespace tephra::coordinator {
namespace {

using cluster::Reply;
using cluster::Socket;
using nlohmann::json;

class ApiLists : public ApiTest {
 protected:
  void SetUp() override {
    setenv("TEPHRA_FAKE_PLAN", R"({"hold": {"stage": "lm", "step": 1}})", 1);
    start();
  }
  void TearDown() override { unsetenv("TEPHRA_FAKE_PLAN"); }
  // Ids of all pages of a list, in order; `pages` counts them.
  std::vector<std::string> ids(const std::string& target, const char* list, const char* id, int* pages) {
    std::vector<std::string> all;
    std::string cursor;
    for (*pages = 0; *pages < 20;) {
      const json page = get_json(target + (cursor.empty() ? "" : "&cursor=" + cursor));
      ++*pages;
      for (const json& row : page[list])
        all.push_back(row[id].is_string() ? row[id].get<std::string>() : row[id].dump());
      if (page["next"].is_null()) break;
      cursor = page["next"].get<std::string>();
    }
    return all;
  }
};

TEST_F(ApiLists, JobsComeInPages) {
  std::vector<std::string> made;
  for (int i = 0; i < 5; ++i) made.push_back(submit());
  int pages = 0;
  EXPECT_EQ(ids("/api/v1/jobs?limit=2", "jobs", "id", &pages), made);
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(ids("/api/v1/jobs?limit=5", "jobs", "id", &pages), made);
  EXPECT_EQ(pages, 1) << "a full last page has none after it";
  const std::vector<std::string> newest(made.rbegin(), made.rend());
  EXPECT_EQ(ids("/api/v1/jobs?limit=3&order=newest", "jobs", "id", &pages), newest);
  EXPECT_EQ(get("/api/v1/jobs?cursor=x").status, 422);
  EXPECT_EQ(get("/api/v1/jobs?limit=0").status, 422);
  EXPECT_EQ(get("/api/v1/jobs?pahse=done").status, 422);
}

TEST_F(ApiLists, JobsAreFiltered) {
  const std::string first = submit();
  post("/api/v1/jobs", submission("other"));
  const std::string third = json::parse(post("/api/v1/jobs", submission("third")).body)["id"];
  int pages = 0;
  const auto found = [&](const std::string& query) {
    return ids("/api/v1/jobs?" + query, "jobs", "id", &pages).size();
  };
  EXPECT_EQ(found("user=other"), 1u);
  EXPECT_EQ(found("user=nobody"), 0u);
  EXPECT_EQ(found("recipe=demo"), 3u);
  EXPECT_EQ(found("recipe=demos"), 0u);
  EXPECT_EQ(found("phase=done,failed,cancelled"), 0u);
  EXPECT_EQ(found("phase=queued,preparing,training"), 3u);
  EXPECT_EQ(post("/api/v1/jobs/" + third + "/cancel", "").status, 202);
  ASSERT_TRUE(coordinator_->wait(third, Deadline::after(std::chrono::seconds(20))).ok());
  EXPECT_EQ(found("phase=cancelled"), 1u);
  const Reply wrong = get("/api/v1/jobs?phase=sleeping");
  EXPECT_EQ(wrong.status, 422);
  EXPECT_NE(wrong.body.find("there are queued, preparing"), std::string::npos) << wrong.body;
}

TEST_F(ApiLists, HistoryAndCheckpointsComeInPages) {
  unsetenv("TEPHRA_FAKE_PLAN");
  const std::string id = submit();
  ASSERT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(60))).ok());
  int pages = 0;
  const auto names = ids("/api/v1/checkpoints?limit=3&job=" + id, "checkpoints", "name", &pages);
  EXPECT_EQ(names, (std::vector<std::string>{id + "/lm@2", id + "/lm@4", id + "/more@2", id + "/more@4"}));
  EXPECT_EQ(pages, 2);
  EXPECT_EQ(ids("/api/v1/checkpoints?stage=more&job=" + id, "checkpoints", "name", &pages).size(), 2u);
  EXPECT_EQ(get("/api/v1/checkpoints?cursor=none/x@1").status, 422);
  const auto numbers = ids("/api/v1/jobs/" + id + "/history?limit=4", "events", "number", &pages);
  ASSERT_GT(numbers.size(), 8u);
  for (size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], std::to_string(i + 1));
  EXPECT_EQ(pages, static_cast<int>((numbers.size() + 3) / 4));
  const json events = get_json("/api/v1/jobs/" + id + "/history")["events"];
  EXPECT_EQ(events[0]["name"], "submitted");
  EXPECT_EQ(events.back()["phase"], "done");
}

TEST_F(ApiLists, ASubmissionWithAKeyIsMadeOnce) {
  const std::string key = "Idempotency-Key: k-1\r\n", body = submission();
  const Reply first = post("/api/v1/jobs", body, kToken, key);
  ASSERT_EQ(first.status, 201) << first.body;
  const Reply again = post("/api/v1/jobs", body, kToken, key);
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(post("/api/v1/jobs", submission("other"), kToken, key).status, 409) << "the key of another submission";
  EXPECT_NE(post("/api/v1/jobs", body, kToken, "Idempotency-Key: k-2\r\n").body, first.body);
  EXPECT_NE(post("/api/v1/jobs", body).body, first.body);
  EXPECT_EQ(get_json("/api/v1/jobs")["jobs"].size(), 3u);
  coordinator_.reset();
  start();
  EXPECT_EQ(post("/api/v1/jobs", body, kToken, key).body, first.body) << "also after a restart";
  EXPECT_EQ(get_json("/api/v1/jobs")["jobs"].size(), 3u);
}

// The ids of the events in a stream's text.
std::vector<std::string> event_ids(const std::string& text) {
  std::vector<std::string> ids;
  for (size_t at = 0; (at = text.find("\nid: ", at)) != std::string::npos; at += 5)
    ids.push_back(text.substr(at + 5, text.find('\n', at + 5) - at - 5));
  return ids;
}

TEST_F(ApiLists, AStreamGoesOnWhereItBroke) {
  unsetenv("TEPHRA_FAKE_PLAN");
  const std::string held =
      "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + std::string(kToken) + "\r\n\r\n";
  Socket all(port_);
  all.send(held);
  all.read_until(": hello");
  const std::string id = submit();
  const std::vector<std::string> whole = event_ids(all.read_until("\"phase\":\"done\""));
  ASSERT_GT(whole.size(), 10u);
  const std::string at = "/api/v1/jobs/" + id + "/events";
  const size_t middle = whole.size() / 2;
  const Reply rest = cluster::request(port_, "GET", at, kToken, "", "Last-Event-ID: " + whole[middle] + "\r\n");
  const std::vector<std::string> got = event_ids(rest.body);
  EXPECT_EQ(got, std::vector<std::string>(whole.begin() + static_cast<long>(middle) + 1, whole.end()));
  EXPECT_EQ(rest.body.find("event: gap"), std::string::npos);
  EXPECT_NE(rest.body.find("event: job\n"), std::string::npos);
  coordinator_.reset();
  start();
  const Reply after = cluster::request(port_, "GET", at, kToken, "", "Last-Event-ID: " + whole[middle] + "\r\n");
  EXPECT_NE(after.body.find("event: gap"), std::string::npos) << "ids of another run are known to be so";
  EXPECT_NE(after.body.find("event: job\n"), std::string::npos);
}

TEST_F(ApiLists, ReadinessNamesWhatIsMissing) {
  const Reply ready = cluster::request(port_, "GET", "/readyz");
  EXPECT_EQ(ready.status, 200) << ready.body;
  EXPECT_EQ(json::parse(ready.body)["checks"]["journal"], "ok");
}

class ApiNotReady : public ApiTest {
 protected:
  void change(Options& options) override { options.launching.mpirun = "no-such-mpirun"; }
};

TEST_F(ApiNotReady, SaysWhy) {
  const Reply ready = cluster::request(port_, "GET", "/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_NE(ready.body.find("launcher: no-such-mpirun is in no folder of PATH"), std::string::npos) << ready.body;
  EXPECT_EQ(cluster::request(port_, "GET", "/healthz").status, 200) << "the process lives";
}

}  // namespace
}  // namespace tephra::coordinator
