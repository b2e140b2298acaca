// What a check of a dataset leaves: the report for people and programs, and the clean copy.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "data/conversation.h"
#include "data/validate.h"

namespace tephra::data {
namespace {

constexpr size_t kIdsShown = 5;

}  // namespace

Status write_clean_copy(const ValidateOptions& options, const ValidationReport& report, const std::string& out_path) {
  std::error_code none;
  if (std::filesystem::equivalent(options.conversations_path, out_path, none))
    return {Code::kInvalidArgument, out_path + " is the file that was checked; a clean copy goes to another one"};
  if (std::filesystem::is_directory(options.conversations_path, none))
    return {Code::kUnsupported,
            options.conversations_path +
                ": clean copies of shards are not written; write the shards anew without the samples that are listed"};
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), options.conversations_path));
  std::string out = "[";
  auto offender = report.offenders.begin();
  uint64_t kept = 0, seen = 0;
  TEPHRA_RETURN_IF_ERROR(scan_conversations(text, options.conversations_path, [&](SampleText&& found) {
    ++seen;
    if (offender != report.offenders.end() && offender->index == found.index) {
      ++offender;
      return ok_status();
    }
    out += kept++ == 0 ? "\n" : ",\n";
    out += found.json;
    return ok_status();
  }));
  if (seen != report.samples || offender != report.offenders.end())
    return {Code::kInvalidArgument, options.conversations_path + " changed while it was checked"};
  if (kept == 0) return {Code::kInvalidArgument, options.conversations_path + ": no sample is left without an error"};
  return write_file_atomic(Env::posix(), out_path, out + "\n]\n");
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
  line("offending samples  ", r.offenders.size());
  for (const auto& [problem, count] : r.problems) {
    std::string ids;
    size_t shown = 0;
    for (const Offender& o : r.offenders) {
      if (std::find(o.problems.begin(), o.problems.end(), problem) == o.problems.end()) continue;
      if (shown++ == kIdsShown) break;
      ids += (ids.empty() ? "" : ", ") + o.id;
    }
    out += "  " + problem + std::string(problem.size() < 20 ? 20 - problem.size() : 1, ' ') + std::to_string(count) +
           "   " + ids + (count > kIdsShown ? ", ..." : "") + "\n";
  }
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
            {"warnings", list(r.warnings)},
            {"problems", r.problems}};
  Json offenders = Json::array();
  for (const Offender& o : r.offenders)
    offenders.push_back({{"index", o.index}, {"id", o.id}, {"problems", o.problems}});
  json["offenders"] = std::move(offenders);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace tephra::data
