#include <algorithm>
#include <bit>
#include <set>

#include "recipes/gate.h"
#include "recipes/quantity.h"
#include "recipes/reader.h"
#include "recipes/schema.h"

namespace tephra::recipes {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
  return out.empty() ? "none" : out;
}

// With every default filled in.
LoraRecipe resolved(LoraRecipe lora) {
  if (lora.alpha == 0) lora.alpha = 2.0 * static_cast<double>(lora.rank);
  std::vector<std::string> targets;
  for (const std::string& name : lora_target_names())
    if (lora.targets.empty() || contains(lora.targets, name)) targets.push_back(name);
  lora.targets = std::move(targets);
  return lora;
}

class Rules {
 public:
  Rules(const Recipe& recipe, const Places& places, std::vector<Diagnostic>* diagnostics)
      : recipe_(recipe), places_(places), diagnostics_(diagnostics) {}

  void check() {
    check_model();
    if (!std::has_single_bit(static_cast<uint64_t>(recipe_.gang.ranks)))
      report("gang.ranks", std::to_string(recipe_.gang.ranks) + " is not a power of two",
             "use " + std::to_string(std::bit_floor(static_cast<uint64_t>(recipe_.gang.ranks))));
    check_ranks_min();
    if (recipe_.stages.empty()) report("stages", "there is no stage", "give at least one");
    for (size_t i = 0; i < recipe_.stages.size(); ++i) check_stage(i);
    for (const auto& bench : recipe_.benches) check_bench(bench);
    if (recipe_.fork && recipe_.fork->checkpoint.empty())
      report("fork.checkpoint", "is empty", "for example demo-1/align@latest");
  }

 private:
  void check_ranks_min() {
    const GangRecipe& gang = recipe_.gang;
    if (gang.ranks_min == 0) return;
    const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(gang.ranks_min)));
    if (power != gang.ranks_min)
      report("gang.ranks_min", std::to_string(gang.ranks_min) + " is not a power of two",
             "use " + std::to_string(power));
    else if (gang.ranks_min > gang.ranks)
      report("gang.ranks_min",
             std::to_string(gang.ranks_min) + " is more than gang.ranks (" + std::to_string(gang.ranks) + ")",
             "use at most " + std::to_string(gang.ranks) + ", or 0 for always gang.ranks");
  }

  // The place of `field`, or of the nearest mapping around it that was given.
  void report(const std::string& field, std::string message, std::string hint = "") {
    Place place;
    for (std::string path = field;; path = path.substr(0, path.find_last_of(".["))) {
      if (auto found = places_.find(path); found != places_.end()) {
        place = found->second;
        break;
      }
      if (path.find_last_of(".[") == std::string::npos) {
        place = places_.at("");
        break;
      }
    }
    diagnostics_->push_back({place.file, place.line, place.column, field, std::move(message), std::move(hint)});
  }

  void report_unknown(const std::string& field, const std::string& what, const std::string& name,
                      const std::vector<std::string>& known) {
    const std::string nearest = nearest_name(name, known);
    report(field, what + " '" + name + "' is not defined",
           nearest.empty() ? "defined: " + joined(known) : "did you mean " + nearest + "?");
  }

  void check_model() {
    const ModelRecipe& model = recipe_.model;
    if (!model.llava.empty() && (!model.vision.empty() || !model.language.empty()))
      report("model.llava",
             "given together with " + std::string(model.vision.empty() ? "model.language" : "model.vision"),
             "give either llava, or vision and language");
    else if (model.llava.empty() && (model.vision.empty() || model.language.empty()))
      report(model.vision.empty() ? "model.vision" : "model.language", "missing, and there is no model.llava either",
             "give either llava, or vision and language");
    if (!model.llava.empty() && !model.connector.init.empty())
      report("model.connector.init", "given together with model.llava, which has a connector", "take one away");
  }

  void check_stage(size_t index) {
    const StageRecipe& stage = recipe_.stages[index];
    const std::string path = "stages[" + std::to_string(index) + "]";
    check_stage_names(index, path);
    check_groups(stage, path);
    check_lora(stage, init_stage(index), path);
    check_data(stage, path);
    check_batches(stage, path);
    if (stage.kind == "contrastive" && stage.precision.vision != "float32")
      report(path + ".precision.vision", "contrastive training computes in float32", "leave it out");
    if (!stage.sharding.recompute_every())
      report(path + ".sharding.recompute",
             "'" + stage.sharding.recompute + "' is not one of none, all or a number of blocks",
             "for example 2: every second block");
    if (!stage.sharding.prefetch_depth())
      report(path + ".sharding.prefetch",
             "'" + stage.sharding.prefetch + "' is neither auto nor a number of blocks from 0 to 64", "for example 2");
    check_feature_cache(stage, path);
    if ((stage.epochs > 0) == (stage.steps > 0))
      report(path + (stage.epochs > 0 ? ".steps" : ".epochs"),
             stage.epochs > 0 ? "given together with " + path + ".epochs" : "neither epochs nor steps is given",
             "give exactly one of epochs and steps");
    const OptimizerRecipe& optimizer = stage.optimizer;
    if (optimizer.betas.size() != 2)
      report(path + ".optimizer.betas", "needs two numbers, has " + std::to_string(optimizer.betas.size()),
             "for example [0.9, 0.999]");
    if (optimizer.connector_lr > 0 && !contains(stage.train, "connector"))
      report(path + ".optimizer.connector_lr", "given, but " + path + ".train has no connector",
             "take it away, or train the connector");
    check_optimizer(optimizer, path + ".optimizer");
    check_groups_of_ranks(stage.sharding, path + ".sharding");
    check_elastic(stage.sharding, path + ".sharding");
    check_offload(stage.sharding, path + ".sharding");
    check_evaluate(stage, path);
    check_require(stage, path);
    check_keep(stage.checkpoint, path + ".checkpoint");
  }

  void check_keep(const CheckpointRecipe& checkpoint, const std::string& path) {
    if (!checkpoint.keep) return;
    const KeepRecipe& keep = *checkpoint.keep;
    const std::string here = path + ".keep";
    if (keep.last == 0 && keep.best == 0 && keep.every == 0 && keep.max_age.empty() && keep.max_bytes.empty())
      report(here, "says nothing", "for example {last: 3}; leave it out to keep all");
    if (!keep.max_age.empty() && !parse_duration_ms(keep.max_age))
      report(here + ".max_age", "'" + keep.max_age + "' is not a time", "for example 12h or 7d");
    if (!keep.max_bytes.empty() && !parse_bytes(keep.max_bytes))
      report(here + ".max_bytes", "'" + keep.max_bytes + "' is not a size", "for example 500MB, 50GB or 2GiB");
    if (keep.every > 0 && checkpoint.every_steps > 0 && keep.every % checkpoint.every_steps != 0)
      report(here + ".every",
             std::to_string(keep.every) + " is not a multiple of " + path + ".every_steps (" +
                 std::to_string(checkpoint.every_steps) + "), so few checkpoints would have such a step",
             "use " + std::to_string(rounded_up(keep.every, checkpoint.every_steps)));
  }

  void check_optimizer(const OptimizerRecipe& optimizer, const std::string& path) {
    const OptimizerRecipe defaults;
    const auto only = [&](bool given, const char* field, const char* kind) {
      if (given && optimizer.kind != kind)
        report(path + "." + field, "means nothing with " + path + ".kind " + optimizer.kind,
               std::string("only with ") + kind);
    };
    only(optimizer.betas != defaults.betas, "betas", "adamw");
    only(optimizer.eps != defaults.eps, "eps", "adamw");
    only(optimizer.momentum != 0, "momentum", "sgd");
    only(optimizer.nesterov, "nesterov", "sgd");
    if (optimizer.kind == "sgd" && optimizer.nesterov && optimizer.momentum == 0)
      report(path + ".nesterov", "given, but " + path + ".momentum is 0", "for example momentum: 0.9");
  }

  void check_groups_of_ranks(const ShardingRecipe& sharding, const std::string& path) {
    const int64_t size = sharding.group_ranks, ranks = recipe_.gang.ranks;
    if (size == 0) return;
    if (sharding.shard == "none")
      report(path + ".group_ranks", "given, but " + path + ".shard is none: every rank has a copy of its own",
             "take it away, or shard something");
    else if (size == 1)
      report(path + ".group_ranks", "1 would give every rank a copy of its own", "write shard: none");
    else if (!std::has_single_bit(static_cast<uint64_t>(size)) || ranks % size != 0)
      report(path + ".group_ranks",
             std::to_string(size) + " is not a power of two that divides gang.ranks (" + std::to_string(ranks) + ")",
             "use " +
                 std::to_string(std::min(std::bit_floor(static_cast<uint64_t>(size)),
                                         std::bit_floor(static_cast<uint64_t>(ranks)))) +
                 ", or 0 for all ranks");
    else if (recipe_.gang.ranks_min > 0 && recipe_.gang.ranks_min < size)
      report("gang.ranks_min",
             std::to_string(recipe_.gang.ranks_min) + " is less than " + path + ".group_ranks (" +
                 std::to_string(size) + "), of which a gang has whole groups",
             "use at least " + std::to_string(size) + ", or smaller groups");
  }

  // Other bits at another number of ranks: such a stage is not elastic.
  void check_elastic(const ShardingRecipe& sharding, const std::string& path) {
    const GangRecipe& gang = recipe_.gang;
    if (sharding.reduction != "fast" || gang.ranks_min == 0 || gang.ranks_min == gang.ranks) return;
    report("gang.ranks_min",
           "given, but " + path + ".reduction is fast, whose bits are others at another number of ranks",
           "write reduction: tree, or take ranks_min away");
  }

  void check_feature_cache(const StageRecipe& stage, const std::string& path) {
    if (stage.feature_cache.empty()) return;
    if (stage.kind != "train")
      report(path + ".feature_cache", "means nothing with " + path + ".kind " + stage.kind,
             "only with train, where the vision tower is frozen");
    else if (stage.feature_cache_bytes() == 0)
      report(path + ".feature_cache", "'" + stage.feature_cache + "' is not a size", "for example 512MiB or 4GB");
  }

  void check_offload(const ShardingRecipe& sharding, const std::string& path) {
    if (sharding.offload == "parameters" && sharding.shard != "parameters")
      report(path + ".offload",
             "parameters, but with " + path + ".shard " + sharding.shard + " units stay gathered on the device",
             "write shard: parameters, or offload: optimizer");
  }

  void check_stage_names(size_t index, const std::string& path) {
    const StageRecipe& stage = recipe_.stages[index];
    if (stage.name == "base" || stage.name == "previous")
      report(path + ".name", "'" + stage.name + "' has a meaning of its own in init", "use another name");
    std::vector<std::string> earlier;
    for (size_t i = 0; i < index; ++i) earlier.push_back(recipe_.stages[i].name);
    if (auto found = std::find(earlier.begin(), earlier.end(), stage.name); found != earlier.end())
      report(path + ".name",
             "'" + stage.name + "' is already the name of stages[" + std::to_string(found - earlier.begin()) + "]",
             "use another name");
    if (stage.init == "previous" && index == 0)
      report(path + ".init", "there is no stage before the first", "use base");
    if (stage.init.empty() || stage.init == "base" || stage.init == "previous" || contains(earlier, stage.init)) return;
    if (recipe_.find_stage(stage.init) != nullptr)
      report(path + ".init", "stage '" + stage.init + "' does not run before this one", "earlier: " + joined(earlier));
    else
      report_unknown(path + ".init", "stage", stage.init, with(earlier, {"base", "previous"}));
  }

  static std::vector<std::string> with(std::vector<std::string> names, const std::vector<std::string>& more) {
    names.insert(names.end(), more.begin(), more.end());
    return names;
  }

  void check_groups(const StageRecipe& stage, const std::string& path) {
    const std::set<std::string> unique(stage.train.begin(), stage.train.end());
    if (stage.train.empty()) report(path + ".train", "nothing learns", "name at least one group");
    if (unique.size() != stage.train.size()) report(path + ".train", "a group is named twice", "name each once");
    if (stage.kind == "train" && unique.contains("vision"))
      report(path + ".train", "the vision tower is frozen in a stage of kind train",
             "train connector or llm, or use kind: contrastive");
    if (stage.kind == "contrastive" && stage.train != std::vector<std::string>{"vision"})
      report(path + ".train", "a stage of " + path + ".kind contrastive trains the vision tower",
             "write train: [vision]");
    if (stage.kind == "language_model" && stage.train != std::vector<std::string>{"llm"})
      report(path + ".train", "a stage of " + path + ".kind language_model trains the language model",
             "write train: [llm]");
  }

  // The earlier stage whose weights stages[index] starts from; nullptr: the base, or a name that is wrong.
  const StageRecipe* init_stage(size_t index) const {
    const std::string& init = recipe_.stages[index].init;
    if (init.empty() || init == "previous") return index == 0 ? nullptr : &recipe_.stages[index - 1];
    for (size_t i = 0; i < index; ++i)
      if (recipe_.stages[i].name == init) return &recipe_.stages[i];
    return nullptr;
  }

  void check_lora(const StageRecipe& stage, const StageRecipe* from, const std::string& path) {
    const std::string here = path + ".lora";
    const bool goes_on = from != nullptr && from->lora.has_value();
    if (stage.lora.has_value()) {
      const LoraRecipe& lora = *stage.lora;
      if (stage.kind == "contrastive")
        report(here, "a stage of " + path + ".kind contrastive has no language model", "take it away");
      else if (!goes_on && !contains(stage.train, "llm"))
        report(here, "given, but " + path + ".train has no llm", "take it away, or train llm");
      if (lora.dropout != 0)
        report(here + ".dropout", "adapters are trained without dropout only", "write dropout: 0, or take it away");
      if (lora.targets.empty() && places_.contains(here + ".targets"))
        report(here + ".targets", "names no projection", "take it away: then all get adapters");
      if (std::set<std::string>(lora.targets.begin(), lora.targets.end()).size() != lora.targets.size())
        report(here + ".targets", "a projection is named twice", "name each once");
    }
    // What such a checkpoint holds is the frozen weights and the adapters, not their sum.
    if (!goes_on) return;
    const std::string theirs = to_string(resolved(*from->lora));
    const std::string ours = stage.lora.has_value() ? to_string(resolved(*stage.lora)) : "none";
    if (ours != theirs)
      report(
          here, "the stage starts from '" + from->name + "', whose lora is " + theirs + "; this one's is " + ours,
          "give both the same, or export '" + from->name + "' and start another job from that, where they are merged");
  }

  void check_data(const StageRecipe& stage, const std::string& path) {
    if (stage.data.empty())
      report(path + ".data", "there is nothing to train on", "name a dataset: [{dataset: NAME, part: PART}]");
    for (size_t i = 0; i < stage.data.size(); ++i) {
      const DataUse& use = stage.data[i];
      const std::string here = path + ".data[" + std::to_string(i) + "]";
      const DatasetRecipe* dataset = find_dataset(here + ".dataset", use.dataset);
      if (dataset == nullptr) continue;
      const auto& parts = dataset_parts(dataset->kind);
      if (!contains(parts, use.part) && !(use.part.empty() && parts.size() == 1))
        report(here + ".part",
               (use.part.empty() ? "missing; dataset '" : "'" + use.part + "' is no part of dataset '") + use.dataset +
                   "' of kind " + dataset->kind,
               parts == std::vector<std::string>{""} ? "it has no parts" : "it has " + joined(parts));
    }
  }

  const DatasetRecipe* find_dataset(const std::string& field, const std::string& name) {
    const DatasetRecipe* dataset = recipe_.find_dataset(name);
    if (dataset != nullptr) return dataset;
    std::vector<std::string> known;
    for (const auto& d : recipe_.datasets) known.push_back(d.name);
    report_unknown(field, "dataset", name, known);
    return nullptr;
  }

  void check_batches(const StageRecipe& stage, const std::string& path) {
    const std::string global = std::to_string(stage.global_batch), micro = std::to_string(stage.micro_batch);
    if (stage.global_batch % stage.micro_batch != 0)
      return report(path + ".global_batch", global + " is not a multiple of " + path + ".micro_batch (" + micro + ")",
                    "use " + std::to_string(rounded_up(stage.global_batch, stage.micro_batch)));
    const int64_t samples = stage.micro_batch * recipe_.gang.ranks;
    if (stage.global_batch % samples != 0)
      report(
          path + ".global_batch",
          global + " is not a multiple of micro_batch (" + micro + ") x gang.ranks (" +
              std::to_string(recipe_.gang.ranks) + ") = " + std::to_string(samples),
          "use " + std::to_string(rounded_up(stage.global_batch, samples)) + ", a smaller micro_batch or fewer ranks");
  }

  static int64_t rounded_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

  void check_evaluate(const StageRecipe& stage, const std::string& path) {
    std::vector<std::string> known;
    for (const auto& bench : recipe_.benches) known.push_back(bench.name);
    std::set<std::string> seen;
    for (size_t i = 0; i < stage.evaluate.size(); ++i) {
      const std::string here = path + ".evaluate[" + std::to_string(i) + "]";
      if (!contains(known, stage.evaluate[i]))
        report_unknown(here, "bench", stage.evaluate[i], known);
      else if (!seen.insert(stage.evaluate[i]).second)
        report(here, "'" + stage.evaluate[i] + "' is named twice", "name each once");
    }
    for (const auto& bench : recipe_.benches) {
      const bool asked = !places_.contains(path + ".evaluate") || contains(stage.evaluate, bench.name);
      if (asked && bench.every_steps > 0) check_every(bench, stage.checkpoint.every_steps, path);
    }
  }

  // Benches are run on checkpoints that are there anyway, so that they change neither what is written nor what is planned.
  void check_every(const BenchRecipe& bench, int64_t checkpoint_every, const std::string& stage_path) {
    const std::string path = "benches." + bench.name + ".every_steps", other = stage_path + ".checkpoint.every_steps";
    if (checkpoint_every == 0)
      report(path, "given, but " + other + " is 0: there is no checkpoint to run it on before the stage's end",
             "write the steps between checkpoints there");
    else if (bench.every_steps % checkpoint_every != 0)
      report(
          path,
          std::to_string(bench.every_steps) + " is not a multiple of " + other + " (" +
              std::to_string(checkpoint_every) + "), so there would not be a checkpoint of each such step",
          "use " + std::to_string(rounded_up(bench.every_steps, checkpoint_every)) + ", or more frequent checkpoints");
  }

  void check_require(const StageRecipe& stage, const std::string& path) {
    std::vector<std::string> asked = stage.evaluate;
    if (!places_.contains(path + ".evaluate"))
      for (const auto& bench : recipe_.benches) asked.push_back(bench.name);
    for (size_t i = 0; i < stage.require.size(); ++i) {
      const std::string here = path + ".require[" + std::to_string(i) + "]";
      const auto gate = parse_gate(stage.require[i]);
      if (!gate.ok())
        report(here, gate.status().message(), "scienceqa.avg >= previous - ci, or scienceqa.avg >= 45%");
      else if (!contains(asked, gate->bench))
        report_unknown(here, "bench of this stage", gate->bench, asked);
    }
  }

  void check_bench(const BenchRecipe& bench) {
    const std::string path = "benches." + bench.name;
    const DatasetRecipe* dataset = find_dataset(path + ".dataset", bench.dataset);
    if (dataset != nullptr) check_bench_dataset(bench, *dataset, path);
    const BenchRecipe defaults;
    refuse_if(bench.kind != "scienceqa" && bench.prompt != defaults.prompt, path, "prompt", bench, "scienceqa");
    refuse_if(bench.kind != "scienceqa" && bench.answer_rule != defaults.answer_rule, path, "answer_rule", bench,
              "scienceqa");
    refuse_if(bench.kind != "instruct" && bench.score != defaults.score, path, "score", bench, "instruct");
    const bool has_part = bench.kind == "instruct" || bench.kind == "loss",
               has_split = bench.kind == "scienceqa" || bench.kind == "vqa";
    refuse_if(!has_part && !bench.part.empty(), path, "part", bench, "instruct and loss");
    refuse_if(!has_split && !bench.split.empty(), path, "split", bench, "scienceqa and vqa");
    const bool worded = bench_has_files(bench.kind) && bench.kind != "llava_bench";
    refuse_if(!worded && !bench.instruction.empty(), path, "instruction", bench,
              "pope, mme, vqav2, textvqa and captions");
    refuse_if(bench.kind == "loss" && bench.swap_images, path, "swap_images", bench, "benches that ask questions");
    refuse_if(bench.kind != "llava_bench" && bench.judge.has_value(), path, "judge", bench, "llava_bench");
    if (bench.kind == "llava_bench") check_judge(bench, path);
  }

  void check_judge(const BenchRecipe& bench, const std::string& path) {
    if (!bench.judge)
      return report(
          path, "a bench of kind llava_bench needs a judge",
          "judge: {endpoint: https://HOST/v1, model: NAME, prompts: judge/llava_bench.json}, or endpoint: local for a smoke check");
    const JudgeRecipe& judge = *bench.judge;
    const bool local = judge.endpoint == "local";
    if (!local && !judge.endpoint.starts_with("http://") && !judge.endpoint.starts_with("https://"))
      report(path + ".judge.endpoint", "'" + judge.endpoint + "' is no address", "https://HOST/v1, or local");
    if (!local && judge.model.empty())
      report(path + ".judge.model", "missing", "the judge's name at " + judge.endpoint);
    if (judge.max_cost > 0 && judge.price_in == 0 && judge.price_out == 0)
      report(path + ".judge.max_cost", "given without prices, so no cost is known",
             "give price_in and price_out, or take it away");
  }

  // Whether benches of this kind are read from files of their own: a dataset of kind benchmark.
  static bool bench_has_files(const std::string& kind) {
    return contains({"pope", "mme", "vqav2", "textvqa", "captions", "llava_bench"}, kind);
  }

  void refuse_if(bool wrong, const std::string& path, const char* field, const BenchRecipe& bench, const char* kinds) {
    if (wrong)
      report(path + "." + field, "means nothing with " + path + ".kind " + bench.kind,
             std::string("only with ") + kinds);
  }

  void check_bench_dataset(const BenchRecipe& bench, const DatasetRecipe& dataset, const std::string& path) {
    const std::vector<std::string> datasets =
        bench.kind == "scienceqa" ? std::vector<std::string>{"scenes", "scienceqa"}
        : bench.kind == "vqa"     ? std::vector<std::string>{"easy_vqa"}
        : bench.kind == "loss"
            ? std::vector<std::string>{"scenes", "llava", "scienceqa", "easy_vqa", "shapes", "stamps"}
        : bench_has_files(bench.kind) ? std::vector<std::string>{"benchmark"}
                                      : std::vector<std::string>{"scenes", "llava", "shapes", "stamps"};
    if (!contains(datasets, dataset.kind))
      return report(path + ".dataset",
                    "'" + dataset.name + "' is of kind " + dataset.kind + ", which " + path + ".kind " + bench.kind +
                        " cannot ask",
                    "it can ask " + joined(datasets));
    if (bench_has_files(bench.kind)) {
      std::vector<std::string> needed = {"images"};
      if (bench.kind == "vqav2") needed.push_back("annotations");
      if (bench.kind == "llava_bench") needed.push_back("reference");
      for (const std::string& option : needed)
        if (!dataset.options.contains(option) || dataset.options.at(option).empty())
          report("datasets." + dataset.name + "." + option, "missing; " + path + ".kind " + bench.kind + " needs it");
    } else if (bench.kind == "instruct" || bench.kind == "loss") {
      const auto& parts = dataset_parts(dataset.kind);
      if (!bench.part.empty() && !contains(parts, bench.part))
        report(path + ".part",
               "'" + bench.part + "' is no part of dataset '" + dataset.name + "' of kind " + dataset.kind,
               parts == std::vector<std::string>{""} ? "it has no parts" : "it has " + joined(parts));
    } else if (const auto& splits = dataset_splits(dataset.kind);
               !bench.split.empty() && !contains(splits, bench.split)) {
      report(path + ".split",
             "'" + bench.split + "' is no split of dataset '" + dataset.name + "' of kind " + dataset.kind,
             "it has " + joined(splits));
    }
  }

  const Recipe& recipe_;
  const Places& places_;
  std::vector<Diagnostic>* diagnostics_;
};

}  // namespace

void check_rules(const Recipe& recipe, const Places& places, std::vector<Diagnostic>* diagnostics) {
  Rules(recipe, places, diagnostics).check();
}

void resolve(Recipe* recipe, const Places& places) {
  if (recipe->report.title.empty()) recipe->report.title = recipe->name;
  for (auto& bench : recipe->benches) {
    if (bench.kind == "scienceqa" || bench.kind == "vqa") {
      if (bench.split.empty()) bench.split = "test";
    } else if ((bench.kind == "instruct" || bench.kind == "loss") && bench.part.empty()) {
      const auto& parts = dataset_parts(recipe->find_dataset(bench.dataset)->kind);
      bench.part = contains(parts, "heldout") ? "heldout" : parts.front();
    }
  }
  for (size_t i = 0; i < recipe->stages.size(); ++i) {
    StageRecipe& stage = recipe->stages[i];
    if (stage.init.empty() || stage.init == "previous") stage.init = i == 0 ? "base" : recipe->stages[i - 1].name;
    if (stage.lora) stage.lora = resolved(*stage.lora);
    for (auto& use : stage.data)
      if (use.part.empty()) use.part = dataset_parts(recipe->find_dataset(use.dataset)->kind).front();
    if (!places.contains("stages[" + std::to_string(i) + "].evaluate"))
      for (const auto& bench : recipe->benches) stage.evaluate.push_back(bench.name);
  }
}

}  // namespace tephra::recipes
