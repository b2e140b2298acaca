#include "recipes/recipe.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <tuple>

#include "base/env.h"
#include "recipes/number_text.h"
#include "recipes/quantity.h"
#include "recipes/reader.h"
#include "recipes/schema.h"

namespace tephra::recipes {
namespace {

constexpr uint64_t kRecipeSizeBytesMax = 1 << 20;

template <class T>
const T* find_named(const std::vector<T>& items, const std::string& name) {
  auto found = std::find_if(items.begin(), items.end(), [&](const T& item) { return item.name == name; });
  return found == items.end() ? nullptr : &*found;
}

LoadResult finish(const Node& root, const std::string& folder, std::vector<Diagnostic> diagnostics) {
  LoadResult result;
  result.diagnostics = std::move(diagnostics);
  if (!result.ok()) return result;
  Places places;
  places[""] = root.place;
  result.recipe = read_recipe(root, folder, &places, &result.diagnostics);
  if (result.ok()) check_rules(result.recipe, places, &result.diagnostics);
  if (result.ok()) resolve(&result.recipe, places);
  // In the order of the file, overrides last.
  std::stable_sort(result.diagnostics.begin(), result.diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::tuple(a.line == 0, a.line, a.column) < std::tuple(b.line == 0, b.line, b.column);
  });
  return result;
}

// A visitor of schema.h's table: every field, in its order.
class Writer {
 public:
  nlohmann::ordered_json object = nlohmann::ordered_json::object();

  template <class T>
  void field(const char* name, T& member, const Field&) {
    object[name] = member;
  }
  template <class S>
  void group(const char* name, S& member, const char*) {
    object[name] = written(member);
  }
  template <class S>
  void group(const char* name, std::optional<S>& member, const char*) {
    if (member) object[name] = written(*member);
  }
  template <class S>
  void list(const char* name, std::vector<S>& members, const char*) {
    object[name] = nlohmann::ordered_json::array();
    for (auto& member : members) object[name].push_back(written(member));
  }
  template <class S>
  void named(const char* name, std::vector<S>& members, const char*) {
    object[name] = nlohmann::ordered_json::object();
    for (auto& member : members) object[name][member.name] = written(member);
  }
  void options(const std::string& kind, std::map<std::string, std::string>& values) {
    for (const auto& option : dataset_options(kind)) {
      const auto value = values.find(option.name);
      if (value == values.end()) continue;
      if (option.type == DatasetOption::Type::kInteger)
        object[option.name] = std::stoll(value->second);
      else
        object[option.name] = value->second;
    }
  }

 private:
  template <class S>
  static nlohmann::ordered_json written(S& member) {
    Writer writer;
    describe(writer, member);
    return std::move(writer.object);
  }
};

}  // namespace

std::map<std::string, DType> PrecisionRecipe::by_group() const {
  std::map<std::string, DType> out;
  for (const auto& [group, name] : {std::pair{"vision", vision}, {"connector", connector}, {"llm", llm}})
    out[group] = parse_float_dtype(name).value();
  return out;
}

std::optional<int> ShardingRecipe::recompute_every() const {
  if (recompute == "none") return 0;
  if (recompute == "all") return 1;
  const auto every = parse_number<int>(recompute);
  return every && *every >= 1 ? every : std::nullopt;
}

std::optional<int> ShardingRecipe::prefetch_depth() const {
  if (prefetch == "auto") return 1;
  const auto depth = parse_number<int>(prefetch);
  return depth && *depth >= 0 && *depth <= 64 ? depth : std::nullopt;
}

int64_t StageRecipe::feature_cache_bytes() const {
  return static_cast<int64_t>(parse_bytes(feature_cache).value_or(0));
}

std::string to_string(const LoraRecipe& lora) {
  std::string text = "rank " + std::to_string(lora.rank) + ", alpha " + number_text(lora.alpha) + ", targets ";
  for (const std::string& target : lora.targets) text += (&target == &lora.targets.front() ? "" : ", ") + target;
  return text;
}

std::string DatasetRecipe::option(const std::string& key, const std::string& fallback) const {
  const auto found = options.find(key);
  return found == options.end() ? fallback : found->second;
}

const DatasetRecipe* Recipe::find_dataset(const std::string& dataset) const { return find_named(datasets, dataset); }
int64_t StageRecipe::total_steps(int64_t samples) const {
  if (steps > 0) return steps;
  return samples > 0 ? std::max<int64_t>(1, epochs * samples / global_batch) : 0;
}

const StageRecipe* Recipe::find_stage(const std::string& stage) const { return find_named(stages, stage); }
int OptimizerRecipe::moments() const {
  if (kind == "adamw") return 2;
  return momentum != 0 ? 1 : 0;
}

const BenchRecipe* Recipe::find_bench(const std::string& bench) const { return find_named(benches, bench); }

std::map<std::string, int64_t> Recipe::benches_during(const StageRecipe& stage) const {
  std::map<std::string, int64_t> during;
  for (const std::string& name : stage.evaluate)
    if (const BenchRecipe* bench = find_bench(name); bench != nullptr && bench->every_steps > 0)
      during[name] = bench->every_steps;
  return during;
}

bool bench_runs_at(const std::map<std::string, int64_t>& during, int64_t step) {
  return step > 0 &&
         std::any_of(during.begin(), during.end(), [&](const auto& every) { return step % every.second == 0; });
}

LoadResult load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  const auto fail = [&](std::string message, std::string hint) {
    return LoadResult{{}, {{path, 0, 0, "", std::move(message), std::move(hint)}}};
  };
  if (!Env::posix().exists(path))
    return fail("there is no such file", "name a recipe, a YAML file as recipes/demo.yaml is");
  auto file = Env::posix().open(path);
  if (!file.ok()) return fail("cannot be read: " + file.status().message(), "");
  const uint64_t size_bytes = (*file)->size_bytes();
  if (size_bytes > kRecipeSizeBytesMax)
    return fail("has " + std::to_string(size_bytes) + " bytes, a recipe may have 1048576", "is it a recipe?");
  std::string text(size_bytes, '\0');
  if (Status s = (*file)->read_at(0, std::as_writable_bytes(std::span(text))); !s.ok())
    return fail("cannot be read: " + s.message(), "");
  return parse_recipe(text, path, overrides);
}

LoadResult parse_recipe(const std::string& text, const std::string& file, const std::vector<std::string>& overrides) {
  std::vector<Diagnostic> diagnostics;
  if (text.size() > kRecipeSizeBytesMax || text.find('\0') != std::string::npos) {
    diagnostics.push_back({file, 0, 0, "", "is not a text of at most 1048576 bytes", "is it a recipe?"});
    return finish({}, "", std::move(diagnostics));
  }
  Node root = parse_yaml(text, file, &diagnostics);
  if (diagnostics.empty() && root.kind == Node::Kind::kNull)
    diagnostics.push_back({file, 0, 0, "", "is empty", "docs/recipes.md shows a small recipe"});
  if (diagnostics.empty())
    for (const auto& text_of_override : overrides) apply_override(text_of_override, &root, &diagnostics);
  std::error_code error;
  const auto folder = std::filesystem::absolute(file, error).lexically_normal().parent_path().string();
  return finish(root, folder, std::move(diagnostics));
}

std::string to_json(const Recipe& recipe) {
  Recipe copy = recipe;  // the table is walked on a mutable struct
  Writer writer;
  describe(writer, copy);
  return writer.object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

Result<Recipe> from_json(const std::string& text) {
  std::vector<Diagnostic> diagnostics;
  Node root = parse_json(text, "recipe", &diagnostics);
  LoadResult loaded = finish(root, "/", std::move(diagnostics));
  if (!loaded.ok()) return Status(Code::kInvalidArgument, to_string(loaded.diagnostics));
  return std::move(loaded.recipe);
}

Hash128 hash(const Recipe& recipe) { return hash_text(to_json(recipe)); }

std::vector<int64_t> GangRecipe::permitted_ranks() const {
  std::vector<int64_t> permitted;
  const int64_t least = ranks_min > 0 ? ranks_min : ranks;
  for (int64_t n = ranks; n >= least; n /= 2) permitted.push_back(n);
  return permitted;
}

bool continues(const Recipe& a, const Recipe& b) {
  const auto what_counts = [](Recipe recipe) {
    const bool any_order = std::any_of(recipe.stages.begin(), recipe.stages.end(),
                                       [](const StageRecipe& s) { return s.sharding.reduction == "fast"; });
    GangRecipe gang;
    gang.threads_per_rank = recipe.gang.threads_per_rank;
    if (any_order) gang.ranks = recipe.gang.ranks;
    recipe.gang = gang;
    recipe.queue = {};
    for (StageRecipe& stage : recipe.stages) {
      if (!any_order) stage.sharding = {};
      stage.feature_cache.clear();
      stage.checkpoint.best.reset();
      stage.checkpoint.keep.reset();
    }
    return to_json(recipe);
  };
  return what_counts(a) == what_counts(b);
}

}  // namespace tephra::recipes
