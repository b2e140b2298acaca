// Everything that can be wrong with a dataset, found before a job starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/diagnostic.h"
#include "base/status.h"
#include "data/template.h"
#include "data/tokenizer.h"

namespace tephra::data {

struct ValidateOptions {
  std::string conversations_path;
  std::string image_root;
  std::string template_name;
  int max_length = 2048;
  int image_tokens =
      1;  // tokens an image becomes in the model; with it the supervised span is judged after the second cut too
  int threads = 1;
  int max_diagnostics = 1000;  // further ones are counted, not listed
  bool decode_images = true;   // false: only existence and path are checked
  bool allow_masked = false;  // true: samples that the original masks whole (Encoded::warning) are warnings, not errors
};

struct ValidationReport {
  std::vector<Diagnostic> errors;    // in sample order; the field names index, id and field of the sample
  std::vector<Diagnostic> warnings;  // with allow_masked: samples that take part in training and teach nothing
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

// Checks each sample: its image exists inside the root and decodes (each distinct file once); tags and image agree; the
// template takes it; a supervised token is left after truncation. Fails (Status) only when the conversations cannot be
// read at all or the template is unknown. Blocks; uses `threads` threads.
Result<ValidationReport> validate_dataset(const ValidateOptions& options, const Tokenizer& tokenizer);

// Lines for a person, and one JSON document, of `tephra data check`.
std::string to_text(const ValidationReport& report);
std::string to_json(const ValidationReport& report);

}  // namespace tephra::data
