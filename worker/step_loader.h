// Prepares the samples of coming steps on its own thread while the compute thread is busy with the present one.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "base/status.h"
#include "data/sampler.h"
#include "worker/samples.h"

namespace tephra::worker {

// This rank's samples of one step, one vector per micro-batch.
using StepSamples = std::vector<std::vector<TrainingSample>>;

// Which samples of the run a rank computes in a step: micro-batches [first, first + count) of `per_step`.
struct StepShare {
  int64_t micro_batch = 1;  // samples
  int64_t per_step = 1;     // micro-batches of the global batch
  int64_t first = 0, count = 1;
};

class StepLoader {
 public:
  // Steps [begin, end). `source` outlives the loader.
  StepLoader(const SampleSource* source, data::SampleOrder order, StepShare share, int64_t begin, int64_t end);
  ~StepLoader();
  StepLoader(const StepLoader&) = delete;
  StepLoader& operator=(const StepLoader&) = delete;

  // The next step's samples, in order; blocks until they are ready. After a failure every later call fails alike.
  Result<StepSamples> next();

 private:
  static constexpr size_t kAhead = 4;  // steps kept ready
  void run(int64_t begin, int64_t end);
  Result<StepSamples> prepare(int64_t step) const;

  const SampleSource* source_;
  const data::SampleOrder order_;
  const StepShare share_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StepSamples> ready_;
  Status failure_;
  bool stopping_ = false;
  std::thread thread_;  // last: starts when everything above is there
};

}  // namespace tephra::worker
