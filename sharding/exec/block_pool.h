// Float buffers that are used, freed and used again in every step: shards, gathered units, gradients. A freed block
// waits for the next request of its size, so memory stops growing after the first step. Blocks start on 64-byte
// boundaries at every world size, because kernels may round differently at another alignment. Threading: any thread may
// acquire and release.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

namespace tephra::sharding {

class BlockPool;

// Owns `count` floats; gives them back to its pool when destroyed. Move-only. Contents are not initialised.
class Block {
 public:
  Block() = default;
  Block(Block&& other) noexcept { swap(other); }
  Block& operator=(Block&& other) noexcept {
    Block(std::move(other)).swap(*this);
    return *this;
  }
  ~Block();

  float* data() const { return data_; }  // null only in an empty Block
  int64_t count() const { return count_; }
  explicit operator bool() const { return data_ != nullptr; }
  void fill_zero() const;

 private:
  friend class BlockPool;
  struct Shelves;
  Block(std::shared_ptr<Shelves> shelves, float* data, int64_t count)
      : shelves_(std::move(shelves)), data_(data), count_(count) {}
  void swap(Block& other) noexcept;

  std::shared_ptr<Shelves> shelves_;  // shared by the pool and every block that is out, so that either may go first
  float* data_ = nullptr;
  int64_t count_ = 0;
};

class BlockPool {
 public:
  BlockPool();
  Block acquire(int64_t count);     // throws std::bad_alloc; the executor turns it into a Status
  int64_t allocated_bytes() const;  // in use or waiting
  int64_t peak_bytes() const;       // most that was in use at once

 private:
  std::shared_ptr<Block::Shelves> shelves_;
};

}  // namespace tephra::sharding
