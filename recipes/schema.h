// The one table of the recipe's fields: name, place in memory, unit, bounds and meaning. The YAML reader, the JSON
// writer and the reference page's test walk it, so that a field cannot be in one of them alone.
//
// describe(visitor, struct) calls, in the order of the reference:
//   visitor.field(name, member, Field{...})            a scalar or list of scalars
//   visitor.group(name, member, about)                 a nested struct; std::optional: one that may be absent
//   visitor.list(name, vector, about)                  a list of structs, "stages[]"
//   visitor.named(name, vector, about)                 a mapping from names to structs, "benches.<name>"
//   visitor.options(kind, map)                         the rest of a dataset's keys, by dataset_options(kind)
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace tephra::recipes {

inline constexpr double kNoBound = std::numeric_limits<double>::infinity();

struct Field {
  const char* about = "";
  const char* unit = "";
  double low = -kNoBound;  // numbers: smallest and largest value allowed; above_low: low itself is not
  double high = kNoBound;
  bool above_low = false;
  std::vector<std::string> allowed = {};  // texts: the only values, if any
  bool required = false;
  bool path = false;             // a file or folder: made absolute
  bool identifier = false;       // [a-z0-9-]+
  const char* absent = nullptr;  // what the default means when it is not just the member's initial value
};

// A key of a dataset beside `kind`.
struct DatasetOption {
  enum class Type { kText, kInteger, kPath };
  const char* name;
  Type type = Type::kText;
  bool required = false;
  const char* fallback = "";  // what the generator or reader takes when it is absent
  double low = 0;             // integers
  double high = kNoBound;
  const char* about = "";
};

const std::vector<std::string>& dataset_kinds();
const std::vector<DatasetOption>& dataset_options(const std::string& kind);
// What a stage can train on, {""}: the dataset has no parts. And the splits that benches of questions can ask; may be
// empty.
const std::vector<std::string>& dataset_parts(const std::string& kind);
const std::vector<std::string>& dataset_splits(const std::string& kind);

const std::vector<std::string>& template_names();
// The projections of a decoder block, in the order of its tensors.
const std::vector<std::string>& lora_target_names();

template <class V>
void describe(V& v, ConnectorRecipe& c) {
  v.field("kind", c.kind, Field{.about = "shape of the connector", .allowed = {"mlp2x_gelu", "linear"}});
  v.field("init", c.init,
          Field{.about = "safetensors file to start it from", .path = true, .absent = "drawn from the seed"});
}

template <class V>
void describe(V& v, QueueRecipe& q) {
  v.field("priority", q.priority,
          Field{.about = "of the job in the queue: higher goes first, and lower ones make room for it",
                .low = -1000,
                .high = 1000});
  v.field("time_limit_s", q.time_limit_s,
          Field{.about = "longest stretch on the slots: the job then commits a checkpoint and fails; 0: none",
                .unit = "s",
                .low = 0,
                .high = 31536000});
  v.field("after", q.after, Field{.about = "ids of jobs that have to be done before this one starts"});
}

template <class V>
void describe(V& v, ModelRecipe& m) {
  v.field("llava", m.llava,
          Field{.about = "a whole model in the llava-hf layout; instead of vision and language", .path = true});
  v.field("vision", m.vision, Field{.about = "CLIP vision tower", .path = true});
  v.field("language", m.language, Field{.about = "LLaMA and its tokenizer", .path = true});
  v.group("connector", m.connector, "between the two; only with vision and language");
  v.field("vision_layer", m.vision_layer,
          Field{.about = "hidden state whose patches are taken, counted from the end", .low = -64, .high = -1});
}

template <class V>
void describe(V& v, GangRecipe& g) {
  v.field("ranks", g.ranks,
          Field{.about = "processes that train together; a power of two", .unit = "processes", .low = 1, .high = 64});
  v.field("ranks_min", g.ranks_min,
          Field{.about = "elastic: with fewer free slots the gang has half of ranks, a quarter, ... but not fewer than "
                         "this, and grows when slots come free; a power of two, 0: always ranks",
                .unit = "processes",
                .low = 0,
                .high = 64});
  v.field("resize_after_s", g.resize_after_s,
          Field{.about = "how long an elastic gang keeps its ranks before it is given more",
                .unit = "s",
                .low = 0,
                .high = 86400});
  v.field("threads_per_rank", g.threads_per_rank,
          Field{.about = "compute threads of a rank; part of what makes runs equal to the bit",
                .unit = "threads",
                .low = 1,
                .high = 256});
  v.field("max_restarts", g.max_restarts,
          Field{.about = "new attempts after a failure, each from the last checkpoint",
                .unit = "attempts",
                .low = 0,
                .high = 1000});
  v.field("collective_timeout_s", g.collective_timeout_s,
          Field{.about = "longest wait in one collective before the gang is given up",
                .unit = "s",
                .low = 0,
                .high = 86400,
                .above_low = true});
  v.field("heartbeat_timeout_s", g.heartbeat_timeout_s,
          Field{.about = "longest silence of a rank before it counts as lost",
                .unit = "s",
                .low = 0,
                .high = 86400,
                .above_low = true});
  v.field("reattach_s", g.reattach_s,
          Field{.about = "how long ranks go on without a coordinator, and wait for it or the next one; 0: not at all",
                .unit = "s",
                .low = 0,
                .high = 86400});
  v.field("oversubscribe", g.oversubscribe,
          Field{.about = "run although the ranks' threads together are more than the machine's slots"});
}

template <class V>
void describe(V& v, DatasetRecipe& d) {
  v.field("kind", d.kind, Field{.about = "where the samples come from", .allowed = dataset_kinds(), .required = true});
  v.options(d.kind, d.options);
}

template <class V>
void describe(V& v, DataUse& d) {
  v.field("dataset", d.dataset, Field{.about = "name of a dataset", .required = true});
  v.field("part", d.part, Field{.about = "part of it, see the kinds of datasets", .absent = "the only part"});
}

template <class V>
void describe(V& v, OptimizerRecipe& o) {
  v.field("kind", o.kind,
          Field{.about = "AdamW with decoupled weight decay, or gradient descent", .allowed = {"adamw", "sgd"}});
  v.field("lr", o.lr, Field{.about = "peak learning rate", .low = 0, .high = 10});
  v.field("connector_lr", o.connector_lr,
          Field{.about = "peak learning rate of the connector", .low = 0, .high = 10, .absent = "lr"});
  v.field("betas", o.betas, Field{.about = "decay of the two moments (adamw)", .low = 0, .high = 0.999999});
  v.field("eps", o.eps,
          Field{.about = "added to the root of the second moment (adamw)", .low = 0, .high = 1, .above_low = true});
  v.field("momentum", o.momentum,
          Field{.about = "share of the last update's direction that stays (sgd); 0: none", .low = 0, .high = 0.999999});
  v.field("nesterov", o.nesterov, Field{.about = "look ahead along the momentum (sgd)"});
  v.field(
      "weight_decay", o.weight_decay,
      Field{.about = "decay of the weights per unit of learning rate; of sgd, through the gradient and its momentum",
            .low = 0,
            .high = 10});
  v.field("clip_norm", o.clip_norm, Field{.about = "largest norm of the whole gradient; 0 clips nothing", .low = 0});
  v.field(
      "on_nonfinite", o.on_nonfinite,
      Field{.about = "what a step does whose loss or gradient is not finite: leave the weights as they are and name "
                     "its samples, or end the job with their names",
            .allowed = {"skip", "fail"}});
  v.field("max_skipped_steps", o.max_skipped_steps,
          Field{.about = "so many steps in a row may be skipped for that; one more fails the job",
                .unit = "steps",
                .low = 1,
                .high = 1e6});
}

template <class V>
void describe(V& v, ScheduleRecipe& s) {
  v.field("kind", s.kind,
          Field{.about = "course of the learning rate after the warm-up", .allowed = {"cosine", "linear", "constant"}});
  v.field("warmup_ratio", s.warmup_ratio,
          Field{.about = "share of the steps in which the rate rises from 0", .unit = "share", .low = 0, .high = 1});
}

template <class V>
void describe(V& v, ShardingRecipe& s) {
  v.field("shard", s.shard,
          Field{.about = "what is divided over the ranks, each with what stands before it",
                .allowed = {"none", "optimizer", "gradients", "parameters"}});
  v.field("reshard_after_forward", s.reshard_after_forward,
          Field{.about = "free gathered blocks between forward and backward (shard: parameters)"});
  v.field(
      "recompute", s.recompute,
      Field{.about = "blocks that keep no activations and run again in backward: none, all, or a number N for every "
                     "N-th"});
  v.field(
      "prefetch", s.prefetch,
      Field{.about =
                "blocks that are gathered ahead of the compute: a number up to 64, 0: each when it is needed; auto: "
                "the planner chooses (not with shard: none)",
            .unit = "blocks"});
  v.field(
      "group_ranks", s.group_ranks,
      Field{.about = "hybrid: so many neighbouring ranks divide one copy of the state, and each further group of as "
                     "many holds another; a power of two that divides gang.ranks, 0: all ranks",
            .unit = "ranks",
            .low = 0,
            .high = 64});
  v.field("reduction", s.reduction,
          Field{.about = "tree: gradients are summed in one order at every number of ranks; fast: as the transport's "
                         "library does it, with other bits at another number",
                .allowed = {"tree", "fast"}});
  v.field(
      "offload", s.offload,
      Field{.about = "optimizer: its moments are in host memory (on a CPU, in a file in TMPDIR) and fetched unit by "
                     "unit in the update; parameters: these too, and fetched before each gather (shard: parameters)",
            .allowed = {"none", "optimizer", "parameters"}});
}

template <class V>
void describe(V& v, PrecisionRecipe& p) {
  const auto field = [&](const char* name, std::string& member) {
    v.field(name, member,
            Field{.about = "what the group is gathered and computed in; masters, moments and gradient sums are float32",
                  .allowed = {"float32", "bfloat16"}});
  };
  field("vision", p.vision);
  field("connector", p.connector);
  field("llm", p.llm);
}

template <class V>
void describe(V& v, LoraRecipe& l) {
  v.field("rank", l.rank,
          Field{.about = "rank of the adapters that learn in place of the language model's own weights",
                .low = 1,
                .high = 65536,
                .required = true});
  v.field("alpha", l.alpha,
          Field{.about = "an adapter's product is multiplied with alpha / rank",
                .low = 0,
                .high = 1e9,
                .above_low = true,
                .absent = "2 x rank"});
  v.field("targets", l.targets,
          Field{.about = "projections of each decoder block that get an adapter",
                .allowed = lora_target_names(),
                .absent = "all"});
  v.field("dropout", l.dropout, Field{.about = "of the adapters' input; only 0 is supported", .low = 0, .high = 1});
}

template <class V>
void describe(V& v, BestRecipe& b) {
  v.field(
      "metric", b.metric,
      Field{.about = "what the tag JOB/STAGE@best goes by: the loss of the checkpoint's step", .allowed = {"loss"}});
  v.field("mode", b.mode, Field{.about = "whether the smallest or the largest is the best", .allowed = {"min", "max"}});
}

template <class V>
void describe(V& v, KeepRecipe& k) {
  v.field("last", k.last,
          Field{.about = "the newest so many checkpoints of the stage stay; 0: no such rule",
                .unit = "checkpoints",
                .low = 0,
                .high = 1e9});
  v.field("best", k.best,
          Field{.about = "the best so many stay, by checkpoint.best; 0: no such rule",
                .unit = "checkpoints",
                .low = 0,
                .high = 1e9});
  v.field(
      "every", k.every,
      Field{.about = "those stay whose step is a multiple; 0: no such rule", .unit = "steps", .low = 0, .high = 1e9});
  v.field(
      "max_age", k.max_age,
      Field{.about = "older ones go, also where a rule above keeps them: 90s, 30min, 12h or 7d", .absent = "any age"});
  v.field(
      "max_bytes", k.max_bytes,
      Field{.about = "the oldest go until the stage's checkpoints have written no more than this: 500MB, 50GB, 2GiB",
            .absent = "any size"});
}

template <class V>
void describe(V& v, CheckpointRecipe& c) {
  v.field("every_steps", c.every_steps,
          Field{.about = "optimizer steps between checkpoints; 0: only at the stage's end",
                .unit = "steps",
                .low = 0,
                .high = 1e9});
  v.field(
      "when_busy", c.when_busy,
      Field{.about = "when one is due while an earlier one is still being written: training waits for that, goes on "
                     "without this one, or lets this one wait in place of any that waits already",
            .allowed = {"wait", "skip", "replace"}});
  v.group("best", c.best, "the tag JOB/STAGE@best");
  v.group("keep", c.keep, "which checkpoints stay");
}

template <class V>
void describe(V& v, StageRecipe& s) {
  v.field("name", s.name, Field{.about = "name of the stage", .required = true, .identifier = true});
  v.field(
      "kind", s.kind,
      Field{
          .about =
              "train: answers to pictures; contrastive: the vision tower against captions; language_model: plain text",
          .allowed = {"train", "contrastive", "language_model"}});
  v.field("train", s.train, Field{.about = "groups that learn", .allowed = {"vision", "connector", "llm"}});
  v.field("init", s.init,
          Field{.about = "weights to start from: base, previous or an earlier stage's name",
                .absent = "previous (first stage: base)"});
  v.group("lora", s.lora, "adapters in place of the language model's own weights");
  v.field("template", s.template_name, Field{.about = "how a conversation becomes text", .allowed = template_names()});
  v.list("data", s.data, "what it trains on, shuffled together");
  v.field("feature_cache", s.feature_cache,
          Field{.about = "most memory of a rank for features of pictures, which the frozen vision tower then computes "
                         "once: 512MiB, 4GB (kind train)",
                .absent = "none are kept"});
  v.field("max_length", s.max_length,
          Field{.about = "longest sample, the picture's tokens included", .unit = "tokens", .low = 8, .high = 1048576});
  v.field("image_aspect", s.image_aspect,
          Field{.about = "square: centre crop; pad: to a square first", .allowed = {"square", "pad"}});
  v.field("epochs", s.epochs,
          Field{.about = "passes over the data; exactly one of epochs and steps",
                .unit = "passes",
                .low = 0,
                .high = 1e6,
                .absent = "steps counts"});
  v.field("steps", s.steps,
          Field{.about = "optimizer steps; exactly one of epochs and steps",
                .unit = "steps",
                .low = 0,
                .high = 1e9,
                .absent = "epochs counts"});
  v.field("micro_batch", s.micro_batch,
          Field{.about = "one forward and backward of one rank", .unit = "samples", .low = 1, .high = 65536});
  v.field("global_batch", s.global_batch,
          Field{.about = "one optimizer step; a multiple of micro_batch x ranks",
                .unit = "samples",
                .low = 1,
                .high = 1048576});
  v.group("optimizer", s.optimizer, "");
  v.group("schedule", s.schedule, "");
  v.group("sharding", s.sharding, "");
  v.group("precision", s.precision, "");
  v.group("checkpoint", s.checkpoint, "");
  v.field("evaluate", s.evaluate,
          Field{.about = "benches to run on the stage's last checkpoint; those with every_steps also during it",
                .absent = "all benches"});
  v.field(
      "require", s.require,
      Field{.about = "gates that the benches pass before the next stage starts, such as scienceqa.avg >= previous - ci",
            .absent = "none"});
}

template <class V>
void describe(V& v, JudgeRecipe& j) {
  v.field(
      "endpoint", j.endpoint,
      Field{
          .about =
              "base address of an OpenAI-compatible service, such as https://host/v1; local: overlap of words with the "
              "reference, which shows that judging works and measures nothing",
          .required = true});
  v.field("model", j.model, Field{.about = "the judge's name at the endpoint", .absent = "none (local)"});
  v.field("prompts", j.prompts,
          Field{.about = "what it is asked, as recipes/judge/llava_bench.json", .required = true, .path = true});
  v.field(
      "key_env", j.key_env,
      Field{.about = "environment variable of the coordinator that holds the endpoint's key; one that `serve --judge` "
                     "gave with it",
            .absent = "no key is sent"});
  v.field("orders", j.orders,
          Field{.about = "show each pair of answers in both orders, or the reference first only, as LLaVA does",
                .allowed = {"both", "reference_first"}});
  v.field("concurrency", j.concurrency,
          Field{.about = "requests under way together", .unit = "requests", .low = 1, .high = 256});
  v.field("requests_per_minute", j.requests_per_minute,
          Field{.about = "at most; 0: no limit", .unit = "requests", .low = 0, .high = 1e6});
  v.field("max_cost", j.max_cost,
          Field{.about = "the bench is left incomplete before it costs more, by the prices below; 0: no limit",
                .unit = "USD",
                .low = 0,
                .high = 1e6});
  v.field("price_in", j.price_in, Field{.about = "of a million tokens asked", .unit = "USD", .low = 0, .high = 1e6});
  v.field("price_out", j.price_out,
          Field{.about = "of a million tokens replied", .unit = "USD", .low = 0, .high = 1e6});
}

template <class V>
void describe(V& v, BenchRecipe& b) {
  v.field("kind", b.kind,
          Field{.about = "what is asked and how it is scored, see docs/evaluation.md",
                .allowed = {"scienceqa", "instruct", "vqa", "loss", "pope", "mme", "vqav2", "textvqa", "captions",
                            "llava_bench"},
                .required = true});
  v.field("dataset", b.dataset, Field{.about = "name of a dataset", .required = true});
  v.field("split", b.split, Field{.about = "questions of the dataset (scienceqa, vqa)", .absent = "test"});
  v.field("part", b.part, Field{.about = "part of the dataset (instruct, loss)", .absent = "heldout"});
  v.field("prompt", b.prompt, Field{.about = "how a question is put (scienceqa)", .allowed = {"CQM-A", "QCM-LEA"}});
  v.field("answer_rule", b.answer_rule,
          Field{.about = "how a choice is read from the answer (scienceqa)",
                .allowed = {"scienceqa", "llava", "letter", "loglik"}});
  v.field("score", b.score, Field{.about = "the bench's headline number (instruct)", .allowed = {"exact", "token_f1"}});
  v.field("instruction", b.instruction,
          Field{.about = "words behind the question (pope, mme, vqav2, textvqa), or in place of one (captions)",
                .absent = "the kind's own, see docs/evaluation.md"});
  v.group("judge", b.judge, "who compares answers with the reference's (llava_bench)");
  v.field("max_new_tokens", b.max_new_tokens,
          Field{.about = "longest answer", .unit = "tokens", .low = 1, .high = 65536});
  v.field(
      "limit", b.limit,
      Field{.about = "so many questions, spread evenly over all; 0: all", .unit = "questions", .low = 0, .high = 1e9});
  v.field("swap_images", b.swap_images, Field{.about = "ask each question again with another question's picture"});
  v.field("batch", b.batch,
          Field{.about = "questions answered together on one rank", .unit = "questions", .low = 1, .high = 4096});
  v.field(
      "every_steps", b.every_steps,
      Field{.about = "also run it during a stage, on the checkpoint of every so many steps, for which training pauses; "
                     "0: only after the stage",
            .unit = "steps",
            .low = 0,
            .high = 1e9});
}

template <class V>
void describe(V& v, ForkRecipe& f) {
  v.field("checkpoint", f.checkpoint,
          Field{.about = "checkpoint of the same store that stages with init: base start from; `tephra fork` sets it",
                .required = true});
  v.field("resume", f.resume,
          Field{.about = "the first stage, of the same name, goes on at its step with its moments"});
}

template <class V>
void describe(V& v, ReportRecipe& r) {
  v.field("title", r.title, Field{.about = "heading", .absent = "the recipe's name"});
  v.field(
      "baselines", r.baselines,
      Field{.about =
                "what to compare with: majority always gives one answer, the most frequent; blind, of vqa, the most "
                "frequent in training to the same question, which no picture is needed for",
            .allowed = {"majority", "blind"}});
}

template <class V>
void describe(V& v, Recipe& r) {
  v.field("name", r.name,
          Field{.about = "name of the job's checkpoints and report", .required = true, .identifier = true});
  v.field("seed", r.seed, Field{.about = "key of every random choice", .low = 0, .high = 9007199254740992.0});
  v.group("model", r.model, "");
  v.group("fork", r.fork, "a checkpoint in place of the model's weights");
  v.group("gang", r.gang, "");
  v.group("queue", r.queue, "");
  v.named("datasets", r.datasets, "");
  v.list("stages", r.stages, "run in this order");
  v.named("benches", r.benches, "");
  v.group("report", r.report, "");
}

// One row of the reference page.
struct FieldRow {
  std::string path;           // "stages[].optimizer.lr", "datasets.<name>.conversations (llava)"
  std::string type;           // text, integer, number, true or false, list of texts, list of numbers, path
  std::string default_value;  // "required" when it has none
  std::string unit;
  std::string about;
};

// Every field, in order; the reference page is this table (markdown_reference).
std::vector<FieldRow> field_rows();
// The rows as a Markdown table, as docs/recipes.md holds it.
std::string markdown_reference();

}  // namespace tephra::recipes
