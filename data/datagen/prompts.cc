#include "data/datagen/prompts.h"

#include <nlohmann/json.hpp>

#include "base/env.h"
#include "base/hash.h"
#include "base/random.h"

namespace tephra::data {
namespace {

using Json = nlohmann::json;

// A text, or a list of lines.
Result<std::string> text_field(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it != json.end() && it->is_string()) return it->get<std::string>();
  std::string out;
  if (it == json.end() || !it->is_array())
    return Status(Code::kInvalidArgument, std::string(name) + ": must be a text or a list of lines");
  for (const Json& line : *it) {
    if (!line.is_string()) return Status(Code::kInvalidArgument, std::string(name) + ": must be a list of lines");
    out += (out.empty() ? "" : "\n") + line.get<std::string>();
  }
  return out;
}

Result<KindPrompts::Example> read_example(const Json& json) {
  KindPrompts::Example out;
  TEPHRA_ASSIGN_OR_RETURN(out.reply, text_field(json, "reply"));
  out.facts.captions = json.value("captions", std::vector<std::string>{});
  for (const Json& object : json.value("objects", Json::array()))
    out.facts.objects.push_back(
        {object.at("category").get<std::string>(), object.at("box").get<std::array<double, 4>>()});
  if (out.facts.captions.empty()) return Status(Code::kInvalidArgument, "examples: one has no captions");
  return out;
}

Result<KindPrompts> read_kind(const std::string& text, SampleKind kind) {
  KindPrompts out;
  try {
    const Json json = Json::parse(text);
    TEPHRA_ASSIGN_OR_RETURN(out.system, text_field(json, "system"));
    out.questions = json.value("questions", std::vector<std::string>{});
    if ((kind == SampleKind::kDetail) == out.questions.empty())
      return Status(Code::kInvalidArgument, kind == SampleKind::kDetail ? "questions: must hold at least one"
                                                                        : "questions: are of detail.json only");
    for (const Json& example : json.value("examples", Json::array())) {
      TEPHRA_ASSIGN_OR_RETURN(auto read, read_example(example));
      out.examples.push_back(std::move(read));
    }
    out.examples_per_request = json.value("examples_per_request", static_cast<int>(out.examples.size()));
    if (out.examples_per_request < 0 || out.examples_per_request > static_cast<int>(out.examples.size()))
      return Status(Code::kInvalidArgument,
                    "examples_per_request: there are " + std::to_string(out.examples.size()) + " examples");
    out.temperature = json.value("temperature", out.temperature);
    out.tokens_max = json.value("tokens_max", out.tokens_max);
    if (out.tokens_max < 1 || out.temperature < 0)
      return Status(Code::kInvalidArgument, "tokens_max and temperature must not be negative");
  } catch (const Json::exception& error) {
    return Status(Code::kInvalidArgument, error.what());
  }
  return out;
}

}  // namespace

const char* kind_name(SampleKind kind) {
  switch (kind) {
    case SampleKind::kConversation: return "conversation";
    case SampleKind::kDetail: return "detail";
    case SampleKind::kComplex: return "complex";
  }
  return "";
}

Result<Prompts> Prompts::load(const std::string& dir) {
  Prompts prompts;
  for (const SampleKind kind : kSampleKinds) {
    const std::string path = dir + "/" + kind_name(kind) + ".json";
    TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
    auto read = read_kind(text, kind);
    if (!read.ok()) return read.status().with_context(path);
    prompts.kinds_[static_cast<size_t>(kind)] = std::move(read).value();
  }
  return prompts;
}

TeacherRequest Prompts::request(SampleKind kind, const PictureFacts& picture, uint64_t seed) const {
  const KindPrompts& prompts = of(kind);
  TeacherRequest out;
  out.kind = kind;
  out.picture = &picture;
  out.temperature = prompts.temperature;
  out.tokens_max = prompts.tokens_max;
  out.seed = static_cast<int64_t>(random_bits({seed, key_of(picture.id), static_cast<uint64_t>(kind), 0}) >> 33);
  out.messages.push_back({"system", prompts.system});
  const uint64_t count = prompts.examples.size();
  for (int i = 0; i < prompts.examples_per_request; ++i) {
    const auto& example = prompts.examples[permute(static_cast<uint64_t>(i), count,
                                                   {seed, key_of(picture.id), static_cast<uint64_t>(kind), 1})];
    out.messages.push_back({"user", context_text(example.facts)});
    out.messages.push_back({"assistant", example.reply});
  }
  std::string asked = context_text(picture);
  if (!prompts.questions.empty()) {
    out.question = prompts.questions[random_below(prompts.questions.size(),
                                                  {seed, key_of(picture.id), static_cast<uint64_t>(kind), 2})];
    asked += "\n" + out.question;
  }
  out.messages.push_back({"user", std::move(asked)});
  return out;
}

std::string Prompts::hash() const {
  Hasher hasher;
  for (const KindPrompts& kind : kinds_) {
    hasher.update(kind.system + "\n" + std::to_string(kind.examples_per_request) + " " +
                  std::to_string(kind.temperature) + " " + std::to_string(kind.tokens_max) + "\n");
    for (const std::string& question : kind.questions) hasher.update(question + "\n");
    for (const auto& example : kind.examples) hasher.update(context_text(example.facts) + example.reply + "\n");
  }
  return hasher.digest().hex();
}

}  // namespace tephra::data
