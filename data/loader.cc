#include <condition_variable>
#include <mutex>
#include <thread>

#include "data/batch.h"

namespace tephra::data {

// Samples are claimed in order, made on any thread, and parked in a ring until next() comes to them. A claim is allowed
// only less than `window` samples ahead of what was handed out, which bounds the memory.
struct Loader::State {
  const Dataset* dataset;
  SampleOrder order;
  std::vector<uint64_t> positions;
  LoaderOptions options;
  size_t window = 0;

  std::mutex mutex;
  std::condition_variable room;                            // a sample may be claimed, or the end
  std::condition_variable ready;                           // a sample was made
  std::vector<std::optional<Result<EncodedSample>>> ring;  // of sample i at i % window
  size_t claimed = 0;
  size_t handed_out = 0;
  bool stopping = false;
  Status failure;
  std::vector<std::thread> threads;

  void work();
  Result<EncodedSample> make(uint64_t position) const;
};

Result<EncodedSample> Loader::State::make(uint64_t position) const {
  try {
    TEPHRA_ASSIGN_OR_RETURN(EncodedSample sample, dataset->get(order.index_at(position)));
    sample.position = position;
    return sample;
  } catch (const std::exception& error) {  // out of memory: no exception may leave a thread
    return Status(Code::kInternal, std::string("preparing a sample failed: ") + error.what());
  }
}

void Loader::State::work() {
  for (;;) {
    size_t mine;
    {
      std::unique_lock lock(mutex);
      room.wait(lock, [&] { return stopping || claimed == positions.size() || claimed < handed_out + window; });
      if (stopping || claimed == positions.size()) return;
      mine = claimed++;
    }
    Result<EncodedSample> made = make(positions[mine]);
    std::lock_guard lock(mutex);
    ring[mine % window] = std::move(made);
    ready.notify_one();
  }
}

Loader::Loader(const Dataset* dataset, SampleOrder order, std::vector<uint64_t> positions, LoaderOptions options)
    : state_(std::make_unique<State>()) {
  TEPHRA_CHECK(dataset != nullptr && options.threads > 0 && options.prefetch_batches > 0 && options.micro_batch > 0,
               "loader options must be at least 1");
  TEPHRA_CHECK(order.dataset_size == dataset->size(), "the order is of another dataset");
  state_->dataset = dataset;
  state_->order = order;
  state_->positions = std::move(positions);
  state_->options = options;
  state_->window = static_cast<size_t>(options.prefetch_batches) * options.micro_batch;
  state_->ring.resize(state_->window);
  for (int i = 0; i < options.threads; ++i) state_->threads.emplace_back([state = state_.get()] { state->work(); });
}

Loader::~Loader() {
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->room.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

Result<std::vector<EncodedSample>> Loader::next() {
  State& s = *state_;
  std::vector<EncodedSample> batch;
  std::unique_lock lock(s.mutex);
  if (!s.failure.ok()) return s.failure;
  while (batch.size() < static_cast<size_t>(s.options.micro_batch) && s.handed_out < s.positions.size()) {
    auto& slot = s.ring[s.handed_out % s.window];
    s.ready.wait(lock, [&] { return slot.has_value(); });
    if (!slot->ok()) {
      s.failure = slot->status();
      s.stopping = true;
      s.room.notify_all();
      return s.failure;
    }
    batch.push_back(std::move(**slot));
    slot.reset();
    ++s.handed_out;
    s.room.notify_one();
  }
  return batch;
}

}  // namespace tephra::data
