// Samples made ready for the model, and a loader that prepares them ahead of time. Free of LibTorch: the worker copies
// the vectors into tensors and pads them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"
#include "data/preprocess.h"
#include "data/sampler.h"
#include "data/template.h"
#include "data/tokenizer.h"

namespace tephra::data {

struct EncodedSample {
  std::vector<int32_t> ids;                // with BOS, cut to the dataset's max_length
  std::vector<int32_t> labels;             // same length, not shifted
  std::vector<std::vector<float>> pixels;  // one [3, image_size, image_size] per kImageToken in ids
  std::string id;
  uint64_t position = 0;  // of the run's order; set by Loader, the index from Dataset::get
  std::string warning;    // Encoded::warning
};

struct DatasetOptions {
  std::string conversations_path;  // as open_conversations takes it (data/conversation_source.h)
  std::string image_root;
  std::string template_name;
  int max_length = 2048;
  PreprocessOptions preprocess;
  uint64_t cache_bytes = 0;  // pixels kept in memory, first come first kept; 0: none
};

// Immutable but for its cache; get() may be called from several threads at once.
class Dataset {
 public:
  // Opens the conversations; those of .jsonl files and shards, and all images, are read by get(). `tokenizer` must outlive the dataset. kInvalidArgument: an
  // unknown template, an empty file, or what load_conversations says.
  static Result<std::unique_ptr<Dataset>> open(const DatasetOptions& options, const Tokenizer* tokenizer);
  ~Dataset();

  uint64_t size() const;
  Result<Sample> sample(uint64_t index) const;  // index < size()
  // Encodes, decodes and preprocesses one sample; index < size(). A picture whose tag is cut off is not read. Errors name
  // the sample's id.
  Result<EncodedSample> get(uint64_t index) const;
  // The same without the pictures.
  Result<EncodedSample> get_text(uint64_t index) const;

 private:
  Result<EncodedSample> encode(const Sample& sample, uint64_t index) const;

  struct State;
  explicit Dataset(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

struct LoaderOptions {
  int threads = 1;           // at least 1
  int prefetch_batches = 4;  // micro-batches in memory at most, the one being handed over included
  int micro_batch = 1;       // samples of a micro-batch; the last may be short
};

// Prepares the samples at `positions` on `threads` threads and hands them out in order, whatever the number of threads.
// One thread calls next(); the destructor stops and joins the threads.
class Loader {
 public:
  // `dataset` must outlive the loader.
  Loader(const Dataset* dataset, SampleOrder order, std::vector<uint64_t> positions, LoaderOptions options);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next micro-batch; empty when all were handed out. Blocks until it is ready. After a failure every later call
  // fails alike.
  Result<std::vector<EncodedSample>> next();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tephra::data
