// Instruction data from captions and boxes, as in LLaVA (Liu et al. 2023, section 3): facts about pictures go to a teacher, its
// replies come back as conversations, detailed descriptions and reasoning, and what passes the checks becomes a file of LLaVA samples.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "data/conversation.h"
#include "data/datagen/prompts.h"
#include "data/datagen/scene.h"

namespace tephra::data {

struct TeacherReply {
  std::string text, finish_reason;
};

// Answers a request; called from several threads at once. What fails with kInvalidArgument, kCorruption, kPeerLost, kTimeout,
// kUnavailable or kMismatch costs that sample; anything else (a refused key, a limit, a cancellation) ends the run.
using Teacher = std::function<Result<TeacherReply>(const TeacherRequest&)>;

struct GenerateOptions {
  uint64_t seed = 1;
  std::array<double, 3> share{1, 1, 1};  // of the pictures that get a sample of each kind of kSampleKinds, 0 to 1
  uint64_t samples_max = 0;              // 0: all
  int concurrency = 8;                   // requests under way at once
  int failures_in_a_row_max = 20;        // samples lost to the teacher one after another that end the run
  std::function<void(uint64_t done, uint64_t total)> progress{};  // after each; any thread, one at a time
};

struct GeneratedSample {
  std::string id, image;
  SampleKind kind{};
  std::vector<Exchange> exchanges;
};

struct RejectedSample {
  std::string id, kind, reason, detail, reply;
};

struct Generated {
  std::vector<GeneratedSample> samples;  // in the order of the pictures, whatever the number of threads
  std::vector<RejectedSample> rejected;  // pictures first, then samples
  uint64_t wanted = 0;                   // samples that were to be made
  std::map<std::string, uint64_t> reasons() const;
};

// How many samples generate() will ask for.
uint64_t samples_wanted(const PictureFactsList& input, const GenerateOptions& options);

// Equal input, prompts, seed and replies give equal results. Blocks; uses options.concurrency threads. The Status of a run
// that ended early is what ended it: replies already paid for are the journal's to keep, not lost.
Result<Generated> generate(const PictureFactsList& input, const Prompts& prompts, const Teacher& teacher,
                           const GenerateOptions& options);

// The samples in LLaVA's layout; <image> stands before or after the first question, drawn from `seed`.
std::string samples_json(const Generated& generated, uint64_t seed);
// JSON lines {"id", "kind", "reason", "detail", "reply"}.
std::string rejects_json(const Generated& generated);

}  // namespace tephra::data
