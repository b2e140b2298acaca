// What is proved: what was asked for is read and told, damage with its place; nothing is read twice at once, and an end does not
// wait for what is long.
#include "coordinator/checkpoint_verifier.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/storage/fixture.h"

namespace tephra::coordinator {
namespace {

using storage::make_tensor;
using State = Verification::State;

class CheckpointVerifierTest : public storage::StoreFixture {
 protected:
  Verification wait(const CheckpointVerifier& verifier, const std::string& name) {
    const Deadline limit = Deadline::after(std::chrono::seconds(20));
    for (;; std::this_thread::yield()) {
      const Verification now = verifier.all()[name];
      if ((now.state != State::kWaiting && now.state != State::kReading) || limit.passed()) return now;
    }
  }
};

TEST_F(CheckpointVerifierTest, TellsWhatIsWholeAndWhatIsDamaged) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("w", {500}, 1)}));
  CheckpointVerifier verifier(*store_, Clock::system());
  EXPECT_TRUE(verifier.all().empty());
  const Result<std::string> name = verifier.verify("j/s@latest");
  TEPHRA_ASSERT_OK(name);
  EXPECT_EQ(*name, "j/s@1") << "told by the name that lists have";
  const Verification whole = wait(verifier, "j/s@1");
  EXPECT_EQ(whole.state, State::kWhole);
  EXPECT_EQ(whole.bytes_read, 2000u);
  EXPECT_TRUE(whole.problems.empty());
  TEPHRA_ASSERT_OK(env_.flip_bit(dir_ / ("store/packs/" + pack_files().at(0)), 100, 3));
  TEPHRA_ASSERT_OK(verifier.verify("j/s@1"));
  const Verification damaged = wait(verifier, "j/s@1");
  EXPECT_EQ(damaged.state, State::kDamaged);
  ASSERT_EQ(damaged.problems.size(), 1u);
  EXPECT_EQ(damaged.problems[0].substr(0, 3), "w: ") << damaged.problems[0];
}

TEST_F(CheckpointVerifierTest, WhatIsNotThereIsRefused) {
  CheckpointVerifier verifier(*store_, Clock::system());
  EXPECT_EQ(verifier.verify("j/s@1").status().code(), Code::kNotFound);
  EXPECT_TRUE(verifier.all().empty());
}

TEST_F(CheckpointVerifierTest, AnEndDoesNotReadOn) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("v", {500}, 1), make_tensor("w", {500}, 2)}));
  int asked = 0;
  const auto report = store_->verify("j/s@1", [&] { return ++asked == 2; });
  EXPECT_EQ(report.status().code(), Code::kCancelled) << "asked before each tensor";
  EXPECT_EQ(asked, 2);
}

}  // namespace
}  // namespace tephra::coordinator
