#include "data/dataset_scienceqa.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "data/dataset_folder.h"
#include "data/scienceqa.h"

namespace tephra::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPromptFormat = "CQM-A";

// Of train, else of minitrain; empty when the files hold neither.
Result<std::vector<ScienceQaProblem>> training_problems(const ScienceQaDatasetOptions& options) {
  for (const char* split : {"train", "minitrain"}) {
    auto problems = load_scienceqa(options.problems, options.splits, split, options.images);
    if (problems.ok() || problems.status().code() != Code::kNotFound) return problems;
  }
  return std::vector<ScienceQaProblem>();
}

struct Conversations {
  Json samples = Json::array();
  std::map<std::string, int64_t> counts;
};

Result<Conversations> conversations_of(const ScienceQaDatasetOptions& options) {
  TEPHRA_ASSIGN_OR_RETURN(const auto problems, training_problems(options));
  Conversations out;
  out.counts = {{"samples", 0}, {"pictures", 0}, {"pictures_absent", 0}, {"too_long", 0}};
  for (const ScienceQaProblem& problem : problems) {
    TEPHRA_ASSIGN_OR_RETURN(Exchange exchange, scienceqa_exchange(problem, kPromptFormat));
    if (options.longest_prompt > 0 && exchange.question.size() > static_cast<size_t>(options.longest_prompt)) {
      ++out.counts["too_long"];
      continue;
    }
    const bool shown = has_picture_file(problem);
    if (!problem.image.empty()) ++out.counts[shown ? "pictures" : "pictures_absent"];
    const std::string image =
        shown ? std::filesystem::path(problem.image_path).lexically_relative(options.images).generic_string() : "";
    out.samples.push_back(sample_json("scienceqa-" + problem.pid, image, {std::move(exchange)}));
  }
  out.counts["samples"] = static_cast<int64_t>(out.samples.size());
  if (out.samples.empty() && !problems.empty())
    return Status(Code::kInvalidArgument, "longest_prompt " + std::to_string(options.longest_prompt) +
                                              " leaves out all " + std::to_string(problems.size()) +
                                              " training problems; use a larger one");
  return out;
}

Status write_all(Env& env, const ScienceQaDatasetOptions& options) {
  if (options.longest_prompt < 0)
    return {Code::kInvalidArgument, "longest_prompt " + std::to_string(options.longest_prompt) + " is less than 0"};
  for (const std::string* path : {&options.problems, &options.splits})
    if (!env.exists(*path))
      return {Code::kNotFound, "there is no " + *path + "; see https://scienceqa.github.io for the files"};
  TEPHRA_ASSIGN_OR_RETURN(const Conversations conversations, conversations_of(options));
  const std::string text = conversations.samples.empty() ? "" : json_lines(conversations.samples);
  // What decides the bytes is many files, pictures that came or went among them. The bytes are made in a moment, so
  // they themselves say whether the folder is up to date.
  DatasetFolder folder(env, options.out_dir, {{"train", hash_text(text).hex()}});
  TEPHRA_ASSIGN_OR_RETURN(const bool complete, folder.begin());
  if (complete) return ok_status();
  if (!text.empty()) TEPHRA_RETURN_IF_ERROR(folder.write("train.json", text));
  return folder.finish(conversations.counts);
}

}  // namespace

Status write_scienceqa_dataset(Env& env, const ScienceQaDatasetOptions& options) {
  return write_all(env, options).with_context("scienceqa dataset " + options.problems);
}

}  // namespace tephra::data
