// What is proved: the page's parts are served with a policy that lets nothing else run, none of them names another host, and
// what the page needs of results and reports comes to those who may have it.
#include <gtest/gtest.h>

#include <regex>
#include <sstream>
#include <thread>

#include "api_fixture.h"
#include "coordinator/checkpoint_verifier.h"
#include "coordinator/tokens.h"
#include "coordinator/web_files.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using cluster::Reply;
using cluster::request;
using nlohmann::json;

class ApiPage : public ApiTest {
 protected:
  std::string finished_job() {
    const std::string id = submit();
    EXPECT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(60))).ok());
    return id;
  }
};

TEST_F(ApiPage, PartsAreServedToAnybodyUnderAStrictPolicy) {
  ASSERT_GT(web_files().size(), 10u);
  for (const WebFile& file : web_files()) {
    const Reply part = request(port_, "GET", "/web/" + std::string(file.name));
    EXPECT_EQ(part.status, 200) << file.name;
    EXPECT_EQ(part.body, file.body) << file.name;
    EXPECT_NE(part.head.find("Content-Type: " + std::string(web_content_type(file.name))), std::string::npos)
        << part.head;
  }
  const Reply page = request(port_, "GET", "/");
  ASSERT_EQ(page.status, 200);
  for (const char* rule : {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"})
    EXPECT_NE(page.head.find(rule), std::string::npos) << rule;
  EXPECT_EQ(page.head.find("unsafe"), std::string::npos) << page.head;
  EXPECT_FALSE(std::regex_search(page.body, std::regex("<script>|<style|style=|onclick=")));
  EXPECT_EQ(request(port_, "GET", "/web/nothing.js").status, 404);
  EXPECT_EQ(request(port_, "GET", "/web/..%2Fmain.js").status, 404);
  EXPECT_EQ(post("/web/main.js", "{}").status, 405);
}

TEST_F(ApiPage, OurPartsNameNoOtherHostAndMakeNoMarkup) {
  for (const WebFile& file : web_files()) {
    if (file.name == "chart.min.js" || file.name == "licences.txt") continue;
    std::string body(file.body);
    body = std::regex_replace(body, std::regex("xmlns=\"http://www.w3.org/2000/svg\""), "");
    EXPECT_EQ(body.find("http://"), std::string::npos) << file.name;
    EXPECT_EQ(body.find("https://"), std::string::npos) << file.name;
    for (const char* word :
         {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage.setItem('token"})
      EXPECT_EQ(body.find(word), std::string::npos) << file.name << " has " << word;
  }
}

TEST_F(ApiPage, ABrowserThatHasAPartIsToldSo) {
  const Reply first = request(port_, "GET", "/web/main.js");
  std::smatch tag;
  ASSERT_TRUE(std::regex_search(first.head, tag, std::regex("ETag: (\"[0-9a-f]+\")"))) << first.head;
  const Reply again = request(port_, "GET", "/web/main.js", "", "", "If-None-Match: " + tag[1].str() + "\r\n");
  EXPECT_EQ(again.status, 304);
  EXPECT_EQ(again.body, "");
  EXPECT_EQ(request(port_, "GET", "/web/main.js", "", "", "If-None-Match: \"older\"\r\n").status, 200);
}

TEST_F(ApiPage, ResultsHaveTheNumbersAndNotTheAnswers) {
  const std::string id = finished_job();
  const json results = get_json("/api/v1/jobs/" + id + "/results")["results"];
  ASSERT_FALSE(results.empty());
  for (const json& row : results) {
    EXPECT_EQ(row["metrics"]["accuracy"], 1.0) << "the fake worker's answers are the right ones: " << row;
    EXPECT_FALSE(row.contains("cases"));
    EXPECT_FALSE(row["stage"].get<std::string>().empty());
  }
  EXPECT_EQ(get("/api/v1/jobs/none-1/results").status, 404);
}

TEST_F(ApiPage, AReportHasAnAddressOfItsOwnForAWhile) {
  EXPECT_EQ(post("/api/v1/jobs/none-1/report/link", "").status, 404);
  const std::string id = finished_job();
  EXPECT_EQ(request(port_, "POST", "/api/v1/jobs/" + id + "/report/link").status, 401);
  const Reply made = post("/api/v1/jobs/" + id + "/report/link", "");
  ASSERT_EQ(made.status, 200) << made.body;
  const std::string path = json::parse(made.body)["path"];
  const Reply report = request(port_, "GET", path);  // without a token
  EXPECT_EQ(report.status, 200);
  EXPECT_EQ(report.body, get("/api/v1/jobs/" + id + "/report").body);
  EXPECT_NE(report.head.find("sandbox; default-src 'none'"), std::string::npos) << report.head;
  EXPECT_NE(report.head.find("frame-ancestors 'self'"), std::string::npos);
  EXPECT_EQ(request(port_, "GET", path + "0").status, 404);
  EXPECT_EQ(request(port_, "GET", "/reports/" + std::string(64, '0')).status, 404);
}

TEST_F(ApiPage, CheckpointsAreVerifiedOnRequest) {
  const std::string id = finished_job();
  const auto row = [&] { return get_json("/api/v1/checkpoints?job=" + id + "&limit=1")["checkpoints"][0]; };
  ASSERT_TRUE(row()["verified"].is_null());
  const std::string name = row()["name"];
  EXPECT_EQ(post("/api/v1/checkpoints/verify", json{{"name", name}}.dump()).status, 202);
  const Deadline limit = Deadline::after(std::chrono::seconds(20));
  while (row()["verified"]["state"] != "whole" && !limit.passed()) std::this_thread::yield();
  EXPECT_EQ(row()["verified"]["state"], "whole") << row();
  EXPECT_GT(row()["verified"]["bytes_read"], 0);
  EXPECT_EQ(post("/api/v1/checkpoints/verify", R"({"name": "none-1/lm@1"})").status, 404);
  EXPECT_EQ(post("/api/v1/checkpoints/verify", R"({"nam": "x"})").status, 422);
  EXPECT_EQ(post("/api/v1/checkpoints/verify", "[]").status, 422);
}

TEST_F(ApiPage, StepsOfALongJobAreThinned) {
  const std::string id = finished_job();
  const auto steps = [&](const std::string& query) {
    std::vector<json> lines;
    std::istringstream body(get("/api/v1/jobs/" + id + "/metrics" + query).body);
    for (std::string line; std::getline(body, line);) lines.push_back(json::parse(line));
    return lines;
  };
  const std::vector<json> all = steps("");
  ASSERT_EQ(all.size(), 8u) << "two stages of four steps";
  EXPECT_EQ(steps("?lines=8"), all);
  EXPECT_EQ(steps("?lines=4"), (std::vector<json>{all[1], all[3], all[5], all[7]}));
  EXPECT_EQ(steps("?lines=3"), (std::vector<json>{all[1], all[4], all[7]}));
  EXPECT_EQ(steps("?lines=1"), std::vector<json>{all[7]});
  EXPECT_EQ(get("/api/v1/jobs/" + id + "/metrics?lines=0").status, 422);
}

TEST_F(ApiPage, JobsAreFoundByAPartOfTheirNames) {
  const std::string id = submit();
  const auto found = [&](const std::string& text) { return get_json("/api/v1/jobs?text=" + text)["jobs"].size(); };
  EXPECT_EQ(found(id.substr(1)), 1u);
  EXPECT_EQ(found("X"), 1u) << "its user is x";
  EXPECT_EQ(found("no-such"), 0u);
}

}  // namespace
}  // namespace tephra::coordinator
