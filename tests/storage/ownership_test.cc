// Who has a store open, asked between hosts. The other host is one only by name: its answers come from an Ownership of this process.
#include "storage/index/ownership.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/env.h"
#include "tests/base/temp_dir.h"

namespace tephra::storage {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class OwnershipTest : public ::testing::Test {
 protected:
  void owner_file(const std::string& text) { ASSERT_TRUE(write_file_atomic(Env::posix(), dir_ / "owner", text).ok()); }
  bool asked() { return Env::posix().exists(dir_ / "owner.asked"); }
  TempDir dir_;
};

TEST_F(OwnershipTest, NobodyOrAProcessOfThisHostIsNotAsked) {
  EXPECT_TRUE(Ownership::ask(dir_.path(), hours(1)).ok());
  {
    Ownership owner(dir_.path(), "");
    EXPECT_TRUE(Env::posix().exists(dir_ / "owner"));
    EXPECT_TRUE(Ownership::ask(dir_.path(), hours(1)).ok()) << "the index's lock tells processes of one host";
  }
  EXPECT_FALSE(Env::posix().exists(dir_ / "owner"));
  owner_file("pid=7\nurl=\n");  // of a build that did not say its host
  EXPECT_TRUE(Ownership::ask(dir_.path(), hours(1)).ok());
  EXPECT_FALSE(asked());
}

TEST_F(OwnershipTest, AnOwnerOnAnotherHostThatLivesAnswers) {
  Ownership owner(dir_.path(), "");
  owner_file("pid=7\nhost=elsewhere\nboot=1234\nurl=http://elsewhere:7070\n");
  const Status refused = Ownership::ask(dir_.path(), hours(1));
  EXPECT_EQ(refused.code(), Code::kBusy);
  EXPECT_EQ(refused.message(),
            "store " + dir_.path() +
                " is in use by another process (pid 7 on host elsewhere); stop it, or talk to it with "
                "--server http://elsewhere:7070");
  EXPECT_FALSE(asked());
}

TEST_F(OwnershipTest, AHostOfThisNameThatIsAnotherKernelIsAsked) {
  std::string name(256, '\0');
  ASSERT_EQ(::gethostname(name.data(), name.size()), 0);
  Ownership owner(dir_.path(), "");
  owner_file("pid=7\nhost=" + std::string(name.c_str()) + "\nboot=1234\nurl=\n");
  EXPECT_EQ(Ownership::ask(dir_.path(), hours(1)).code(), Code::kBusy);
}

TEST_F(OwnershipTest, OneThatDoesNotAnswerIsDead) {
  owner_file("pid=7\nhost=elsewhere\nboot=1234\nurl=\n");
  EXPECT_TRUE(Ownership::ask(dir_.path(), milliseconds(100)).ok());
  EXPECT_FALSE(asked());
}

TEST_F(OwnershipTest, TheSentenceForAProcessOfThisHostNamesNoHost) {
  Ownership owner(dir_.path(), "http://127.0.0.1:7070");
  EXPECT_THAT(Ownership::busy(dir_.path()).message(),
              HasSubstr("in use by another process (pid " + std::to_string(::getpid()) +
                        "); stop it, or talk to it with --server http://127.0.0.1:7070"));
}

}  // namespace
}  // namespace tephra::storage
