// Everything that can be wrong with a dataset, found before a job starts.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/diagnostic.h"
#include "base/status.h"
#include "data/image_check.h"
#include "data/template.h"
#include "data/tokenizer.h"

namespace tephra::data {

struct ValidateOptions {
  std::string conversations_path;  // as open_conversations takes it (data/conversation_source.h)
  std::string image_root;
  std::string template_name;
  int max_length = 2048;
  int image_tokens =
      1;  // tokens an image becomes in the model; with it the supervised span is judged after the second cut too
  int threads = 1;
  int max_diagnostics = 1000;              // further ones are counted, not listed
  bool decode_images = true;               // false: only existence and path are checked
  ImageCheckCache* image_cache = nullptr;  // verdicts of pictures that were checked before
  bool allow_masked = false;  // true: samples that the original masks whole (Encoded::warning) are warnings, not errors
};

// A sample with an error.
struct Offender {
  uint64_t index = 0;
  std::string id;                     // "#N" where it has none that can be read
  std::vector<std::string> problems;  // as in ValidationReport::problems
};

struct ValidationReport {
  std::vector<Diagnostic> errors;    // in sample order; the field names index, id and field of the sample
  std::vector<Diagnostic> warnings;  // with allow_masked: samples that take part in training and teach nothing
  // All of them, in order, and how many of them have which problem: malformed, image, image_tags, encoding, no_supervised_token.
  std::vector<Offender> offenders;
  std::map<std::string, uint64_t> problems;
  uint64_t errors_total = 0;
  uint64_t warnings_total = 0;
  uint64_t samples = 0;
  uint64_t with_image = 0;
  uint64_t text_only = 0;
  uint64_t distinct_images = 0;
  uint64_t truncated = 0;  // samples that lose tokens to max_length
  uint64_t tokens = 0;     // after the cut, an image counting image_tokens
  uint64_t supervised_tokens = 0;
  uint64_t longest_tokens = 0;  // before the cut
  uint64_t image_bytes = 0;     // files of distinct_images
  bool ok() const { return errors_total == 0; }
};

// Checks each sample: it is of the layout; its image exists inside the root and decodes (each distinct file once); tags and image agree; the
// template takes it; a supervised token is left after truncation. Fails (Status) only when the conversations cannot be
// read at all or the template is unknown. Blocks; uses `threads` threads.
Result<ValidationReport> validate_dataset(const ValidateOptions& options, const Tokenizer& tokenizer);

// Writes the samples that are no offenders to `out_path`, a JSON array with one sample a line, each as it stood in the file that `report`
// is of. The original is only read: kInvalidArgument when out_path is that file, by whatever name; also when no sample is left.
Status write_clean_copy(const ValidateOptions& options, const ValidationReport& report, const std::string& out_path);

// Lines for a person, and one JSON document, of `tephra data check`.
std::string to_text(const ValidationReport& report);
std::string to_json(const ValidationReport& report);

}  // namespace tephra::data
