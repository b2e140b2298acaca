#include "data/validate.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "data/image.h"
#include "data/parallel.h"

namespace tephra::data {
namespace {

// What is known of a picture: nothing wrong, or the message.
struct ImageFinding {
  Status status;
  uint64_t bytes = 0;
};

ImageFinding check_image(const ValidateOptions& options, const std::string& image) {
  ImageFinding finding;
  try {
    auto path = resolve_image_path(options.image_root, image);
    if (!path.ok()) return {path.status(), 0};
    std::error_code error;
    finding.bytes = std::filesystem::file_size(*path, error);
    if (error) return {Status(Code::kIo, "image " + *path + ": " + error.message()), 0};
    if (options.decode_images) finding.status = load_image(*path).status();
  } catch (const std::exception& error) {
    finding.status = Status(Code::kInternal, "image " + image + ": " + error.what());
  }
  return finding;
}

struct SampleFinding {
  std::vector<std::pair<std::string, std::string>> errors;  // message, hint
  std::string warning;
  uint64_t tokens = 0, supervised = 0, full_length = 0;
};

void check_text(const ValidateOptions& options, const Tokenizer& tokenizer, const Sample& sample,
                SampleFinding& finding) {
  const int tags = count_image_tags(sample);
  const int images = static_cast<int>(sample.images.size());
  if (images == 0 && tags > 0) {
    finding.errors.emplace_back("has " + std::to_string(tags) + " <image> in its text and no image",
                                "add the image key, or take the tag out");
    return;
  }
  if (tags != images) {
    finding.errors.emplace_back(
        "has " + (images == 1 ? "an image" : std::to_string(images) + " images") + " and " + std::to_string(tags) +
            " <image> in its text",
        images == 1 ? "put <image> once, in the question that asks about the picture"
                    : "put one <image> for each picture, in their order, in the questions that ask about them");
    return;
  }
  auto encoded = encode_sample(sample, tokenizer, options.template_name, options.max_length);
  if (!encoded.ok()) {
    finding.errors.emplace_back(encoded.status().message(), "");
    return;
  }
  if (encoded->images != images) {
    finding.errors.emplace_back("loses an <image>, which stands in a turn that the template leaves out",
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
    finding.errors.emplace_back("has no supervised token left within " + std::to_string(options.max_length) +
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

}  // namespace

Result<ValidationReport> validate_dataset(const ValidateOptions& options, const Tokenizer& tokenizer) {
  if (find_template(options.template_name) == nullptr) {
    return Status(Code::kInvalidArgument, "there is no template '" + options.template_name + "'");
  }
  if (options.max_length < 1 || options.image_tokens < 1) {
    return Status(Code::kInvalidArgument, "max_length and image_tokens must be at least 1");
  }
  TEPHRA_ASSIGN_OR_RETURN(const std::vector<Sample> samples, load_conversations(options.conversations_path));
  if (samples.empty()) return Status(Code::kInvalidArgument, options.conversations_path + " has no samples");

  std::map<std::string, ImageFinding> images;
  for (const Sample& s : samples) {
    for (const std::string& image : s.images) images[image];
  }
  std::vector<std::pair<const std::string, ImageFinding>*> image_list;
  for (auto& entry : images) image_list.push_back(&entry);
  parallel_for(image_list.size(), options.threads,
               [&](size_t i) { image_list[i]->second = check_image(options, image_list[i]->first); });
  std::vector<SampleFinding> findings(samples.size());
  parallel_for(samples.size(), options.threads,
               [&](size_t i) { check_text(options, tokenizer, samples[i], findings[i]); });

  ValidationReport report;
  report.samples = samples.size();
  report.distinct_images = images.size();
  for (const auto& [path, finding] : images) report.image_bytes += finding.bytes;
  auto add = [&](std::vector<Diagnostic>& list, uint64_t& total, Diagnostic d) {
    if (total++ < static_cast<uint64_t>(std::max(options.max_diagnostics, 0))) list.push_back(std::move(d));
  };
  for (size_t i = 0; i < samples.size(); ++i) {
    const Sample& s = samples[i];
    SampleFinding& f = findings[i];
    ++(s.images.empty() ? report.text_only : report.with_image);
    report.tokens += f.tokens;
    report.supervised_tokens += f.supervised;
    report.longest_tokens = std::max(report.longest_tokens, f.full_length);
    report.truncated += f.full_length > static_cast<uint64_t>(options.max_length);
    for (size_t k = 0; k < s.images.size(); ++k) {
      const Status& status = images[s.images[k]].status;
      const std::string part = s.images.size() == 1 ? "image" : "image[" + std::to_string(k) + "]";
      if (!status.ok())
        add(report.errors, report.errors_total, make_diagnostic(options, s, i, part, status.message(), ""));
    }
    for (auto& [message, hint] : f.errors) {
      add(report.errors, report.errors_total, make_diagnostic(options, s, i, "", std::move(message), std::move(hint)));
    }
    if (!f.warning.empty()) {
      Diagnostic d = make_diagnostic(
          options, s, i, "", "has no supervised token: " + f.warning,
          "its text holds an empty answer, a role's name, </s> or <unk>; change it or leave the sample out");
      if (options.allow_masked) {
        add(report.warnings, report.warnings_total, std::move(d));
      } else {
        add(report.errors, report.errors_total, std::move(d));
      }
    }
  }
  if (report.supervised_tokens == 0 && report.errors_total == 0) {
    Diagnostic d;
    d.file = options.conversations_path;
    d.message = "no sample has a supervised token, so there is nothing to train on";
    d.hint = "look at the warnings";
    add(report.errors, report.errors_total, std::move(d));
  }
  return report;
}

std::string to_text(const ValidationReport& r) {
  std::string out = to_string(r.errors) + (r.errors.empty() ? "" : "\n");
  if (r.errors_total > r.errors.size())
    out += "... and " + std::to_string(r.errors_total - r.errors.size()) + " more errors\n";
  for (const Diagnostic& d : r.warnings) out += "warning: " + d.to_string() + "\n";
  if (r.warnings_total > r.warnings.size())
    out += "... and " + std::to_string(r.warnings_total - r.warnings.size()) + " more warnings\n";
  auto line = [&](const char* name, uint64_t value) { out += std::string(name) + std::to_string(value) + "\n"; };
  line("samples            ", r.samples);
  line("  with an image    ", r.with_image);
  line("  text only        ", r.text_only);
  line("  truncated        ", r.truncated);
  line("distinct images    ", r.distinct_images);
  line("image bytes        ", r.image_bytes);
  line("tokens             ", r.tokens);
  line("supervised tokens  ", r.supervised_tokens);
  line("longest sample     ", r.longest_tokens);
  line("errors             ", r.errors_total);
  line("warnings           ", r.warnings_total);
  return out;
}

std::string to_json(const ValidationReport& r) {
  using Json = nlohmann::json;
  auto list = [](const std::vector<Diagnostic>& diagnostics) {
    Json out = Json::array();
    for (const Diagnostic& d : diagnostics) {
      out.push_back({{"file", d.file}, {"line", d.line}, {"field", d.field}, {"message", d.message}, {"hint", d.hint}});
    }
    return out;
  };
  Json json{{"ok", r.ok()},
            {"samples", r.samples},
            {"with_image", r.with_image},
            {"text_only", r.text_only},
            {"truncated", r.truncated},
            {"distinct_images", r.distinct_images},
            {"image_bytes", r.image_bytes},
            {"tokens", r.tokens},
            {"supervised_tokens", r.supervised_tokens},
            {"longest_tokens", r.longest_tokens},
            {"errors_total", r.errors_total},
            {"warnings_total", r.warnings_total},
            {"errors", list(r.errors)},
            {"warnings", list(r.warnings)}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tephra::data
