#include "worker/agreement.h"

#include <algorithm>

namespace tephra::worker {
namespace {

// Every rank's `mine`, of equal size on all, one after another.
Result<std::vector<Hash128>> gather_hashes(cluster::Communicator& communicator, const std::vector<Hash128>& mine,
                                           Deadline deadline) {
  std::vector<Hash128> all(mine.size() * static_cast<size_t>(communicator.world_size()));
  const auto bytes = [](const std::vector<Hash128>& hashes) {
    return static_cast<int64_t>(hashes.size() * sizeof(Hash128));
  };
  TEPHRA_RETURN_IF_ERROR(communicator.all_gather({mine.data(), bytes(mine), DType::kUInt8},
                                                 {all.data(), bytes(all), DType::kUInt8}, deadline));
  return all;
}

// Where in the checkpoints it starts from, what and how much of it.
Hash128 hash_of_work(const cluster::Task& task) {
  Hasher hasher;
  for (const std::string* text : {&task.kind, &task.stage, &task.located_manifest, &task.options_json}) {
    hasher.update(std::to_string(text->size()) + ":");
    hasher.update(*text);
  }
  hasher.update(std::to_string(task.start_step));
  return hasher.digest();
}

Hash128 hash_of_ids(const std::vector<TrainingSample>& micro_batch) {
  Hasher hasher;
  for (const TrainingSample& sample : micro_batch) {
    hasher.update(std::to_string(sample.id.size()) + ":");  // "ab", "c" is not "a", "bc"
    hasher.update(sample.id);
  }
  return hasher.digest();
}

}  // namespace

Status check_same_task(cluster::Communicator& communicator, const std::string& build, const cluster::Task& task,
                       Deadline deadline) {
  const std::vector<std::string> parts{"build", "recipe", "task"};
  TEPHRA_ASSIGN_OR_RETURN(
      const std::vector<Hash128> all,
      gather_hashes(communicator, {hash_text(build), hash_text(task.recipe_json), hash_of_work(task)}, deadline));
  TEPHRA_ASSIGN_OR_RETURN(const std::vector<std::string> builds, gather_texts(communicator, build, deadline));
  for (size_t part = 0; part < parts.size(); ++part) {
    for (size_t rank = 1; rank < builds.size(); ++rank) {
      const Hash128 first = all[part], other = all[rank * parts.size() + part];
      if (first == other) continue;
      const auto name = [&](size_t r, const Hash128& hash) { return part == 0 ? builds[r] : hash.hex(); };
      return {Code::kMismatch, RetryClass::kPermanent,
              "rank 0 has " + parts[part] + " " + name(0, first) + " and rank " + std::to_string(rank) + " has " +
                  parts[part] + " " + name(rank, other) +
                  (part == 0 ? "; install the same build everywhere" : "; the coordinator gives all ranks one")};
    }
  }
  return ok_status();
}

Result<std::vector<std::string>> gather_texts(cluster::Communicator& communicator, const std::string& mine,
                                              Deadline deadline) {
  const int64_t world = communicator.world_size();
  const int64_t size = std::ssize(mine);
  std::vector<int64_t> sizes(world);
  TEPHRA_RETURN_IF_ERROR(
      communicator.all_gather({&size, 1, DType::kInt64}, {sizes.data(), world, DType::kInt64}, deadline));
  const int64_t longest = *std::max_element(sizes.begin(), sizes.end());
  std::string padded = mine, all(static_cast<size_t>(longest * world), '\0');
  padded.resize(static_cast<size_t>(longest));
  TEPHRA_RETURN_IF_ERROR(communicator.all_gather({padded.data(), longest, DType::kUInt8},
                                                 {all.data(), longest * world, DType::kUInt8}, deadline));
  std::vector<std::string> texts;
  for (int64_t r = 0; r < world; ++r)
    texts.push_back(all.substr(static_cast<size_t>(r * longest), static_cast<size_t>(sizes[r])));
  return texts;
}

Result<StepAgreement> agree_on_step(cluster::Communicator& communicator, bool stop, bool busy,
                                    const StepSamples& samples, Deadline deadline) {
  std::vector<Hash128> mine{{busy ? 1u : 0u, stop ? 1u : 0u}};
  for (const auto& micro_batch : samples) mine.push_back(hash_of_ids(micro_batch));
  TEPHRA_ASSIGN_OR_RETURN(const std::vector<Hash128> all, gather_hashes(communicator, mine, deadline));
  StepAgreement agreed;
  Hasher hasher;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i % mine.size() == 0) {
      agreed.stop = agreed.stop || all[i].low != 0;
      agreed.busy = agreed.busy || all[i].high != 0;
    } else {
      hasher.update(all[i].hex());
    }
  }
  agreed.samples = hasher.digest();
  return agreed;
}

}  // namespace tephra::worker
