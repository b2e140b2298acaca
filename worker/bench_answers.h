// `tephra-worker answer`: one of several processes that answer a bench with a model folder, without a coordinator. They need not talk
// to each other: which questions are whose follows from rank and world size.
#pragma once

#include <string>

#include "base/status.h"
#include "data/prepared.h"
#include "eval/score/questions.h"
#include "worker/chat_model.h"

namespace tephra::worker {

struct AnswerOptions {
  InferenceModel model;
  eval::BenchSpec spec;
  data::PreparedDataset dataset;
  std::string out;  // folder: OUT/answers-RANK.jsonl, one {"id", "text"} a line, each written as it is made
  int rank = 0, world_size = 1;
  int64_t batch = 8;
  int64_t max_length = 2048;
};

// Asks what no file OUT/answers-*.jsonl has an answer to yet. Blocks. Errors of the model's folder, the questions and the pictures.
Status answer_bench(const AnswerOptions& options);

}  // namespace tephra::worker
