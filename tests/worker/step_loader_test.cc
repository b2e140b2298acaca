// The samples of a run do not depend on how many ranks share them, and a bad sample ends the loader with its own words.
#include "worker/step_loader.h"

#include <gtest/gtest.h>

#include "worker/trainer.h"

namespace tephra::worker {
namespace {

class Numbers : public SampleSource {
 public:
  explicit Numbers(int64_t size, int64_t bad = -1) : size_(size), bad_(bad) {}
  int64_t size() const override { return size_; }
  Result<TrainingSample> get(int64_t index) const override {
    if (index == bad_) return Status(Code::kCorruption, "sample " + std::to_string(index) + " is broken");
    TrainingSample sample;
    sample.id = std::to_string(index);
    return sample;
  }

 private:
  int64_t size_, bad_;
};

// Ids of each micro-batch of `steps` steps, as `world` ranks together load them.
std::vector<std::string> ids(const SampleSource& source, int64_t world, int64_t steps) {
  std::vector<std::string> all;
  data::SampleOrder order{7, static_cast<uint64_t>(source.size()), true};
  std::vector<std::unique_ptr<StepLoader>> loaders;
  for (int64_t rank = 0; rank < world; ++rank)
    loaders.push_back(
        std::make_unique<StepLoader>(&source, order, StepShare{3, 4, rank * 4 / world, 4 / world}, 0, steps));
  for (int64_t step = 0; step < steps; ++step)
    for (auto& loader : loaders) {
      auto samples = loader->next();
      EXPECT_TRUE(samples.ok());
      for (const auto& micro : *samples) {
        std::string line;
        for (const TrainingSample& s : micro) line += s.id + ":" + std::to_string(s.position) + " ";
        all.push_back(line);
      }
    }
  return all;
}

TEST(StepLoader, MicroBatchesAreTheSameAtEveryWorldSize) {
  Numbers source(31);
  auto one = ids(source, 1, 9);
  EXPECT_EQ(one.size(), 36u);
  EXPECT_EQ(ids(source, 2, 9), one);
  EXPECT_EQ(ids(source, 4, 9), one);
}

TEST(StepLoader, ABadSampleIsReportedWhenItsStepIsReachedAndEverAfter) {
  Numbers source(12, 5);
  StepLoader loader(&source, data::SampleOrder{7, 12, false}, StepShare{1, 2, 0, 2}, 0, 6);
  EXPECT_TRUE(loader.next().ok());
  EXPECT_TRUE(loader.next().ok());
  EXPECT_EQ(loader.next().status().message(), "sample 5 is broken");
  EXPECT_EQ(loader.next().status().code(), Code::kCorruption);
}

TEST(StepLoader, EndsWhileStepsAreStillReady) {
  Numbers source(100);
  StepLoader loader(&source, data::SampleOrder{1, 100, true}, StepShare{1, 1, 0, 1}, 0, 1000);
  EXPECT_TRUE(loader.next().ok());
}

}  // namespace
}  // namespace tephra::worker
