#include "data/scienceqa.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "base/hash.h"
#include "data/image.h"

namespace tephra::data {
namespace {

constexpr size_t kSplitsNamed = 20;  // in an error; ScienceQA has seven

using Json = nlohmann::ordered_json;  // problems keep the file's order

// Of the test split's ids in pid_splits.json, sorted, each with a line's end.
constexpr std::string_view kPublishedTestHash = "d955630950842a07dfd84415aae1995f";

Status bad(const std::string& where, const std::string& what) {
  return {Code::kInvalidArgument, where + ": " + what + "; see https://scienceqa.github.io for the layout"};
}

// A missing or null field is empty: cut-down copies leave lecture and solution out, and problems without a picture have null.
Result<std::string> text_field(const Json& problem, const char* key, const std::string& where) {
  const auto found = problem.find(key);
  if (found == problem.end() || found->is_null()) return std::string();
  if (!found->is_string()) return bad(where, std::string("field \"") + key + "\" is not a string");
  return found->get<std::string>();
}

Result<ScienceQaProblem> parse_problem(const std::string& pid, const Json& json, const std::string& file) {
  const std::string where = file + ": problem " + pid;
  if (!json.is_object()) return bad(where, "is not an object");
  ScienceQaProblem out;
  out.pid = pid;
  struct Field {
    const char* key;
    std::string* to;
  };
  const Field fields[] = {{"question", &out.question}, {"hint", &out.hint},         {"image", &out.image},
                          {"task", &out.task},         {"grade", &out.grade},       {"subject", &out.subject},
                          {"topic", &out.topic},       {"category", &out.category}, {"skill", &out.skill},
                          {"lecture", &out.lecture},   {"solution", &out.solution}, {"split", &out.split}};
  for (const Field& field : fields) {
    TEPHRA_ASSIGN_OR_RETURN(*field.to, text_field(json, field.key, where));
  }
  if (out.question.empty()) return bad(where, "has no question");
  const auto choices = json.find("choices");
  if (choices == json.end() || !choices->is_array() || choices->empty()) return bad(where, "has no choices");
  for (const Json& choice : *choices) {
    if (!choice.is_string()) return bad(where, "has a choice that is not a string");
    out.choices.push_back(choice.get<std::string>());
  }
  const auto answer = json.find("answer");
  if (answer == json.end() || !answer->is_number_integer()) return bad(where, "field \"answer\" is not an integer");
  const auto index = answer->get<int64_t>();
  if (index < 0 || index >= static_cast<int64_t>(out.choices.size())) {
    return bad(where, "answer " + std::to_string(index) + " is not an index of its " +
                          std::to_string(out.choices.size()) + " choices");
  }
  out.answer = static_cast<int>(index);
  return out;
}

Result<Json> parse_json(std::string_view text, const std::string& where) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return bad(where, "is not JSON");
  if (!json.is_object()) return bad(where, "is not a JSON object");
  return json;
}

}  // namespace

Result<std::vector<ScienceQaProblem>> parse_scienceqa(std::string_view problems_json, const std::string& where) {
  TEPHRA_ASSIGN_OR_RETURN(const Json json, parse_json(problems_json, where));
  std::vector<ScienceQaProblem> out;
  out.reserve(json.size());
  for (const auto& [pid, problem] : json.items()) {
    TEPHRA_ASSIGN_OR_RETURN(ScienceQaProblem parsed, parse_problem(pid, problem, where));
    out.push_back(std::move(parsed));
  }
  return out;
}

Result<std::vector<ScienceQaProblem>> load_scienceqa(const std::string& problems_path, const std::string& splits_path,
                                                     const std::string& split, const std::string& image_root) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string problems_text, read_file(Env::posix(), problems_path));
  TEPHRA_ASSIGN_OR_RETURN(const std::string splits_text, read_file(Env::posix(), splits_path));
  TEPHRA_ASSIGN_OR_RETURN(std::vector<ScienceQaProblem> problems, parse_scienceqa(problems_text, problems_path));
  TEPHRA_ASSIGN_OR_RETURN(const Json splits, parse_json(splits_text, splits_path));

  const auto pids = splits.find(split);
  if (pids == splits.end()) {
    std::string known;
    if (splits.size() <= kSplitsNamed)
      for (const auto& [name, unused] : splits.items()) known += (known.empty() ? "" : ", ") + name;
    else  // of a problems.json, say
      known = std::to_string(splits.size()) + " other keys; is it ScienceQA's pid_splits.json?";
    return Status(Code::kNotFound,
                  splits_path + ": has no split \"" + split + "\"; it has " + (known.empty() ? "none" : known));
  }
  if (!pids->is_array()) return bad(splits_path, "split \"" + split + "\" is not an array of problem ids");
  std::map<std::string, size_t> place;
  for (size_t i = 0; i < problems.size(); ++i) place[problems[i].pid] = i;

  std::vector<ScienceQaProblem> out;
  for (const Json& pid : *pids) {
    if (!pid.is_string()) return bad(splits_path, "split \"" + split + "\" holds a problem id that is not a string");
    const auto found = place.find(pid.get<std::string>());
    if (found == place.end()) continue;  // a cut-down problems.json beside the official splits
    ScienceQaProblem problem = problems[found->second];
    if (!problem.image.empty() && !image_root.empty()) {
      // "minival" and its like are cut from a published split, whose folder the problem itself names.
      const std::string& folder = problem.split.empty() ? split : problem.split;
      const std::filesystem::path relative = std::filesystem::path(folder) / problem.pid / problem.image;
      // A picture is shown in reports: what lies outside the image folder must not get there. One that is absent is
      // counted, not refused.
      const Status inside = resolve_image_path(image_root, relative.string()).status();
      if (inside.code() == Code::kInvalidArgument)
        return bad(problems_path, "problem \"" + problem.pid + "\": " + inside.message());
      problem.image_path = (std::filesystem::path(image_root) / relative).string();
    }
    out.push_back(std::move(problem));
  }
  if (out.empty()) {
    return Status(Code::kNotFound, problems_path + ": holds none of the " + std::to_string(pids->size()) +
                                       " problems of split \"" + split + "\" in " + splits_path);
  }
  return out;
}

bool is_published_scienceqa_test(const std::string& splits_path, const std::string& split) {
  const auto text = read_file(Env::posix(), splits_path);
  if (!text.ok()) return false;
  const auto splits = parse_json(*text, splits_path);
  if (!splits.ok() || !splits->is_object() || !splits->contains(split) || !(*splits)[split].is_array()) return false;
  std::vector<std::string> pids;
  for (const Json& pid : (*splits)[split])
    if (pid.is_string()) pids.push_back(pid.get<std::string>());
  std::sort(pids.begin(), pids.end());
  std::string joined;
  for (const std::string& pid : pids) joined += pid + "\n";
  return hash_text(joined).hex() == kPublishedTestHash;
}

bool has_picture_file(const ScienceQaProblem& problem) {
  return !problem.image_path.empty() && Env::posix().exists(problem.image_path);
}

std::string scienceqa_options(const std::vector<std::string>& choices) {
  std::string out;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) out += ' ';
    out += '(';
    out += static_cast<char>('A' + i);
    out += ") ";
    out += choices[i];
  }
  return out;
}

namespace {

Status check(const ScienceQaProblem& problem, std::string_view format) {
  if (format != "CQM-A" && format != "QCM-LEA") {
    return {Code::kInvalidArgument,
            "\"" + std::string(format) + "\" is no ScienceQA prompt format; use CQM-A or QCM-LEA"};
  }
  if (problem.choices.empty() || problem.choices.size() > 26) {
    return {Code::kInvalidArgument, "problem " + problem.pid + " has " + std::to_string(problem.choices.size()) +
                                        " choices; letters reach from A to Z"};
  }
  if (problem.answer < 0 || problem.answer >= static_cast<int>(problem.choices.size())) {
    return {Code::kInvalidArgument, "problem " + problem.pid + ": its answer is not one of its choices"};
  }
  return ok_status();
}

}  // namespace

Result<std::string> scienceqa_prompt(const ScienceQaProblem& problem, std::string_view format) {
  TEPHRA_RETURN_IF_ERROR(check(problem, format));
  const std::string options = "Options: " + scienceqa_options(problem.choices);
  if (format == "CQM-A") {
    return problem.question + (problem.hint.empty() ? "" : "\nContext: " + problem.hint) + "\n" + options +
           "\nAnswer with the option's letter from the given choices directly.";
  }
  return "Question: " + problem.question + "\nContext: " + (problem.hint.empty() ? "N/A" : problem.hint) + "\n" +
         options;
}

Result<std::string> scienceqa_reply(const ScienceQaProblem& problem, std::string_view format) {
  TEPHRA_RETURN_IF_ERROR(check(problem, format));
  const std::string letter(1, static_cast<char>('A' + problem.answer));
  if (format == "CQM-A") return letter;
  std::string out;
  for (const std::string* part : {&problem.lecture, &problem.solution}) {
    if (!part->empty()) out += *part + " ";
  }
  return out + "The answer is " + letter + ".";
}

Result<Exchange> scienceqa_exchange(const ScienceQaProblem& problem, std::string_view format) {
  TEPHRA_ASSIGN_OR_RETURN(std::string prompt, scienceqa_prompt(problem, format));
  TEPHRA_ASSIGN_OR_RETURN(std::string reply, scienceqa_reply(problem, format));
  return Exchange{std::move(prompt), std::move(reply)};
}

}  // namespace tephra::data
