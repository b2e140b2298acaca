#include "storage/handover.h"

namespace tephra::storage {
namespace {

struct Key {
  const char* name;
  const char* what;
  bool only_to_continue;
};

// Others (model_files, base, data) say where something lies or what it was, and may differ.
constexpr Key kKeys[] = {
    {"vision_config", "vision tower's configuration", false},
    {"vision", "vision tower's weights", false},
    {"vision_layer", "vision layer", false},
    {"connector", "connector kind", false},
    {"language", "language model's weights", false},
    {"tokenizer", "tokenizer", false},
    {"lora", "lora", false},
    {"template", "template", true},
    {"image_aspect", "image aspect", true},
};

const std::string* find(const std::map<std::string, std::string>& map, const char* key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

}  // namespace

std::vector<HandoverDifference> handover_differences(const std::map<std::string, std::string>& ours,
                                                     const std::map<std::string, std::string>& theirs,
                                                     HandoverUse use) {
  static const std::string kNone = "none";
  std::vector<HandoverDifference> out;
  for (const Key& key : kKeys) {
    if (key.only_to_continue && use == HandoverUse::kStart) continue;
    const std::string *our = find(ours, key.name), *their = find(theirs, key.name);
    if (std::string_view(key.name) == "lora") {
      // A stage may begin adapters on a checkpoint that has none; one that has them needs the same.
      if (their == nullptr && use == HandoverUse::kStart) continue;
      our = our == nullptr ? &kNone : our;
      their = their == nullptr ? &kNone : their;
    }
    if (our == nullptr || their == nullptr || *our == *their) continue;
    out.push_back({key.name, key.what, *our, *their});
  }
  return out;
}

Status check_handover(const std::string& who, const std::map<std::string, std::string>& ours,
                      const std::string& checkpoint, const std::map<std::string, std::string>& theirs,
                      HandoverUse use) {
  const auto differences = handover_differences(ours, theirs, use);
  if (differences.empty()) return ok_status();
  std::string text = who + " does not fit checkpoint " + checkpoint;
  for (const HandoverDifference& d : differences)
    text += std::string(&d == &differences.front() ? ": " : "; ") + d.what + " is " + d.ours +
            ", the checkpoint's is " + d.theirs;
  return {Code::kMismatch, RetryClass::kPermanent, text};
}

}  // namespace tephra::storage
