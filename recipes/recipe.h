// A recipe: everything that a job is told, as plain values. Read from YAML (load_recipe), shipped between processes as
// canonical JSON (to_json, from_json). docs/recipes.md is the reference; recipes/schema.h is the table behind both.
// Values only: no threads, no files kept open. The loaders block on reading one small file.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/diagnostic.h"
#include "base/dtype.h"
#include "base/hash.h"
#include "base/status.h"

namespace tephra::recipes {

// Where the weights start. Either `llava` (one folder in the llava-hf layout) or `vision` and `language` (two folders)
// with a connector.
struct ConnectorRecipe {
  std::string kind = "mlp2x_gelu";  // linear | mlp2x_gelu
  std::string init;                 // safetensors file; empty: drawn from the seed
};

struct ModelRecipe {
  std::string llava;     // folder; empty: vision + language
  std::string vision;    // folder of a CLIP vision tower
  std::string language;  // folder of a LLaMA with its tokenizer
  ConnectorRecipe connector;
  int64_t vision_layer = -2;  // hidden_states index whose patches are taken; -1 is the last layer's output
};

struct GangRecipe {
  int64_t ranks = 2;                  // processes; a power of two, 1..64
  int64_t ranks_min = 0;              // fewest that the job starts or goes on with; 0: ranks, it is not elastic
  double resize_after_s = 300;        // seconds that an elastic gang keeps its ranks before it is given more
  int64_t threads_per_rank = 1;       // compute threads; a different number changes the last bits of the sums
  int64_t max_restarts = 3;           // attempts after the first
  double collective_timeout_s = 120;  // seconds
  double heartbeat_timeout_s = 30;    // seconds
  double reattach_s = 60;             // seconds that ranks go on without a coordinator
  bool oversubscribe = false;         // more threads than the machine has slots is meant

  // The numbers of ranks that the gang may have: `ranks`, half of it, and so on down to `ranks_min`.
  std::vector<int64_t> permitted_ranks() const;
};

// One dataset. `options` holds the kind's own keys as written (paths made absolute); absent keys mean the generator's
// or reader's default.
//   scenes: generated pictures.   llava: conversations, images.   scienceqa: problems, splits, images.
//   easy_vqa: path.               stamps: path.            Numbers of these: recipes/schema.cc.
struct DatasetRecipe {
  std::string name;
  std::string kind;
  std::map<std::string, std::string> options;

  // The option's text, or `fallback` when it was not given.
  std::string option(const std::string& key, const std::string& fallback = "") const;
};

// A part of a dataset that a stage trains on; a stage's parts are concatenated, then shuffled together.
struct DataUse {
  std::string dataset;
  std::string part;  // empty: the whole dataset (only kinds without parts)
};

struct OptimizerRecipe {
  std::string kind = "adamw";                // adamw | sgd
  double lr = 2e-5;                          // peak rate
  double connector_lr = 0;                   // peak rate of the connector; 0: lr
  std::vector<double> betas = {0.9, 0.999};  // adamw only
  double eps = 1e-8;                         // adamw only
  double momentum = 0;                       // sgd only; 0: none
  bool nesterov = false;                     // sgd only, with momentum
  double weight_decay = 0;
  double clip_norm = 1.0;             // largest global gradient norm; 0: no clipping
  std::string on_nonfinite = "skip";  // skip | fail: what a step does whose loss or gradient is not finite
  int64_t max_skipped_steps = 10;     // in a row; one more fails the job

  int moments() const;  // values kept beside each trained parameter: 2, of sgd 1 or without momentum 0
};

struct ScheduleRecipe {
  std::string kind = "cosine";  // cosine | linear | constant, see recipes/lr_schedule.h
  double warmup_ratio = 0.03;   // share of the stage's steps
};

struct ShardingRecipe {
  std::string shard = "parameters";   // none | optimizer | gradients | parameters; each divides more
  bool reshard_after_forward = true;  // parameters only: free gathered blocks between forward and backward
  std::string recompute = "none";     // none | all | a number N: every N-th block's activations are recomputed
  std::string prefetch = "1";         // auto | a number: blocks that are gathered ahead of the compute
  int64_t group_ranks = 0;            // hybrid: ranks that divide one copy of the state; 0: all
  std::string reduction = "tree";     // tree | fast: whether sums over ranks have one order at every number of ranks
  std::string offload = "none";       // none | optimizer | parameters (and moments): what is kept in host memory

  // `recompute` as a number: 0 for none, 1 for all; nothing when it is none of the three.
  std::optional<int> recompute_every() const;
  // `prefetch` as a number; of auto 1, until the planner has chosen; nothing when it is neither that nor 0 to 64.
  std::optional<int> prefetch_depth() const;
};

// What each group is gathered and computed in; masters, moments and gradient sums are float32.
struct PrecisionRecipe {
  std::string vision = "float32";     // float32 | bfloat16
  std::string connector = "float32";  // float32 | bfloat16
  std::string llm = "float32";        // float32 | bfloat16

  std::map<std::string, DType> by_group() const;  // of the values above, which load_recipe has checked
};

// Low-rank adapters beside the language model's projections, trained in its place (Hu et al. 2021).
struct LoraRecipe {
  int64_t rank = 0;
  double alpha = 0;  // an adapter's product counts alpha / rank; 0: 2 * rank, filled in by load_recipe
  // Empty: all of lora_target_names(), filled in by load_recipe, which also puts them in that order.
  std::vector<std::string> targets;
  double dropout = 0;  // only 0
  bool operator==(const LoraRecipe&) const = default;
};
std::string to_string(const LoraRecipe& lora);  // "rank 8, alpha 16, targets q_proj, v_proj"

// Which of a stage's checkpoints the tag JOB/STAGE@best is on.
struct BestRecipe {
  std::string metric = "loss";  // loss: of the checkpoint's step
  std::string mode = "min";     // min | max
};

// Which of a stage's checkpoints stay; storage/index/retention.h says how the rules work together. 0 or "": no such rule.
struct KeepRecipe {
  int64_t last = 0;
  int64_t best = 0;  // by `best` of the checkpoint
  int64_t every = 0;
  std::string max_age;    // "7d"
  std::string max_bytes;  // "50GB"
};

struct CheckpointRecipe {
  int64_t every_steps = 50;        // optimizer steps; 0: only at the stage's end
  std::string when_busy = "wait";  // wait | skip | replace: one is due while an earlier one is still being written
  std::optional<BestRecipe> best;  // absent: no tag is moved
  std::optional<KeepRecipe> keep;  // absent: all stay
  // States that wait for the disk at most: the one being written, and the one that waits.
  int held_snapshots() const { return when_busy == "replace" ? 2 : 1; }
};

struct StageRecipe {
  std::string name;
  std::string kind = "train";                      // train | contrastive | language_model
  std::vector<std::string> train = {"connector"};  // groups that learn: vision, connector, llm
  std::string init;                                // "base", or a stage's name; "previous" is resolved by load_recipe
  std::optional<LoraRecipe> lora;                  // the language model learns through adapters only
  std::string template_name = "v1";                // key `template`
  std::vector<DataUse> data;
  std::string feature_cache;            // "512MiB": most bytes of pictures' features that a rank keeps; empty: none
  int64_t max_length = 2048;            // tokens, the picture's included
  std::string image_aspect = "square";  // square | pad
  int64_t epochs = 0;                   // passes over the data; 0: `steps` counts
  int64_t steps = 0;                    // optimizer steps; 0: `epochs` counts
  int64_t micro_batch = 4;              // samples of one forward/backward on one rank
  int64_t global_batch = 16;            // samples of one optimizer step
  OptimizerRecipe optimizer;
  ScheduleRecipe schedule;
  ShardingRecipe sharding;
  PrecisionRecipe precision;
  CheckpointRecipe checkpoint;
  std::vector<std::string>
      evaluate;  // bench names, after the stage; load_recipe fills in all benches when the key is absent
  std::vector<std::string> require;  // gates that the benches have to pass before the next stage, see recipes/gate.h

  int64_t feature_cache_bytes() const;                                           // 0: none
  int64_t micro_batches_per_step() const { return global_batch / micro_batch; }  // M, independent of the world size
  // Optimizer steps over `samples` samples: `steps`, or whole global batches in `epochs` passes, at least one. 0 samples:
  // not known, and then neither are the steps of `epochs` (0).
  int64_t total_steps(int64_t samples) const;
};

// Who compares a model's answers with the reference's (llava_bench).
struct JudgeRecipe {
  std::string endpoint;  // base address of an OpenAI-compatible service, or "local": overlap of words, a smoke check
  std::string model;     // name there
  std::string prompts;   // file, see recipes/judge
  std::string key_env;   // environment variable of the coordinator that holds the key; empty: none is sent
  std::string orders = "both";      // both | reference_first
  int64_t concurrency = 4;          // requests at a time
  int64_t requests_per_minute = 0;  // at most; 0: no limit
  double max_cost = 0;              // USD over the bench, by prices; 0: no limit
  double price_in = 0;              // USD a million prompt tokens
  double price_out = 0;             // USD a million reply tokens
};

struct BenchRecipe {
  std::string name;
  std::string kind;  // scienceqa | instruct | vqa | loss | pope | mme | vqav2 | textvqa | captions | llava_bench
  std::string dataset;
  std::string split;                      // scienceqa, vqa: "test" by default
  std::string part;                       // instruct, loss: "heldout" by default
  std::string prompt = "CQM-A";           // scienceqa: order of question, context, choices
  std::string answer_rule = "scienceqa";  // scienceqa: scienceqa | llava | letter | loglik, see eval/score/scienceqa.h
  std::string score = "exact";            // instruct: exact | token_f1
  std::string instruction;  // pope, mme, vqav2, textvqa, captions: words of the question; empty: the kind's own
  std::optional<JudgeRecipe> judge;  // llava_bench
  int64_t max_new_tokens = 64;       // tokens
  int64_t limit = 0;                 // questions, evenly spread; 0: all
  bool swap_images = false;          // also ask every question with another question's picture
  int64_t batch = 8;                 // questions decoded together on one rank
  int64_t every_steps = 0;           // also during a stage, on its checkpoints of these steps; 0: only after it
};

// A checkpoint of the same store that stages with `init: base` start from, in place of the model's own weights.
struct ForkRecipe {
  std::string checkpoint;  // JOB/STAGE@STEP, JOB/STAGE@latest, or a tag
  bool resume = false;     // the first stage goes on at its step, with its moments
};

struct ReportRecipe {
  std::string title;                                  // empty: the recipe's name
  std::vector<std::string> baselines = {"majority"};  // majority, blind
};

// How the job stands in the coordinator's queue; nothing of it changes what is computed.
struct QueueRecipe {
  int64_t priority = 0;            // higher goes first
  double time_limit_s = 0;         // seconds on the slots; 0: none
  std::vector<std::string> after;  // ids of jobs that have to be done first
};

struct Recipe {
  std::string name;
  int64_t seed = 17;
  ModelRecipe model;
  std::optional<ForkRecipe> fork;
  GangRecipe gang;
  QueueRecipe queue;
  std::vector<DatasetRecipe> datasets;  // in the file's order
  std::vector<StageRecipe> stages;
  std::vector<BenchRecipe> benches;  // in the file's order
  ReportRecipe report;

  const DatasetRecipe* find_dataset(const std::string& dataset) const;  // nullptr when there is none
  const StageRecipe* find_stage(const std::string& stage) const;
  const BenchRecipe* find_bench(const std::string& bench) const;
  // Of the stage's benches those that are also run during it: the steps between runs, by name.
  std::map<std::string, int64_t> benches_during(const StageRecipe& stage) const;
};
// Whether one of benches_during() is run on the checkpoint of the step: training pauses there.
bool bench_runs_at(const std::map<std::string, int64_t>& during, int64_t step);

// `recipe` may be used only when `diagnostics` is empty.
struct LoadResult {
  Recipe recipe;
  std::vector<Diagnostic> diagnostics;
  bool ok() const { return diagnostics.empty(); }
};

// Reads a recipe file (at most 1 MiB of YAML without anchors, aliases or tags), applies `overrides` in order
// ("gang.ranks=4", "stages[1].optimizer.lr=1e-4", "datasets.world.train_scenes=200"; the value is YAML), fills in
// defaults, and checks: first every field by itself, then, when those are right, the rules across fields. Every finding
// is collected. Afterwards paths are absolute (against the recipe's folder; an override's against the same) and init,
// evaluate, split and part are resolved. Whether folders exist is not checked here. A file that cannot be read is one
// diagnostic.
LoadResult load_recipe(const std::string& path, const std::vector<std::string>& overrides = {});

// The same from text in memory; `file` names it in diagnostics and its folder is what relative paths are joined to.
LoadResult parse_recipe(const std::string& text, const std::string& file,
                        const std::vector<std::string>& overrides = {});

// Canonical: all fields present (groups that may be absent, as a stage's lora, only where they are given), keys in the schema's order, two-space indents, shortest digits that read back as the
// same double. Equal recipes give equal bytes.
std::string to_json(const Recipe& recipe);
// The inverse of to_json, with the checks of load_recipe. kInvalidArgument with all diagnostics in the message.
Result<Recipe> from_json(const std::string& text);

// hash_text(to_json(recipe)).
Hash128 hash(const Recipe& recipe);

// Whether a job of `a` can go on as one of `b`: they differ only in what changes no bits of what is trained, which is
// `gang` but for its threads_per_rank, the stages' `sharding` and `feature_cache`, and which checkpoints are kept and called the best. Where a stage has reduction: fast, ranks and sharding
// change bits and have to be equal too.
bool continues(const Recipe& a, const Recipe& b);

}  // namespace tephra::recipes
