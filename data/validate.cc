#include "data/validate.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "base/env.h"
#include "base/threads.h"
#include "data/conversation_source.h"
#include "data/image.h"

namespace tephra::data {
namespace {

// What is known of a picture: nothing wrong, or the message.
struct ImageFinding {
  Status status;
  uint64_t bytes = 0;
};

ImageFinding check_image_file(const ValidateOptions& options, const std::string& image) {
  ImageFinding finding;
  auto path = resolve_image_path(options.image_root, image);
  if (!path.ok()) return {path.status(), 0};
  if (options.decode_images) {
    const Result<std::string> bytes = read_file(Env::posix(), *path);
    if (!bytes.ok()) return {bytes.status(), 0};
    return {check_image(*bytes, *path, options.image_cache), bytes->size()};
  }
  std::error_code error;
  finding.bytes = std::filesystem::file_size(*path, error);
  if (error) return {Status(Code::kIo, "image " + *path + ": " + error.message()), 0};
  return finding;
}

// No exception may leave a thread.
template <typename Check>
ImageFinding guarded(const std::string& image, const Check& check) {
  try {
    return check();
  } catch (const std::exception& error) {
    return {Status(Code::kInternal, "image " + image + ": " + error.what()), 0};
  }
}

constexpr const char* kMalformed = "malformed";
constexpr const char* kImage = "image";
constexpr const char* kImageTags = "image_tags";
constexpr const char* kEncoding = "encoding";
constexpr const char* kNoSupervised = "no_supervised_token";

struct SampleError {
  SampleError(const char* p, std::string m, std::string h) : problem(p), message(std::move(m)), hint(std::move(h)) {}
  const char* problem;
  std::string message, hint;
};

struct SampleFinding {
  std::vector<SampleError> errors;
  std::string warning;
  uint64_t tokens = 0, supervised = 0, full_length = 0;
};

void check_text(const ValidateOptions& options, const Tokenizer& tokenizer, const Sample& sample,
                SampleFinding& finding) {
  const int tags = count_image_tags(sample);
  const int images = static_cast<int>(sample.images.size());
  if (images == 0 && tags > 0) {
    finding.errors.emplace_back(kImageTags, "has " + std::to_string(tags) + " <image> in its text and no image",
                                "add the image key, or take the tag out");
    return;
  }
  if (tags != images) {
    finding.errors.emplace_back(
        kImageTags,
        "has " + (images == 1 ? "an image" : std::to_string(images) + " images") + " and " + std::to_string(tags) +
            " <image> in its text",
        images == 1 ? "put <image> once, in the question that asks about the picture"
                    : "put one <image> for each picture, in their order, in the questions that ask about them");
    return;
  }
  auto encoded = encode_sample(sample, tokenizer, options.template_name, options.max_length);
  if (!encoded.ok()) {
    finding.errors.emplace_back(kEncoding, encoded.status().message(), "");
    return;
  }
  if (encoded->images != images) {
    finding.errors.emplace_back(kImageTags, "loses an <image>, which stands in a turn that the template leaves out",
                                "move it to the first question");
    return;
  }
  auto expanded = [&](const Encoded& e) {
    return e.ids.size() + static_cast<uint64_t>(e.images) * (options.image_tokens - 1);
  };
  finding.full_length = expanded(*encoded);
  // A text-only sample comes back already cut: ask once more without the limit for its true length.
  if (images == 0 && encoded->ids.size() == static_cast<size_t>(options.max_length)) {
    auto whole = encode_sample(sample, tokenizer, options.template_name, 1 << 30);
    if (whole.ok()) finding.full_length = whole->ids.size();
  }
  finish_encoding(*encoded, tokenizer.unk_id(), options.max_length);
  finding.tokens = std::min<uint64_t>(expanded(*encoded), options.max_length);
  finding.supervised = supervised_after_expansion(*encoded, options.image_tokens, options.max_length);
  if (!encoded->warning.empty()) {
    finding.warning = encoded->warning;
  } else if (finding.supervised == 0) {
    finding.errors.emplace_back(kNoSupervised,
                                "has no supervised token left within " + std::to_string(options.max_length) +
                                    " of its " + std::to_string(finding.full_length) + " tokens",
                                "raise max_length, shorten the question, or leave the sample out");
  }
}

Diagnostic make_diagnostic(const ValidateOptions& options, const Sample& sample, size_t index, const std::string& part,
                           std::string message, std::string hint) {
  Diagnostic d;
  d.file = options.conversations_path;
  d.line = sample.line;
  d.column = 1;
  d.field = "sample " + std::to_string(index) + " (id \"" + sample.id + "\")" + (part.empty() ? "" : "." + part);
  d.message = std::move(message);
  d.hint = std::move(hint);
  return d;
}

// The samples of a file in order, those that are not of the layout included. An array is read whole: only so is a broken sample in
// it one of many. The rest is read where it is needed.
class CheckedSamples {
 public:
  static Result<CheckedSamples> open(const std::string& path) {
    CheckedSamples out;
    if (path.ends_with(".jsonl") || path.ends_with(".ndjson") || std::filesystem::is_directory(path)) {
      TEPHRA_ASSIGN_OR_RETURN(out.source_, open_conversations(path));
      return out;
    }
    TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
    TEPHRA_RETURN_IF_ERROR(scan_conversations(text, path, [&](SampleText&& found) {
      out.read_.push_back(std::move(found.sample));
      return ok_status();
    }));
    return out;
  }
  uint64_t size() const { return source_ ? source_->size() : read_.size(); }
  Result<Sample> at(uint64_t index) const { return source_ ? source_->sample(index) : read_[index]; }
  const ConversationSource* pictures() const { return source_ && source_->holds_pictures() ? source_.get() : nullptr; }

 private:
  std::unique_ptr<ConversationSource> source_;
  std::vector<Result<Sample>> read_;
};

// Works through a dataset a block at a time, so that it need not fit into memory. What stays is a finding for each distinct picture
// file and the report.
class Validation {
 public:
  Validation(const ValidateOptions& options, const Tokenizer& tokenizer, const CheckedSamples& samples)
      : options_(options), tokenizer_(tokenizer), samples_(samples) {}

  ValidationReport run() {
    for (uint64_t begin = 0; begin < samples_.size(); begin += kBlock)
      check_block(begin, std::min<uint64_t>(kBlock, samples_.size() - begin));
    report_.samples = samples_.size();
    report_.distinct_images += images_.size();
    for (const auto& [path, finding] : images_) report_.image_bytes += finding.bytes;
    if (report_.supervised_tokens == 0 && report_.errors_total == 0) {
      Diagnostic d;
      d.file = options_.conversations_path;
      d.message = "no sample has a supervised token, so there is nothing to train on";
      d.hint = "look at the warnings";
      add(report_.errors, report_.errors_total, std::move(d));
    }
    return std::move(report_);
  }

 private:
  static constexpr uint64_t kBlock = 4096;

  struct Checked {
    Result<Sample> sample{Sample()};
    SampleFinding text;
    std::vector<ImageFinding> own;  // of pictures inside the data
  };

  void check_block(uint64_t begin, uint64_t count) {
    std::vector<Checked> block(count);
    parallel_each(count, options_.threads, [&](size_t i) {
      block[i].sample = samples_.at(begin + i);
      if (!block[i].sample.ok()) return;
      check_text(options_, tokenizer_, *block[i].sample, block[i].text);
      if (samples_.pictures() != nullptr) check_own_pictures(begin + i, block[i]);
    });
    if (samples_.pictures() == nullptr) check_new_images(block);
    for (uint64_t i = 0; i < count; ++i) note(begin + i, block[i]);
  }

  void check_own_pictures(uint64_t index, Checked& checked) const {
    const std::vector<std::string>& names = checked.sample->images;
    for (size_t k = 0; k < names.size(); ++k)
      checked.own.push_back(guarded(names[k], [&]() -> ImageFinding {
        const Result<std::string> bytes = samples_.pictures()->picture(index, k);
        if (!bytes.ok() || !options_.decode_images) return {bytes.status(), bytes.ok() ? bytes->size() : 0};
        return {check_image(*bytes, names[k], options_.image_cache), bytes->size()};
      }));
  }

  void check_new_images(const std::vector<Checked>& block) {
    std::vector<std::pair<const std::string, ImageFinding>*> fresh;
    for (const Checked& checked : block) {
      if (!checked.sample.ok()) continue;
      for (const std::string& image : checked.sample->images)
        if (const auto [at, is_new] = images_.try_emplace(image); is_new) fresh.push_back(&*at);
    }
    parallel_each(fresh.size(), options_.threads, [&](size_t i) {
      const std::string& image = fresh[i]->first;
      fresh[i]->second = guarded(image, [&] { return check_image_file(options_, image); });
    });
  }

  void add(std::vector<Diagnostic>& list, uint64_t& total, Diagnostic d) const {
    if (total++ < static_cast<uint64_t>(std::max(options_.max_diagnostics, 0))) list.push_back(std::move(d));
  }
  void add_error(const char* problem, Diagnostic d) {
    if (std::find(problems_.begin(), problems_.end(), problem) == problems_.end()) problems_.emplace_back(problem);
    add(report_.errors, report_.errors_total, std::move(d));
  }

  void note(uint64_t index, const Checked& checked) {
    problems_.clear();
    std::string id = "#" + std::to_string(index);
    if (checked.sample.ok()) {
      id = checked.sample->id;
      note_sample(index, *checked.sample, checked);
    } else {
      note_malformed(checked.sample.status().message());
    }
    for (const std::string& problem : problems_) ++report_.problems[problem];
    if (!problems_.empty()) report_.offenders.push_back({index, id, problems_});
  }

  // The message has the place and names the sample: "FILE:LINE: sample 2 (id "c"): ...".
  void note_malformed(std::string message) {
    Diagnostic d;
    d.file = options_.conversations_path;
    if (message.starts_with(d.file + ":")) {
      char* end = nullptr;
      d.line = static_cast<int>(std::strtol(message.c_str() + d.file.size() + 1, &end, 10));
      if (d.line > 0 && *end == ':') {
        message = message.substr(static_cast<size_t>(end - message.c_str()) + 2);
        d.column = 1;
      }
    }
    d.message = std::move(message);
    add_error(kMalformed, std::move(d));
  }

  void note_sample(uint64_t index, const Sample& s, const Checked& checked) {
    const SampleFinding& f = checked.text;
    ++(s.images.empty() ? report_.text_only : report_.with_image);
    report_.tokens += f.tokens;
    report_.supervised_tokens += f.supervised;
    report_.longest_tokens = std::max(report_.longest_tokens, f.full_length);
    report_.truncated += f.full_length > static_cast<uint64_t>(options_.max_length);
    for (const ImageFinding& own : checked.own) report_.image_bytes += own.bytes;
    report_.distinct_images += checked.own.size();
    for (size_t k = 0; k < s.images.size(); ++k) {
      const Status& status = samples_.pictures() != nullptr ? checked.own[k].status : images_.at(s.images[k]).status;
      const std::string part = s.images.size() == 1 ? "image" : "image[" + std::to_string(k) + "]";
      if (!status.ok()) add_error(kImage, make_diagnostic(options_, s, index, part, status.message(), ""));
    }
    for (const SampleError& e : f.errors)
      add_error(e.problem, make_diagnostic(options_, s, index, "", e.message, e.hint));
    if (f.warning.empty()) return;
    Diagnostic d = make_diagnostic(
        options_, s, index, "", "has no supervised token: " + f.warning,
        "its text holds an empty answer, a role's name, </s> or <unk>; change it or leave the sample out");
    if (options_.allow_masked)
      add(report_.warnings, report_.warnings_total, std::move(d));
    else
      add_error(kNoSupervised, std::move(d));
  }

  const ValidateOptions& options_;
  const Tokenizer& tokenizer_;
  const CheckedSamples& samples_;
  std::map<std::string, ImageFinding> images_;  // files, by path
  std::vector<std::string> problems_;           // of the sample at hand
  ValidationReport report_;
};

}  // namespace

Result<ValidationReport> validate_dataset(const ValidateOptions& options, const Tokenizer& tokenizer) {
  TEPHRA_RETURN_IF_ERROR(require_template(options.template_name).status());
  if (options.max_length < 1 || options.image_tokens < 1) {
    return Status(Code::kInvalidArgument, "max_length and image_tokens must be at least 1");
  }
  TEPHRA_ASSIGN_OR_RETURN(const CheckedSamples samples, CheckedSamples::open(options.conversations_path));
  if (samples.size() == 0) return Status(Code::kInvalidArgument, options.conversations_path + " has no samples");
  return Validation(options, tokenizer, samples).run();
}

}  // namespace tephra::data
