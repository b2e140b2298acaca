#include "data/dataset_easy_vqa.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/hash.h"
#include "base/random.h"
#include "data/dataset_folder.h"
#include "data/image.h"

namespace tephra::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormatVersion = 3;  // of the words below; raise it when they change, so that old folders are redone
constexpr const char* kGetIt = "; scripts/fetch_real_small.sh fetches easy-vqa 1.0";

struct Split {
  std::string text;                                // of questions.json
  std::map<int64_t, std::vector<Exchange>> asked;  // by picture; in the file's order
};

std::string image_of(const std::string& split, int64_t picture) {
  return split + "/images/" + std::to_string(picture) + ".png";
}

// [["what is the blue shape?", "rectangle", 0], ...]
Result<Split> read_split(Env& env, const std::string& path, const std::string& name) {
  const std::string file = path + "/" + name + "/questions.json";
  if (!env.exists(file)) return Status(Code::kNotFound, "there is no " + file + kGetIt);
  Split split;
  TEPHRA_ASSIGN_OR_RETURN(split.text, read_file(env, file));
  const Json rows = Json::parse(split.text, nullptr, /*allow_exceptions=*/false);
  if (!rows.is_array() || rows.empty())
    return Status(Code::kInvalidArgument, file + ": is not a JSON array of questions" + kGetIt);
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json& row = rows[i];
    if (!row.is_array() || row.size() != 3 || !row[0].is_string() || !row[1].is_string() ||
        !row[2].is_number_unsigned())
      return Status(Code::kInvalidArgument, file + ": element " + std::to_string(i) +
                                                " is not [question, answer, number of the picture]" + kGetIt);
    split.asked[row[2].get<int64_t>()].push_back({row[0].get<std::string>(), row[1].get<std::string>()});
  }
  return split;
}

// A picture that does not decode would otherwise end the job when its first question comes up, hours later.
Status check_pictures(const std::string& path, const std::string& name, const Split& split) {
  for (const auto& [picture, exchanges] : split.asked) {
    const Status status = load_image(path + "/" + image_of(name, picture)).status();
    if (!status.ok()) return {status.code(), status.message() + kGetIt};
  }
  return ok_status();
}

std::string prompted(const std::string& question) { return question + "\n" + std::string(kShortAnswerPrompt); }

std::vector<Exchange> shuffled(const std::vector<Exchange>& exchanges, int64_t picture) {
  static const uint64_t kPurpose = key_of("data/easy_vqa order of questions");
  std::vector<Exchange> out;
  for (size_t i = 0; i < exchanges.size(); ++i)
    out.push_back(exchanges[permute(i, exchanges.size(), {kPurpose, static_cast<uint64_t>(picture)})]);
  return out;
}

// Sets `count`.
std::string conversations_json(const Split& split, size_t questions_per_sample, int64_t* count) {
  Json samples = Json::array();
  for (const auto& [picture, exchanges] : split.asked) {
    const std::vector<Exchange> order = shuffled(exchanges, picture);
    const size_t parts =
        questions_per_sample == 0 ? 1 : (order.size() + questions_per_sample - 1) / questions_per_sample;
    for (size_t part = 0; part < parts; ++part) {
      const auto from = static_cast<ptrdiff_t>(part * order.size() / parts),
                 to = static_cast<ptrdiff_t>((part + 1) * order.size() / parts);
      std::vector<Exchange> turns(order.begin() + from, order.begin() + to);
      turns.front().question = prompted(turns.front().question);
      samples.push_back(
          sample_json("easy-" + numbered(picture) + "-" + std::to_string(part), image_of("train", picture), turns));
    }
  }
  *count = static_cast<int64_t>(samples.size());
  return json_lines(samples);
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c >= 'a' && c <= 'z')
      words.back() += c;
    else if (!words.back().empty())
      words.emplace_back();
  }
  return words;
}

bool has_word(const std::string& text, const std::string& word) {
  const std::vector<std::string> words = words_of(text);
  return std::find(words.begin(), words.end(), word) != words.end();
}

// What there is to say of pictures of one shape: the answers to the questions that are not of yes or no.
struct Vocabulary {
  std::set<std::string> colors, shapes;
};

Vocabulary vocabulary_of(const Split& split) {
  Vocabulary out;
  for (const auto& [picture, exchanges] : split.asked)
    for (const Exchange& exchange : exchanges)
      if (exchange.answer != "yes" && exchange.answer != "no")
        (has_word(exchange.question, "color") ? out.colors : out.shapes).insert(exchange.answer);
  return out;
}

// "A teal rectangle.", as far as the questions about a picture and their answers tell; "" when they tell nothing.
std::string caption_of(const std::vector<Exchange>& exchanges, const Vocabulary& vocabulary) {
  std::string color, shape;
  for (const Exchange& exchange : exchanges) {
    const bool negated = has_word(exchange.question, "no") || has_word(exchange.question, "not");
    if (exchange.answer == "no" || (exchange.answer == "yes" && negated)) continue;
    for (const std::string& word : words_of(exchange.question + " " + exchange.answer)) {
      if (vocabulary.colors.contains(word)) color = word;
      if (vocabulary.shapes.contains(word)) shape = word;
    }
  }
  if (color.empty() && shape.empty()) return "";
  if (color.empty()) return "A " + shape + ".";
  return "A " + color + " " + (shape.empty() ? "shape" : shape) + ".";
}

// Sets `count`.
std::string captions_json(const Split& split, int64_t* count) {
  const Vocabulary vocabulary = vocabulary_of(split);
  Json samples = Json::array();
  for (const auto& [picture, exchanges] : split.asked) {
    const std::string caption = caption_of(exchanges, vocabulary);
    if (caption.empty()) continue;
    samples.push_back(sample_json("easy-" + numbered(picture), image_of("train", picture),
                                  {{kDescribePrompts[samples.size() % 2], caption}}));
  }
  *count = static_cast<int64_t>(samples.size());
  return json_lines(samples);
}

// Sets `count`.
std::string questions_json(const std::string& name, const Split& split, int64_t* count) {
  Json samples = Json::array();
  for (const auto& [picture, exchanges] : split.asked)
    for (size_t i = 0; i < exchanges.size(); ++i)
      samples.push_back(sample_json(name + "-" + numbered(picture) + "-" + std::to_string(i), image_of(name, picture),
                                    {{prompted(exchanges[i].question), exchanges[i].answer}}));
  *count = static_cast<int64_t>(samples.size());
  return json_lines(samples);
}

Status write_all(Env& env, const EasyVqaOptions& options) {
  std::map<std::string, Split> splits;
  Hasher source;
  for (const std::string name : {"train", "test"}) {
    TEPHRA_ASSIGN_OR_RETURN(splits[name], read_split(env, options.path, name));
    source.update(splits[name].text);
  }
  DatasetFolder folder(env, options.out_dir,
                       {{"format", kFormatVersion},
                        {"questions", source.digest().hex()},
                        {"questions_per_sample", options.questions_per_sample}});
  TEPHRA_ASSIGN_OR_RETURN(const bool complete, folder.begin());
  if (complete) return ok_status();
  std::map<std::string, int64_t> counts;
  for (const auto& [name, split] : splits) {
    TEPHRA_RETURN_IF_ERROR(check_pictures(options.path, name, split));
    counts[name + "_pictures"] = static_cast<int64_t>(split.asked.size());
    TEPHRA_RETURN_IF_ERROR(
        folder.write("questions-" + name + ".json", questions_json(name, split, &counts[name + "_questions"])));
  }
  TEPHRA_RETURN_IF_ERROR(
      folder.write("train.json", conversations_json(splits["train"], static_cast<size_t>(options.questions_per_sample),
                                                    &counts["train_samples"])));
  TEPHRA_RETURN_IF_ERROR(folder.write("captions.json", captions_json(splits["train"], &counts["captions"])));
  return folder.finish(counts);
}

}  // namespace

Status write_easy_vqa_dataset(Env& env, const EasyVqaOptions& options) {
  if (options.questions_per_sample < 0)
    return {Code::kInvalidArgument, "easy_vqa dataset: questions_per_sample " +
                                        std::to_string(options.questions_per_sample) + " is less than 0"};
  return write_all(env, options).with_context("easy_vqa dataset " + options.path);
}

}  // namespace tephra::data
