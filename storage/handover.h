// What a later stage or an evaluation must agree with before it uses a checkpoint: one comparison for all who ask.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace tephra::storage {

enum class HandoverUse {
  kStart,     // another stage or job begins with its tensors: the same model, whatever it is trained on
  kContinue,  // the same stage goes on, or it is evaluated: the same words and pictures too
};

struct HandoverDifference {
  std::string key;     // as in Manifest::handover
  std::string what;    // in words: "connector kind"
  std::string ours;    // of who wants to use it; "none" when it says nothing
  std::string theirs;  // the checkpoint's
};

// In a fixed order. A key that one of the two does not have is not compared (the checkpoint is of an earlier build),
// but for `lora`, whose absence means that there is none.
std::vector<HandoverDifference> handover_differences(const std::map<std::string, std::string>& ours,
                                                     const std::map<std::string, std::string>& theirs, HandoverUse use);

// Ok when there are none; else kMismatch, permanent, with each difference. `who`: "stage instruct".
Status check_handover(const std::string& who, const std::map<std::string, std::string>& ours,
                      const std::string& checkpoint, const std::map<std::string, std::string>& theirs, HandoverUse use);

}  // namespace tephra::storage
