// Prompts of the three kinds of instruction data, from files (recipes/datagen/README.md), and the requests made of them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/datagen/scene.h"

namespace tephra::data {

enum class SampleKind { kConversation, kDetail, kComplex };
inline constexpr std::array<SampleKind, 3> kSampleKinds{SampleKind::kConversation, SampleKind::kDetail,
                                                        SampleKind::kComplex};
const char* kind_name(SampleKind kind);  // "conversation", "detail", "complex"

struct PromptMessage {
  std::string role, content;
};

// All that a teacher is asked with for one sample. A pure function of prompts, seed, kind and picture.
struct TeacherRequest {
  SampleKind kind{};
  const PictureFacts* picture = nullptr;
  std::string question;  // kDetail: what the sample will ask
  std::vector<PromptMessage> messages;
  double temperature = 0;
  int tokens_max = 0;
  int64_t seed = 0;
};

struct KindPrompts {
  struct Example {
    PictureFacts facts;
    std::string reply;
  };
  std::string system;
  std::vector<std::string> questions;
  std::vector<Example> examples;
  int examples_per_request = 0;
  double temperature = 0.7;
  int tokens_max = 800;
};

class Prompts {
 public:
  // conversation.json, detail.json and complex.json of a folder. kNotFound, kInvalidArgument: with file and field.
  static Result<Prompts> load(const std::string& dir);
  const KindPrompts& of(SampleKind kind) const { return kinds_[static_cast<size_t>(kind)]; }
  // `picture` outlives the request.
  TeacherRequest request(SampleKind kind, const PictureFacts& picture, uint64_t seed) const;
  std::string hash() const;  // of all that is in the files

 private:
  std::array<KindPrompts, 3> kinds_;
};

}  // namespace tephra::data
