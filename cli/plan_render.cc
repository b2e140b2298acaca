#include "cli/plan_render.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "cli/text.h"
#include "sharding/plan/unit.h"

namespace tephra::cli {
namespace {

using coordinator::PlannedStage;
using nlohmann::json;

constexpr double kHour = 3600;

std::string bytes(int64_t n) { return human_bytes(static_cast<double>(n)); }

std::string seconds(double s) {
  if (s < 0.9995) return fixed(s * 1000, s < 0.00995 ? 2 : s < 0.0995 ? 1 : 0) + " ms";
  return fixed(s, s < 9.995 ? 2 : 1) + " s";
}

double hours(const PlannedStage& plan) { return static_cast<double>(plan.steps) * plan.time->total / kHour; }
bool timed(const PlannedStage& plan) { return plan.time && plan.steps > 0; }
int64_t checkpoints(const PlannedStage& plan) { return plan.checkpoint_peak * plan.checkpoint_bytes; }
bool lets_go(const PlannedStage& plan) { return plan.checkpoint_peak < plan.checkpoint_count; }

// One row a figure, one column a stage.
class Columns {
 public:
  explicit Columns(const std::vector<PlannedStage>& stages) : stages_(stages) {
    std::vector<std::string> names{""};
    for (const PlannedStage& plan : stages) names.push_back(plan.name);
    rows_.push_back(names);
  }

  void row(const std::string& name, const std::function<std::string(const PlannedStage&)>& cell) {
    std::vector<std::string> cells{name};
    for (const PlannedStage& plan : stages_) cells.push_back(cell(plan));
    rows_.push_back(cells);
  }
  void gap() { rows_.emplace_back(); }
  bool any(bool (*holds)(const PlannedStage&)) const { return std::any_of(stages_.begin(), stages_.end(), holds); }

  std::string text() const {
    std::vector<size_t> width(stages_.size() + 1);
    for (const auto& row : rows_)
      for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
    std::string out;
    for (const auto& row : rows_) {
      std::string line;
      for (size_t i = 0; i < row.size(); ++i) {
        const std::string pad(width[i] - row[i].size(), ' ');
        line += i == 0 ? row[i] + pad : "   " + pad + row[i];
      }
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
  }

 private:
  const std::vector<PlannedStage>& stages_;
  std::vector<std::vector<std::string>> rows_;
};

std::string rate_text(double flops) {
  return flops < 1e12 ? fixed(flops / 1e9, 1) + " GFLOP/s" : fixed(flops / 1e12, 1) + " TFLOP/s";
}

bool offloads(const PlannedJob& job) {
  return std::any_of(job.stages.begin(), job.stages.end(),
                     [](const PlannedStage& plan) { return plan.estimate.memory.host > 0; });
}

std::string headline(const PlannedJob& job) {
  const auto& cluster = job.setting.cluster;
  if (!cluster) return job.name + ": per rank; for times, name the devices: --gpus 8xA100-80G";
  std::string text = job.name + " on " + to_string(*cluster) + ", " + std::string(name_of(job.setting.numbers)) +
                     " at " + rate_text(cluster->device.rate(job.setting.numbers));
  if (cluster->device.host_assumed && offloads(job))
    text += "\nhost= not given: " + fixed(cluster->device.host_bandwidth / 1e9, 0) +
            " GB/s to the host (PCIe 4.0 x16) is assumed for what is offloaded.";
  if (cluster->world_size() > sharding::kMaxWorldSize)
    text += "\nOn paper: gangs have at most " + std::to_string(sharding::kMaxWorldSize) + " ranks.";
  return text;
}

void add_memory(Columns& columns, const PlannedJob& job) {
  const auto part = [](int64_t sharding::MemoryEstimate::*member) {
    return [member](const PlannedStage& plan) { return bytes(plan.estimate.memory.*member); };
  };
  using M = sharding::MemoryEstimate;
  columns.row("longest micro-batch",
              [](const PlannedStage& p) { return human_count(static_cast<double>(p.longest.tokens)) + " tokens"; });
  columns.row("  parameters, own shard", part(&M::parameter_shards));
  columns.row("  gradients, own shard", part(&M::gradient_shards));
  columns.row("  moments, snapshot", part(&M::optimizer_shards));
  columns.row("  gathered units", part(&M::gathered_peak));
  columns.row("  whole gradients", part(&M::gradient_peak));
  columns.row("  activations", part(&M::activation_peak));
  if (columns.any([](const PlannedStage& p) { return p.feature_cache_bytes > 0; }))
    columns.row("  features of pictures", [](const PlannedStage& p) { return bytes(p.feature_cache_bytes); });
  columns.row("  runtime", [](const PlannedStage& p) { return bytes(p.runtime_bytes); });
  columns.row("memory", [](const PlannedStage& p) { return bytes(p.memory_bytes()); });
  if (offloads(job)) columns.row("  of the host, offloaded", part(&M::host));
  if (job.setting.cluster)
    columns.row("  of " + bytes(job.setting.cluster->device.memory_bytes), [&](const PlannedStage& p) {
      return fixed(100.0 * static_cast<double>(p.memory_bytes()) /
                       static_cast<double>(job.setting.cluster->device.memory_bytes),
                   0) +
             " %";
    });
}

void add_time(Columns& columns) {
  columns.row("mean micro-batch",
              [](const PlannedStage& p) { return human_count(static_cast<double>(p.mean.tokens)) + " tokens"; });
  columns.row("  compute", [](const PlannedStage& p) { return seconds(p.time->compute); });
  columns.row("  communication, exposed", [](const PlannedStage& p) { return seconds(p.time->exposed); });
  columns.row("  communication, hidden",
              [](const PlannedStage& p) { return seconds(std::max(0.0, p.time->communication - p.time->exposed)); });
  columns.row("step", [](const PlannedStage& p) { return seconds(p.time->total); });
  columns.row("tokens a second", [](const PlannedStage& p) { return human_count(p.tokens_per_step / p.time->total); });
  columns.row("steps",
              [](const PlannedStage& p) { return p.steps > 0 ? human_count(static_cast<double>(p.steps)) : "?"; });
  columns.row("hours", [](const PlannedStage& p) { return timed(p) ? fixed(hours(p), 2) : "?"; });
}

void add_disk(Columns& columns) {
  columns.row("one checkpoint", [](const PlannedStage& p) { return bytes(p.checkpoint_bytes); });
  columns.row("checkpoints", [](const PlannedStage& p) {
    return p.checkpoint_count > 0 ? human_count(static_cast<double>(p.checkpoint_count)) : "?";
  });
  if (columns.any(lets_go))
    columns.row("at one time", [](const PlannedStage& p) {
      return p.checkpoint_count > 0 ? human_count(static_cast<double>(p.checkpoint_peak)) : "?";
    });
  columns.row("on disk", [](const PlannedStage& p) { return p.checkpoint_count > 0 ? bytes(checkpoints(p)) : "?"; });
}

std::string totals(const PlannedJob& job) {
  int64_t disk = job.base_bytes;
  double hours_of_all = 0;
  bool known = true, times = true;
  const bool some_go = std::any_of(job.stages.begin(), job.stages.end(), lets_go);
  for (const PlannedStage& plan : job.stages) {
    disk += checkpoints(plan);
    known = known && plan.checkpoint_count > 0;
    times = times && timed(plan);
    if (times) hours_of_all += hours(plan);
  }
  std::string text =
      "\nDisk: " + bytes(job.base_bytes) + " of frozen base model, once" +
      (known
           ? (some_go ? ", and the checkpoints that are there at one time: " : ", and all checkpoints: ") + bytes(disk)
           : "") +
      ".";
  if (times) text += " Time: " + fixed(hours_of_all, 1) + " h, evaluation apart.";
  if (!known) text += "\nA dataset's size is not known (?): --data NAME=SAMPLES,tokens=MEAN says it.";
  return text + "\n";
}

}  // namespace

std::string to_text(const PlannedJob& job) {
  std::string out = headline(job) + "\n";
  for (const PlannedStage& plan : job.stages) {
    out += "  " + plan.name + ": " + sharding::to_string(plan.policy);
    out += (plan.prefetch_reason.empty() ? "" : " (auto: " + plan.prefetch_reason + ")") + "\n";
  }
  out += "\n";
  Columns columns(job.stages);
  add_memory(columns, job);
  columns.gap();
  if (job.setting.cluster) {
    add_time(columns);
  } else {
    columns.row("GFLOP a step", [](const PlannedStage& p) {
      const double gflop = 2 * p.estimate.macs / 1e9;
      return gflop < 1000 ? fixed(gflop, 1) : human_count(gflop);
    });
  }
  columns.gap();
  add_disk(columns);
  out += columns.text() + totals(job);
  for (const auto& misfit : job.misfits)
    if (misfit) out += "\n" + *misfit + "\n";
  return out;
}

json to_json(const PlannedJob& job) {
  json document = json::array();
  for (size_t i = 0; i < job.stages.size(); ++i) {
    const PlannedStage& plan = job.stages[i];
    const sharding::MemoryEstimate& m = plan.estimate.memory;
    json stage = {{"stage", plan.name},
                  {"ranks", plan.policy.world_size},
                  {"sharding", sharding::to_string(plan.policy)},
                  {"devices", nullptr},
                  {"numbers", name_of(job.setting.numbers)},
                  {"longest_micro_batch_tokens", plan.longest.tokens},
                  {"memory_bytes_per_rank", plan.memory_bytes()},
                  {"parameter_shard_bytes", m.parameter_shards},
                  {"gradient_shard_bytes", m.gradient_shards},
                  {"optimizer_shard_bytes", m.optimizer_shards},
                  {"gathered_peak_bytes", m.gathered_peak},
                  {"gradient_peak_bytes", m.gradient_peak},
                  {"activation_peak_bytes", m.activation_peak},
                  {"runtime_bytes", plan.runtime_bytes},
                  {"feature_cache_bytes", plan.feature_cache_bytes},
                  {"prefetch", plan.policy.prefetch},
                  {"prefetch_reason", nullptr},
                  {"host_bytes", m.host},
                  {"fits", !job.misfits[i].has_value()},
                  {"advice", nullptr},
                  {"macs_per_step_and_rank", plan.estimate.macs},
                  {"gathered_bytes_per_step_and_rank", plan.estimate.gathered_bytes},
                  {"reduced_bytes_per_step_and_rank", plan.estimate.reduced_bytes},
                  {"mean_micro_batch_tokens", plan.mean.tokens},
                  {"tokens_per_step", plan.tokens_per_step},
                  {"checkpoint_bytes", plan.checkpoint_bytes},
                  {"base_bytes", job.base_bytes}};
    if (job.misfits[i]) stage["advice"] = *job.misfits[i];
    if (!plan.prefetch_reason.empty()) stage["prefetch_reason"] = plan.prefetch_reason;
    for (const char* key :
         {"device_memory_bytes", "step_seconds", "compute_seconds", "communication_seconds",
          "exposed_communication_seconds", "transfer_seconds", "exposed_transfer_seconds", "tokens_per_second",
          "samples", "steps", "hours", "checkpoints", "checkpoints_peak", "checkpoints_bytes"})
      stage[key] = nullptr;
    if (job.setting.cluster) {
      stage["devices"] = to_string(*job.setting.cluster);
      stage["device_memory_bytes"] = job.setting.cluster->device.memory_bytes;
    }
    if (plan.time) {
      stage["step_seconds"] = plan.time->total;
      stage["compute_seconds"] = plan.time->compute;
      stage["communication_seconds"] = plan.time->communication;
      stage["exposed_communication_seconds"] = plan.time->exposed;
      stage["transfer_seconds"] = plan.time->transfer;
      stage["exposed_transfer_seconds"] = plan.time->exposed_transfer;
      stage["tokens_per_second"] = plan.tokens_per_step / plan.time->total;
    }
    if (plan.samples > 0) stage["samples"] = plan.samples;
    if (plan.steps > 0) {
      stage["steps"] = plan.steps;
      stage["checkpoints"] = plan.checkpoint_count;
      stage["checkpoints_peak"] = plan.checkpoint_peak;
      stage["checkpoints_bytes"] = checkpoints(plan);
    }
    if (timed(plan)) stage["hours"] = hours(plan);
    document.push_back(stage);
  }
  return document;
}

}  // namespace tephra::cli
