// What is proved: that paths, parameters and statuses follow from the table's rows.
#include "coordinator/api_route.h"

#include <gtest/gtest.h>

#include "cluster/http/http_text.h"

namespace tephra::coordinator {
namespace {

using Values = std::map<std::string, std::string>;

TEST(ApiRoute, MatchesSegments) {
  EXPECT_EQ(match_path("/", "/"), Values{});
  EXPECT_EQ(match_path("/api/v1/jobs", "/api/v1/jobs"), Values{});
  EXPECT_EQ(match_path("/api/v1/jobs/{job}", "/api/v1/jobs/demo-1"), (Values{{"job", "demo-1"}}));
  EXPECT_EQ(match_path("/api/v1/jobs/{job}", "/api/v1/jobs/a%2Fb%20c"), (Values{{"job", "a/b c"}}));
  EXPECT_EQ(match_path("/a/{x}/b/{y}", "/a/1/b/2"), (Values{{"x", "1"}, {"y", "2"}}));
  for (const char* other : {"/api/v1/jobs", "/api/v1/jobs/", "/api/v1/jobs/x/", "/api/v1/jobs/x/y", "/api/v1/job/x",
                            "api/v1/jobs/x", "", "/api/v1/jobs/%zz", "/api/v1/jobs/%00"})
    EXPECT_EQ(match_path("/api/v1/jobs/{job}", other), std::nullopt) << other;
}

TEST(ApiRoute, ChecksParametersAndNamesEach) {
  ApiRoute route{.method = "GET", .path = "/x", .id = "x", .about = "x"};
  route.parameters = {number_parameter("limit", "", 1, 10), choice_parameter("order", "", {"up", "down"}),
                      flag_parameter("follow", ""), text_parameter("user", ""),
                      header_parameter("idempotency-key", "")};
  const auto problems = [&](const std::string& target) {
    cluster::HttpRequest request;
    EXPECT_TRUE(cluster::split_target(target, &request)) << target;
    std::vector<std::string> fields;
    for (const ParameterProblem& problem : check_parameters(route, request)) fields.push_back(problem.field);
    return fields;
  };
  using Fields = std::vector<std::string>;
  EXPECT_EQ(problems("/x?limit=1&order=up&follow=true&user=a"), Fields{});
  EXPECT_EQ(problems("/x?limit=10"), Fields{});
  for (const char* limit : {"0", "11", "-1", "x", "1x", "", "99999999999999999999"})
    EXPECT_EQ(problems("/x?limit=" + std::string(limit)), Fields{"limit"}) << limit;
  EXPECT_EQ(problems("/x?order=sideways&follow=yes"), (Fields{"order", "follow"}));
  EXPECT_EQ(problems("/x?user=" + std::string(2000, 'a')), Fields{"user"});
  EXPECT_EQ(problems("/x?user=" + std::string(512, 'a')), Fields{});
  EXPECT_EQ(problems("/x?usr=a"), Fields{"usr"});
  EXPECT_EQ(problems("/x?idempotency-key=a"), Fields{"idempotency-key"}) << "it is a header, not a query's";
}

TEST(ApiRoute, StatusesFollowFromTheRow) {
  ApiRoute route{.method = "GET", .path = "/api/v1/x", .id = "x", .about = "x"};
  EXPECT_EQ(error_statuses(route), (std::vector<int>{400, 401, 403, 422, 429, 431, 503}));
  route.path = "/api/v1/x/{y}";
  route.body = "B";
  route.errors = {409};
  EXPECT_EQ(error_statuses(route), (std::vector<int>{400, 401, 403, 404, 409, 413, 415, 422, 429, 431, 503}));
  const ApiRoute open{.method = "GET", .path = "/healthz", .id = "x", .about = "x", .role = Role::kNone};
  EXPECT_EQ(error_statuses(open), (std::vector<int>{400, 429, 431}));
}

}  // namespace
}  // namespace tephra::coordinator
