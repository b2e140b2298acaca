#include "worker/step_loader.h"

#include <utility>

namespace tephra::worker {

StepLoader::StepLoader(const SampleSource* source, data::SampleOrder order, StepShare share, int64_t begin, int64_t end)
    : source_(source), order_(order), share_(share), thread_([this, begin, end] { run(begin, end); }) {}

StepLoader::~StepLoader() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<StepSamples> StepLoader::prepare(int64_t step) const {
  StepSamples samples(share_.count);
  for (int64_t m = 0; m < share_.count; ++m) {
    for (int64_t i = 0; i < share_.micro_batch; ++i) {
      uint64_t position = static_cast<uint64_t>((step * share_.per_step + share_.first + m) * share_.micro_batch + i);
      TEPHRA_ASSIGN_OR_RETURN(auto sample, source_->get(static_cast<int64_t>(order_.index_at(position))));
      sample.position = position;
      samples[m].push_back(std::move(sample));
    }
  }
  return samples;
}

void StepLoader::run(int64_t begin, int64_t end) {
  for (int64_t step = begin; step < end; ++step) {
    auto samples = prepare(step);
    std::unique_lock lock(mutex_);
    if (!samples.ok()) {
      failure_ = samples.status();
      changed_.notify_all();
      return;
    }
    changed_.wait(lock, [&] { return ready_.size() < kAhead || stopping_; });
    if (stopping_) return;
    ready_.push_back(std::move(samples).value());
    changed_.notify_all();
  }
}

Result<StepSamples> StepLoader::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !ready_.empty() || !failure_.ok(); });
  if (ready_.empty()) return failure_;
  StepSamples samples = std::move(ready_.front());
  ready_.pop_front();
  changed_.notify_all();
  return samples;
}

}  // namespace tephra::worker
