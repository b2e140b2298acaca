// `tephra eval BENCH --model DIR` or `--checkpoint REF`: answers a bench with a model, then scores.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/eval_bench.h"
#include "data/prepared.h"
#include "recipes/recipe.h"

namespace CLI {
class App;
}

namespace tephra::cli {

struct ModelEval {
  std::string model, vision, connector, llm;  // folders and files, as tephra generate takes them
  std::string checkpoint, store = "tephra-store";
  std::string template_name, image_aspect;  // empty: the checkpoint's own; of folders v1 and square
  std::string dtype = "float32";
  int threads = 0, ranks = 1;
  int64_t batch = 8, max_length = 2048;
  eval::BenchSpec spec;
  data::PreparedDataset dataset;
  recipes::JudgeRecipe judge;  // llava_bench
  EvalOutput output;

  bool named() const { return !model.empty() || !vision.empty() || !checkpoint.empty(); }
};

// --model, --checkpoint, --ranks, --batch, --limit, ... `o` outlives the verb.
void add_model_options(CLI::App& verb, ModelEval& o);

// Starts the processes that answer, waits for them, and scores. Answers are kept in OUT: the same call again goes on where it stopped.
int eval_model(ModelEval o);

}  // namespace tephra::cli
