// What a rank and the coordinator say to each other, as plain structs: generated protobuf types stop at
// messages_codec.cc. The wire form is in docs/protocol.md. Tensor bytes never travel here; ranks write them to packs.
// Text fields are UTF-8; fields said to be bytes are not restricted. A whole message is at most 64 MiB.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/flight.h"
#include "base/log.h"
#include "base/status.h"

namespace tephra::cluster {

// --- rank -> coordinator

// The first message of every connection. The server closes a connection that begins with another.
struct Hello {
  std::string job;       // the job's id; not empty
  uint32_t attempt = 0;  // the gang's number, which fences messages of an earlier gang
  int32_t rank = 0;      // in [0, world_size)
  int32_t world_size = 1;
  std::string token;  // the gang's secret, which the launcher passed in the environment
  int64_t pid = 0;
  std::string build;      // version and build of the worker; all ranks of a gang must be equal
  std::string host = {};  // name of the rank's machine; may be empty
  std::string task = {};  // name of the last Task that it took, when it comes back to a coordinator; else empty
};

// Where a rank is, so that a hang names the rank and what it waits in even when it can say nothing any more.
struct Heartbeat {
  std::string phase;  // "load", "write", "idle", ... or the name of the FlightOp in progress
  std::string unit;   // name of the unit; may be empty
  int64_t micro_batch = 0;
  int64_t step = 0;                  // steps done
  uint64_t collective_sequence = 0;  // Communicator::sequence(): of the last collective begun
  int64_t rss_bytes = 0;
  int64_t phase_ms = 0;                   // since the FlightOp in progress began
  std::string collective = {};            // the collective in progress, "all_gather"; empty: none
  std::string collective_unit = {};       // its unit; may be empty
  int64_t collective_ms = 0;              // since it began
  std::vector<std::string> samples = {};  // ids of the micro-batch in progress, or of the whole step between those
  bool in_step = false;                   // step `step` + 1 is in progress
};

// After each optimizer step, from rank 0.
struct StepProgress {
  std::string stage;
  int64_t step = 0;  // steps done
  int64_t total_steps = 0;
  double loss = 0;  // mean over the step's supervised tokens
  double gradient_norm = 0;
  double learning_rate = 0;
  double tokens_per_second = 0;
  double step_seconds = 0;
  int64_t rss_bytes = 0;
  double epoch = 0;          // passes over the data, fractional
  int64_t loss_tokens = 0;   // supervised tokens of the step
  bool skipped = false;      // the update was not applied (non-finite loss or gradient)
  std::string samples_hash;  // of the ids of the step's samples in the batch's order, hex: equal at every world size
};

// The rank's pack for a checkpoint is sealed and synced.
struct ShardWritten {
  std::string stage;
  int64_t step = 0;
  std::string shard_summary;  // bytes, in storage's own encoding; opaque here
  std::string metadata_json;  // rank 0: what belongs in the manifest beside the tensors; otherwise empty
};

struct Answer {
  std::string question_id;
  std::string text;
  std::string json;  // benchmark-specific fields; may be empty
};

// Replies of a model to a benchmark's questions, as they are made.
struct Answers {
  std::string task;
  std::vector<Answer> answers;
  int64_t total = 0;  // what all ranks together are to answer in this attempt; 0: not known
};

// The rank's last word on its task.
struct Finished {
  Code code = Code::kOk;
  RetryClass retry = RetryClass::kPermanent;  // meaningful when code is not kOk
  std::string message;                        // empty when code is kOk
  std::string result_json;                    // may be empty

  Status status() const { return code == Code::kOk ? Status() : Status(code, retry, message); }
};

struct Log {
  log::Level level = log::Level::kInfo;
  std::string text;
};

// The rank's flight: the answer to FlightRequest, and sent unasked before the Finished of a training task.
struct FlightReport {
  uint64_t request = 0;  // of the FlightRequest; 0: unasked
  Flight flight;
};

using RankMessage = std::variant<Hello, Heartbeat, StepProgress, ShardWritten, Answers, Finished, Log, FlightReport>;

// --- coordinator -> rank

// What the rank is to do; the answer to Hello.
struct Task {
  std::string kind;   // "train", "evaluate", "score", "generate", "export", ...
  std::string stage;  // the stage's name in the recipe; may be empty
  std::string recipe_json;
  std::string
      located_manifest;  // bytes, in storage's own encoding: where to start from; empty: from the recipe's model
  uint32_t attempt = 0;
  uint64_t start_step = 0;  // steps already done
  std::string options_json;
  std::string work_dir;
  std::string name = {};  // no other task of the attempt has it: "train align"
};

// Answer to all ranks' ShardWritten: whether the checkpoint now exists.
struct Committed {
  std::string stage;
  int64_t step = 0;
  std::string checkpoint;  // its name, "JOB/STAGE@STEP"; empty when not ok
  bool ok = false;
  std::string message;  // why not, when not ok
};

// End gracefully: finish the step, write a checkpoint, send Finished.
struct Stop {
  std::string reason;
};

// The Hello was not accepted (old attempt, wrong token, other build); the connection is closed after it.
struct Refused {
  std::string message;
};

// Asks for a FlightReport, which comes from the heartbeat thread and so also when the rank waits for others.
struct FlightRequest {
  uint64_t request = 0;      // not 0
  uint32_t records_max = 0;  // of finished records, at most kFlightRecordsMax
};

using CoordinatorMessage = std::variant<Task, Committed, Stop, Refused, FlightRequest>;

}  // namespace tephra::cluster
