// Which checkpoints a policy keeps, and why. Values in, values out: no clock, no disk; who applies it removes what it
// lets go and then collects garbage.
//
// `last`, `best` and `every_steps` say what is kept, each by itself: a checkpoint stays if one of them wants it. With
// none of the three given, all stay. `max_age_ms` and `max_bytes` are limits: they take away again what those three
// keep, the oldest first. Whatever the policy says, the newest checkpoint of a stage stays, a protected one stays, and
// so does an imported model.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "storage/index/store.h"

namespace tephra::storage {

struct RetentionPolicy {
  int64_t last = 0;  // newest of each stage; 0: no such rule, as below
  int64_t best = 0;  // of each stage, by `metric`; checkpoints that lack it are none of the best
  std::string metric = "loss";
  bool largest_is_best = false;
  int64_t every_steps = 0;  // whose step is a multiple
  int64_t max_age_ms = 0;
  uint64_t max_bytes = 0;  // of all that are given together, as written by them (Manifest::new_bytes)
  bool empty() const { return last == 0 && best == 0 && every_steps == 0 && max_age_ms == 0 && max_bytes == 0; }
};

struct RetentionVerdict {
  std::string name;
  bool keep = true;
  std::string reason;  // "one of the newest 3", "tagged good", "older than 7 d"
  uint64_t bytes = 0;  // that it wrote
};

// One verdict for each of `checkpoints`, in their order. `protected_names`: name -> what needs it, for the reason.
std::vector<RetentionVerdict> retain(const std::vector<CheckpointInfo>& checkpoints, const RetentionPolicy& policy,
                                     const std::map<std::string, std::string>& protected_names, int64_t now_unix_ms);

// The best of `checkpoints` by `metric`; of equals the newest. nullptr when none has it.
const CheckpointInfo* best_of(const std::vector<CheckpointInfo>& checkpoints, const std::string& metric,
                              bool largest_is_best);

}  // namespace tephra::storage
