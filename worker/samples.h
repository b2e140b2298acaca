// A stage's training data as one indexed list of tokenized samples, whatever parts and kinds it is put together from.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/preprocess.h"
#include "data/tokenizer.h"
#include "worker/task_context.h"

namespace tephra::worker {

struct TrainingSample {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
  std::vector<std::vector<float>> pixels;  // 3 * S * S for each image
  std::string id;
  uint64_t position = 0;
};

// Immutable; get() from any thread.
class SampleSource {
 public:
  virtual ~SampleSource() = default;
  virtual int64_t size() const = 0;
  // kInvalidArgument or kCorruption names the sample.
  virtual Result<TrainingSample> get(int64_t index) const = 0;
};

// For kind train: conversations through the stage's template. contrastive: the last assistant turn of each captioned picture.
// language_model: documents of text parts packed into sequences, loss on everything; conversations one to a sequence, loss on the
// assistant's words.
Result<std::unique_ptr<SampleSource>> open_samples(const TaskContext& context,
                                                   std::shared_ptr<const data::Tokenizer> tokenizer,
                                                   const data::PreprocessOptions& preprocess);

}  // namespace tephra::worker
