// What is proved: TensorBoard itself reads the event files of a job, with every step's numbers in them.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/base/api_python.h"
#include "tests/coordinator/api_fixture.h"

namespace tephra::coordinator {
namespace {

TEST_F(ApiTest, TensorBoardReadsAJobsEvents) {
  TEPHRA_REQUIRE_API_PYTHON("TensorBoard");
  const std::string id = submit();
  ASSERT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(60))).ok());
  const std::string job = dir_ / "store/jobs/" + id;
  EXPECT_TRUE(run_python(api_python(), "'" TEPHRA_SOURCE_DIR "/tests/coordinator/peers/read_events.py' '" + job + "'",
                         dir_ / "python.log"));
}

}  // namespace
}  // namespace tephra::coordinator
