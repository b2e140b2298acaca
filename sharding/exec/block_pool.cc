#include "sharding/exec/block_pool.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

namespace tephra::sharding {
namespace {

constexpr size_t kAlignment = 64;

}  // namespace

struct Block::Shelves {
  std::mutex mutex;
  std::map<int64_t, std::vector<float*>> free;  // by count
  int64_t allocated_bytes = 0;
  int64_t used_floats = 0, peak_floats = 0;

  ~Shelves() {
    for (auto& [count, blocks] : free) {
      for (float* block : blocks) std::free(block);
    }
  }
};

void Block::swap(Block& other) noexcept {
  std::swap(shelves_, other.shelves_);
  std::swap(data_, other.data_);
  std::swap(count_, other.count_);
}

Block::~Block() {
  if (data_ == nullptr) return;
  std::lock_guard lock(shelves_->mutex);
  shelves_->free[count_].push_back(data_);
  shelves_->used_floats -= count_;
}

void Block::fill_zero() const { std::fill_n(data_, count_, 0.0f); }

BlockPool::BlockPool() : shelves_(std::make_shared<Block::Shelves>()) {}

Block BlockPool::acquire(int64_t count) {
  std::lock_guard lock(shelves_->mutex);
  std::vector<float*>& waiting = shelves_->free[count];
  float* data = nullptr;
  if (!waiting.empty()) {
    data = waiting.back();
    waiting.pop_back();
  } else {
    const size_t bytes = std::max(kAlignment, (count * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment);
    data = static_cast<float*>(std::aligned_alloc(kAlignment, bytes));
    if (data == nullptr) throw std::bad_alloc();
    shelves_->allocated_bytes += static_cast<int64_t>(bytes);
  }
  shelves_->used_floats += count;
  shelves_->peak_floats = std::max(shelves_->peak_floats, shelves_->used_floats);
  return Block(shelves_, data, count);
}

int64_t BlockPool::allocated_bytes() const {
  std::lock_guard lock(shelves_->mutex);
  return shelves_->allocated_bytes;
}

int64_t BlockPool::peak_bytes() const {
  std::lock_guard lock(shelves_->mutex);
  return shelves_->peak_floats * static_cast<int64_t>(sizeof(float));
}

}  // namespace tephra::sharding
