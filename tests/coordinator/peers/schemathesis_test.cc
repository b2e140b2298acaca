// What is proved: schemathesis, which makes requests from the served OpenAPI document, right ones and wrong ones, gets no
// server error, and nothing that the document does not say.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/base/api_python.h"
#include "tests/coordinator/api_fixture.h"

namespace tephra::coordinator {
namespace {

class Schemathesis : public ApiTest {
 protected:
  // A token of its own: it is on the command line of schemathesis.
  void change(Options& options) override {
    options.requests_per_second = 1e6;
    options.token = "for schemathesis";
  }
};

TEST_F(Schemathesis, FindsNothingThatTheDocumentDoesNotSay) {
  TEPHRA_REQUIRE_API_PYTHON("schemathesis");
  // One job that has ended, so that lists and files are not empty.
  ASSERT_TRUE(coordinator_->wait(submit("for schemathesis"), Deadline::after(std::chrono::seconds(60))).ok());
  const std::string url = "http://127.0.0.1:" + std::to_string(port_);
  // watchAll is a stream without end. positive_data_acceptance: a recipe made at random holds for the schema and not for
  // the rules of recipes.
  // Long values for several parameters at once make a header that is too large before anybody looks at the values.
  const std::string config = dir_ / "schemathesis.toml";
  const std::string statuses = "[400, 401, 403, 404, 405, 409, 415, 422, 429, 431, \"5xx\"]";
  const Status written = write_file_atomic(Env::posix(), config,
                                           "[checks.negative_data_rejection]\nexpected-statuses = " + statuses + "\n");
  ASSERT_TRUE(written.ok()) << written.to_string();
  EXPECT_TRUE(run_python(api_python(),
                         "-m schemathesis.cli --config-file '" + config + "' run " + url +
                             "/api/v1/openapi.json --url " + url + " --header 'Authorization: Bearer " +
                             coordinator_->options().token +
                             "' --exclude-operation-id watchAll --exclude-checks positive_data_acceptance"
                             " --max-examples 40 --seed 1 --request-timeout 20 --suppress-health-check all",
                         dir_ / "schemathesis.log"));
  EXPECT_EQ(get("/healthz").status, 200);
}

}  // namespace
}  // namespace tephra::coordinator
