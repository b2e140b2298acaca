// Which sample comes when: a pure function of (seed, position), so that no number of ranks, restart or thread can
// change it.
#pragma once

#include <cstdint>

namespace tephra::data {

// Index in [0, dataset_size) of the `position`-th sample of an epoch, position in [0, dataset_size). For each (seed,
// epoch) a bijection.
uint64_t sample_at(uint64_t seed, uint64_t epoch, uint64_t dataset_size, uint64_t position);

// The order of a whole run. A position counts samples since the run's start, over all epochs and ranks.
struct SampleOrder {
  uint64_t seed = 0;
  uint64_t dataset_size = 0;  // at least 1
  bool shuffle = true;        // false: the file's order, epoch after epoch

  uint64_t epoch_of(uint64_t position) const { return position / dataset_size; }
  uint64_t index_at(uint64_t position) const;
};

}  // namespace tephra::data
