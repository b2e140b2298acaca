// The contract suite of cluster::Launcher, run over every implementation (INSTANTIATE_TEST_SUITE_P with a LauncherCase).
// Every test ends with no process of its gangs left, which the fixture checks in /proc.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/launcher.h"

namespace tephra::cluster {

inline constexpr const char* kWithheld = "TEPHRA_TEST_KEY";  // LauncherOptions::withheld of each case

struct LauncherCase {
  std::string name;
  // Brings up what the launcher needs, below a folder; it goes with the object. Null: it cannot be had here, and `why_not` says
  // why.
  std::function<std::shared_ptr<void>(const std::string& directory, std::string* why_not)> set_up;
  // Depends on the folder only, so that another process makes the same launcher.
  std::function<Result<std::unique_ptr<Launcher>>(const std::string& directory)> make;
};

void PrintTo(const LauncherCase& launcher, std::ostream* out);  // GoogleTest's, for its messages

// As which the case is known to a process that the suite starts: this program again.
void register_launcher_case(const LauncherCase& launcher);

class LauncherTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  virtual const LauncherCase& launcher_case() const = 0;

  // A rank's shell script; $RANK is its number.
  GangSpec spec(const std::string& script, int ranks = 2) const;
  std::unique_ptr<Gang> launch(const GangSpec& spec);
  // Ranks that ignore SIGTERM and sleep, once they are up.
  std::unique_ptr<Gang> launch_sleepers(const std::string& before = "trap '' TERM; ");
  std::string read(const std::string& name) const;  // of directory_; empty when it is not there
  void await(const std::function<bool()>& ready) const;
  std::vector<int64_t> processes(const GangIdentity& gang) const;

  std::string directory_;
  std::shared_ptr<void> world_;
  std::unique_ptr<Launcher> launcher_;
  std::vector<GangIdentity> launched_;
};

class LauncherContract : public LauncherTest, public ::testing::WithParamInterface<LauncherCase> {
 protected:
  const LauncherCase& launcher_case() const override { return GetParam(); }
};

inline std::string launcher_case_name(const ::testing::TestParamInfo<LauncherCase>& info) { return info.param.name; }

}  // namespace tephra::cluster
