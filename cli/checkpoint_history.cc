// ckpt log and diff: where a checkpoint comes from, and what makes it another than another.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/checkpoint_verbs.h"
#include "cli/text.h"
#include "coordinator/job_files.h"
#include "recipes/difference.h"
#include "recipes/recipe.h"
#include "storage/checkpoint_diff.h"
#include "storage/index/history.h"

namespace tephra::cli {
namespace {
using nlohmann::json;
using storage::TensorDifference;

struct Options {
  ReadOptions read;
  std::string name, other;
  bool all = false, moments = false;
};

// --- log

// A checkpoint and what is known of how it was made and how it did.
struct Made {
  storage::HistoryEntry entry;
  std::vector<std::string> tags;
  std::string recipe;                                            // one line: name, what is trained, how long
  std::vector<recipes::FieldDifference> changes;                 // from the parent's recipe
  std::map<std::string, std::map<std::string, double>> benches;  // metrics by bench, of a stage's last checkpoint
  std::string report;                                            // path; empty: none
  bool fork = false;                                             // of another job's checkpoint
};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

std::string recipe_line(const recipes::Recipe& recipe, const recipes::StageRecipe& stage) {
  std::string text = recipe.name + ": " + stage.kind + " of " + joined(stage.train);
  if (stage.lora) text += " by lora of " + recipes::to_string(*stage.lora);
  text += stage.steps > 0 ? ", " + human_count(static_cast<double>(stage.steps)) + " steps"
                          : ", " + std::to_string(stage.epochs) + (stage.epochs == 1 ? " epoch" : " epochs");
  return text + " of " + std::to_string(stage.global_batch) + ", lr " + short_number(stage.optimizer.lr) +
         ", template " + stage.template_name + ", seed " + std::to_string(recipe.seed);
}

void add_evaluation(const std::string& store, const recipes::StageRecipe& stage, const storage::Manifest& header,
                    Made* made) {
  const coordinator::JobFiles files(coordinator::job_directory(store, header.job));
  if (Env::posix().exists(files.report_path())) made->report = files.report_path();
  if (!header.stage_complete) return;  // benches ask a stage's last checkpoint
  for (const std::string& bench : stage.evaluate) {
    const auto text = read_file(Env::posix(), files.result_path(header.stage, bench));
    if (!text.ok()) continue;
    const auto result = eval::from_json(*text);
    if (result.ok()) made->benches[bench] = result->metrics;
  }
}

Result<std::vector<Made>> read_history(const Options& o) {
  TEPHRA_ASSIGN_OR_RETURN(const auto store, open_to_read(o.read.store));
  TEPHRA_ASSIGN_OR_RETURN(const auto entries, storage::history(*store, o.name));
  TEPHRA_ASSIGN_OR_RETURN(const auto tags, store->tags());
  std::vector<Made> all;
  for (size_t i = 0; i < entries.size(); ++i) {
    Made made;
    made.entry = entries[i];
    for (const auto& [tag, target] : tags)
      if (target == made.entry.name) made.tags.push_back(tag);
    if (made.entry.header) {
      const storage::Manifest& header = *made.entry.header;
      const auto recipe = recipes::from_json(header.recipe_json);
      const recipes::StageRecipe* stage = recipe.ok() ? recipe->find_stage(header.stage) : nullptr;
      if (stage != nullptr) {
        made.recipe = recipe_line(*recipe, *stage);
        add_evaluation(o.read.store, *stage, header, &made);
      }
      const bool other_job = !header.parent.starts_with(header.job + "/") && !header.parent.starts_with("base/");
      made.fork = !header.parent.empty() && other_job;
      const storage::Manifest* parent =
          i + 1 < entries.size() && entries[i + 1].header ? &*entries[i + 1].header : nullptr;
      if (parent != nullptr && !parent->recipe_json.empty() && stage != nullptr)
        made.changes = recipes::differences(parent->recipe_json, header.recipe_json);
    }
    all.push_back(std::move(made));
  }
  return all;
}

json to_json(const Made& made) {
  json out = made.entry.header ? describe(*made.entry.header) : json{{"name", made.entry.name}};
  out["removed"] = !made.entry.header;
  out["tags"] = made.tags;
  out["recipe"] = made.recipe;
  out["fork"] = made.fork;
  out["report"] = made.report;
  out["benches"] = made.benches;
  out["recipe_changes"] = json::array();
  for (const auto& c : made.changes)
    out["recipe_changes"].push_back({{"field", c.field}, {"before", c.before}, {"after", c.after}});
  return out;
}

std::string shortened(const std::string& value) { return value.size() <= 60 ? value : value.substr(0, 57) + "..."; }

std::string bench_line(const std::map<std::string, double>& metrics) {
  std::string text;
  for (const char* name : {"accuracy", "accuracy_swapped", "token_f1", "guess_level"})
    if (const auto found = metrics.find(name); found != metrics.end())
      text += (text.empty() ? "" : ", ") + std::string(name) + " " + fixed(100 * found->second, 1) + " %";
  return text;
}

void print(const Made& made, bool last) {
  const std::string bar = last ? "   " : paint("│", Colour::kDim) + "  ";
  const auto line = [&](const std::string& key, const std::string& value) {
    if (!value.empty())
      std::printf("%s%s %s\n", bar.c_str(),
                  paint(key + std::string(10 - std::min<size_t>(10, key.size()), ' '), Colour::kDim).c_str(),
                  value.c_str());
  };
  std::string title = paint(made.entry.name, Colour::kBold);
  if (!made.entry.header) {
    std::printf("%s %s  %s\n", paint("○", Colour::kDim).c_str(), title.c_str(), "removed from the store since");
    return;
  }
  const storage::Manifest& m = *made.entry.header;
  title += "  " + age(m.created_unix_ms);
  if (m.job == "base") title += "  an imported model";
  if (m.stage_complete && m.job != "base") title += "  " + paint("stage complete", Colour::kGreen);
  if (!made.tags.empty()) title += "  " + paint(joined(made.tags), Colour::kYellow);
  std::printf("%s %s\n", paint("●", Colour::kCyan).c_str(), title.c_str());
  line("recipe", made.recipe);
  if (made.fork) line("fork", "of " + m.parent);
  for (const auto& c : made.changes) {
    const bool first = &c == &made.changes.front();
    line(first ? "changed" : "", c.field + ": " + shortened(c.before) + " → " + shortened(c.after));
  }
  std::string metrics;
  for (const auto& [name, value] : m.metrics)
    metrics += (metrics.empty() ? "" : ", ") + name + " " + short_number(value);
  line("metrics", metrics);
  for (const auto& [bench, values] : made.benches) line("bench", bench + ": " + bench_line(values));
  const auto data = m.handover.find("data");
  line("data", data == m.handover.end() ? ""
                                        : data->second.substr(0, 12) + ", sampler position " +
                                              human_count(static_cast<double>(m.sampler_position)));
  line("content", m.content_hash.hex().substr(0, 12) + ", " + human_bytes(static_cast<double>(m.logical_bytes)) +
                      " whole, " + human_bytes(static_cast<double>(m.new_bytes)) + " written");
  line("build", m.build.empty() ? "" : m.build + ", attempt " + std::to_string(m.attempt));
  line("report", made.report);
}

int log(const Options& o) {
  const auto all = read_history(o);
  if (!all.ok()) return fail(all.status());
  if (o.read.json) {
    json document = json::array();
    for (const Made& made : *all) document.push_back(to_json(made));
    std::printf("%s\n", document.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return kOk;
  }
  for (const Made& made : *all) {
    const bool last = &made == &all->back();
    print(made, last);
    if (!last) std::printf("%s\n", paint("│", Colour::kDim).c_str());
  }
  return kOk;
}

// --- diff

struct Comparison {
  storage::Manifest a, b;  // without tensors
  std::vector<TensorDifference> tensors;
  std::vector<recipes::FieldDifference> recipe, handover;
  uint64_t bytes_read = 0;  // of each side
  bool equal() const {
    return std::all_of(tensors.begin(), tensors.end(),
                       [](const TensorDifference& d) { return d.how == TensorDifference::How::kEqual; });
  }
  int64_t count(TensorDifference::How how) const {
    return std::count_if(tensors.begin(), tensors.end(), [how](const TensorDifference& d) { return d.how == how; });
  }
};

std::vector<recipes::FieldDifference> handover_changes(const storage::Manifest& a, const storage::Manifest& b) {
  return recipes::differences(json(a.handover).dump(-1, ' ', false, json::error_handler_t::replace),
                              json(b.handover).dump(-1, ' ', false, json::error_handler_t::replace));
}

Result<Comparison> compare(const Options& o) {
  TEPHRA_ASSIGN_OR_RETURN(const auto store, open_to_read(o.read.store));
  TEPHRA_ASSIGN_OR_RETURN(const auto a, store->reader(o.name));
  TEPHRA_ASSIGN_OR_RETURN(const auto b, store->reader(o.other));
  Comparison out;
  storage::DiffOptions options;
  options.moments = o.moments;
  const bool bar = !o.read.json && is_terminal(2);
  options.progress = [&](uint64_t done, uint64_t total) {
    out.bytes_read = done;
    if (bar)
      std::fprintf(stderr, "\r\033[Kcomparing %s of %s", human_bytes(static_cast<double>(done)).c_str(),
                   human_bytes(static_cast<double>(total)).c_str());
  };
  auto found = storage::diff(*a, *b, options);
  if (bar) std::fprintf(stderr, "\r\033[K");
  if (!found.ok()) return found.status();
  out.tensors = std::move(*found);
  out.a = a->manifest();
  out.b = b->manifest();
  out.recipe = recipes::differences(out.a.recipe_json, out.b.recipe_json);
  out.handover = handover_changes(out.a, out.b);
  return out;
}

const char* how_name(TensorDifference::How how) {
  switch (how) {
    case TensorDifference::How::kEqual: return "equal";
    case TensorDifference::How::kValues: return "differs";
    case TensorDifference::How::kType: return "other type";
    case TensorDifference::How::kOnlyInA: return "only in the first";
    case TensorDifference::How::kOnlyInB: return "only in the second";
  }
  return "?";
}

json number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json to_json(const TensorDifference& d) {
  using How = TensorDifference::How;
  json out = {{"name", d.name}, {"kind", storage::state_kind_name(d.kind)}, {"difference", how_name(d.how)}};
  if (d.how != How::kOnlyInB) out["a"] = {{"dtype", dtype_name(d.dtype_a)}, {"shape", d.shape_a}};
  if (d.how != How::kOnlyInA) out["b"] = {{"dtype", dtype_name(d.dtype_b)}, {"shape", d.shape_b}};
  if (d.how == How::kValues) {
    out["l2"] = number(d.l2);
    out["relative"] = number(d.relative);
    out["max_abs"] = number(d.max_abs);
  }
  return out;
}

json to_json(const std::vector<recipes::FieldDifference>& fields) {
  json out = json::array();
  for (const auto& f : fields) out.push_back({{"field", f.field}, {"a", f.before}, {"b", f.after}});
  return out;
}

void print_tensors(const Comparison& c, bool all) {
  using How = TensorDifference::How;
  std::vector<std::vector<std::string>> rows;
  for (const TensorDifference& d : c.tensors) {
    if (d.how == How::kEqual && !all) continue;
    const bool values = d.how == How::kValues;
    std::string what = how_name(d.how);
    if (d.how == How::kType)
      what = std::string(dtype_name(d.dtype_a)) + " " + tephra::to_string(d.shape_a) + " → " +
             std::string(dtype_name(d.dtype_b)) + " " + tephra::to_string(d.shape_b);
    std::vector<std::string> row{d.name, values ? short_number(d.l2) : "", values ? short_number(d.relative) : "",
                                 values ? short_number(d.max_abs) : "", what};
    if (d.kind != storage::StateKind::kParameter)
      row.front() += " (" + std::string(storage::state_kind_name(d.kind)) + ")";
    rows.push_back(std::move(row));
  }
  if (!rows.empty()) std::printf("\n%s", table({"tensor", "norm", "relative", "largest", ""}, rows).c_str());
}

void print_fields(const char* title, const std::vector<recipes::FieldDifference>& fields) {
  if (fields.empty()) return;
  std::printf("\n%s\n", paint(title, Colour::kBold).c_str());
  for (const auto& f : fields)
    std::printf("  %s: %s → %s\n", f.field.c_str(), shortened(f.before).c_str(), shortened(f.after).c_str());
}

int diff(const Options& o) {
  using How = TensorDifference::How;
  const auto compared = compare(o);
  if (!compared.ok()) return fail(compared.status());
  const Comparison& c = *compared;
  if (o.read.json) {
    json tensors = json::array();
    for (const TensorDifference& d : c.tensors)
      if (o.all || d.how != How::kEqual) tensors.push_back(to_json(d));
    const json document = {{"a", c.a.name()},
                           {"b", c.b.name()},
                           {"equal", c.equal()},
                           {"equal_tensors", c.count(How::kEqual)},
                           {"tensors", tensors},
                           {"recipe", to_json(c.recipe)},
                           {"handover", to_json(c.handover)},
                           {"bytes_read", c.bytes_read}};
    std::printf("%s\n", document.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return kOk;
  }
  std::printf("%s → %s\n", paint(c.a.name(), Colour::kBold).c_str(), paint(c.b.name(), Colour::kBold).c_str());
  std::string counts = std::to_string(c.count(How::kEqual)) + " tensors equal";
  for (How how : {How::kValues, How::kType, How::kOnlyInA, How::kOnlyInB})
    if (c.count(how) > 0)
      counts += ", " + std::to_string(c.count(how)) + " " +
                (how == How::kValues ? "differ"
                 : how == How::kType ? "of another type"
                                     : how_name(how));
  std::printf("%s; %s of each were read\n", counts.c_str(), human_bytes(static_cast<double>(c.bytes_read)).c_str());
  print_tensors(c, o.all);
  print_fields("recipe", c.recipe);
  print_fields("hand-over", c.handover);
  return kOk;
}

}  // namespace

void add_checkpoint_history(Verbs& verbs, CLI::App& group) {
  auto o = std::make_shared<Options>();
  add_read_verb(verbs, group, "log", "Where a checkpoint comes from: its parents, their recipes, data and results",
                "tephra ckpt log demo-1/instruct@latest", &o->read, [o] { return log(*o); })
      ->add_option("CHECKPOINT", o->name)
      ->required();
  auto* verb =
      add_read_verb(verbs, group, "diff", "What differs between two checkpoints: tensors, recipe, hand-over",
                    "tephra ckpt diff demo-1/align@latest demo-1/instruct@latest\n"
                    "norm is of second minus first, relative is over the first's norm, largest is of one value.",
                    &o->read, [o] { return diff(*o); });
  verb->add_option("FIRST", o->name)->required();
  verb->add_option("SECOND", o->other)->required();
  verb->add_flag("--all", o->all, "list equal tensors too");
  verb->add_flag("--moments", o->moments, "compare the optimizer's moments too");
}

}  // namespace tephra::cli
