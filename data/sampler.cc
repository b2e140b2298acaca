#include "data/sampler.h"

#include "base/check.h"
#include "base/random.h"

namespace tephra::data {

uint64_t sample_at(uint64_t seed, uint64_t epoch, uint64_t dataset_size, uint64_t position) {
  TEPHRA_CHECK(position < dataset_size, "a position past the epoch's end");
  static const uint64_t kPurpose = key_of("data/sample order");
  return permute(position, dataset_size, {kPurpose, seed, epoch});
}

uint64_t SampleOrder::index_at(uint64_t position) const {
  TEPHRA_CHECK(dataset_size > 0, "the order of an empty dataset");
  const uint64_t in_epoch = position % dataset_size;
  return shuffle ? sample_at(seed, epoch_of(position), dataset_size, in_epoch) : in_epoch;
}

}  // namespace tephra::data
