// Which knob would make a stage fit. Each candidate is planned anew with its knobs turned, so that the advice is a plan
// too.
#include <algorithm>
#include <iterator>

#include "base/text.h"
#include "coordinator/planner.h"
#include "model/spec/units.h"

namespace tephra::coordinator {
namespace {

using recipes::Recipe;
using recipes::StageRecipe;

constexpr const char* kLevels[] = {"none", "optimizer", "gradients", "parameters"};
constexpr int64_t kAdvisedLoraRank = 128;  // LLaVA's own
constexpr int kMostRanks = 1024;

std::string size(int64_t bytes) { return human_bytes(static_cast<double>(bytes)); }

struct Candidate {
  Recipe recipe;
  StageRecipe stage;
  PlanSetting setting;
  std::vector<std::string> turned;  // knobs, as a recipe writes them

  std::string words() const {
    std::string text;
    for (size_t i = 0; i < turned.size(); ++i)
      text += (i == 0 ? "" : i + 1 == turned.size() ? " and " : ", ") + turned[i];
    return text;
  }
};
using Candidates = std::vector<Candidate>;

// Each function gives the candidates that turn one more knob of `from`, the least turned first; none where the knob is
// at its end or means nothing.
Candidates higher_levels(const Candidate& from) {
  Candidates out;
  const auto level = std::find(std::begin(kLevels), std::end(kLevels), from.stage.sharding.shard);
  for (auto next = level + 1; next < std::end(kLevels); ++next) {
    Candidate& c = out.emplace_back(from);
    c.stage.sharding.shard = *next;
    c.turned.push_back(std::string("sharding.shard: ") + *next);
  }
  if (level + 1 == std::end(kLevels) && !from.stage.sharding.reshard_after_forward) {
    Candidate& c = out.emplace_back(from);
    c.stage.sharding.reshard_after_forward = true;
    c.turned.emplace_back("sharding.reshard_after_forward: true");
  }
  return out;
}

Candidates recomputing(const Candidate& from) {
  if (from.stage.sharding.recompute == "all") return {};
  Candidates out{from};
  out[0].stage.sharding.recompute = "all";
  out[0].turned.emplace_back("sharding.recompute: all");
  return out;
}

Candidates offloading(const Candidate& from) {
  Candidates out;
  const auto add = [&](const char* what) {
    Candidate& c = out.emplace_back(from);
    c.stage.sharding.offload = what;
    c.turned.push_back(std::string("sharding.offload: ") + what);
  };
  if (from.stage.sharding.offload == "none" && from.stage.optimizer.moments() > 0) add("optimizer");
  if (from.stage.sharding.offload == "parameters") return out;
  add("parameters");
  if (from.stage.sharding.shard != "parameters") {
    out.back().stage.sharding.shard = "parameters";
    out.back().turned.emplace_back("shard: parameters");
  }
  return out;
}

Candidates smaller_micro_batches(const Candidate& from) {
  Candidates out;
  for (int64_t micro = from.stage.micro_batch; micro % 2 == 0;) {
    micro /= 2;
    Candidate& c = out.emplace_back(from);
    c.stage.micro_batch = micro;
    c.turned.push_back("micro_batch: " + std::to_string(micro));
  }
  return out;
}

// More devices; on one machine, whose memory the ranks share, fewer ranks.
Candidates other_ranks(const Candidate& from) {
  Candidates out;
  Candidate c = from;
  while (true) {
    if (c.setting.cluster) {
      c.setting.cluster->nodes *= 2;
      if (c.setting.cluster->world_size() > kMostRanks) return out;
    } else {
      if (c.recipe.gang.ranks % 2 != 0) return out;
      c.recipe.gang.ranks /= 2;
    }
    out.push_back(c);
    out.back().turned.push_back(c.setting.cluster ? std::to_string(c.setting.cluster->world_size()) + " ranks (" +
                                                        to_string(*c.setting.cluster) + ")"
                                                  : "gang.ranks: " + std::to_string(c.recipe.gang.ranks));
  }
}

Candidates with_lora(const Candidate& from) {
  const auto& train = from.stage.train;
  if (from.stage.lora || from.stage.kind == "contrastive" ||
      std::find(train.begin(), train.end(), "llm") == train.end())
    return {};
  Candidates out{from};
  out[0].stage.lora = recipes::LoraRecipe{.rank = kAdvisedLoraRank, .alpha = 2.0 * kAdvisedLoraRank, .targets = {}};
  for (const auto& [name, place] : model::kLoraTargets) out[0].stage.lora->targets.emplace_back(name);
  out[0].turned.push_back("lora: {rank: " + std::to_string(kAdvisedLoraRank) + "}");
  return out;
}

void append(Candidates& to, Candidates more) {
  to.insert(to.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
}

// The knobs together: all that costs no more than time, then smaller micro-batches, then also other ranks, then lora.
Candidates together(const Candidate& from) {
  Candidate base = from;
  for (auto* knob : {higher_levels, recomputing})
    if (const Candidates next = knob(base); !next.empty()) base = next.back();
  Candidates out;
  Candidates starts{base};
  append(starts, with_lora(base));
  for (const Candidate& start : starts) {
    Candidates ranks{start};
    append(ranks, other_ranks(start));
    for (const Candidate& c : ranks) {
      out.push_back(c);
      append(out, smaller_micro_batches(c));
    }
  }
  return out;
}

std::string advice(const Candidate& start) {
  Candidates all;
  for (auto* knob : {higher_levels, recomputing, smaller_micro_batches, other_ranks, with_lora, offloading})
    append(all, knob(start));
  append(all, together(start));
  for (const Candidate& offloaded : offloading(start)) append(all, together(offloaded));
  for (const Candidate& c : all) {
    const auto plan = plan_stage(c.recipe, c.stage, c.setting);  // fails where the batch cannot be shared out so
    if (plan.ok() && fits(c.setting, *plan)) return "fits with " + c.words() + " (" + size(plan->memory_bytes()) + ")";
  }
  return "no sharding, recomputation, micro_batch, number of ranks, lora or offload makes it fit";
}

}  // namespace

std::optional<std::string> why_not(const Recipe& recipe, const StageRecipe& stage, const PlanSetting& setting,
                                   const PlannedStage& plan) {
  if (fits(setting, plan)) return std::nullopt;
  const int64_t has = memory_of_a_rank(setting, plan);
  std::string text = "stage " + stage.name + " needs " + size(plan.memory_bytes()) + " of " + size(has) + " per rank";
  if (!setting.cluster)
    text += " (" + size(setting.machine_bytes) + " of this machine over " + std::to_string(plan.policy.world_size) +
            (plan.policy.world_size == 1 ? " rank)" : " ranks)");
  const int64_t most = setting.cluster ? has : setting.machine_bytes;
  for (const sharding::UnitSpec& unit : plan.units) {
    const int64_t whole = sharding::gathered_bytes(unit);
    if (whole > most)
      return text + "; unit " + unit.name + " alone takes " + size(whole) +
             " when it is gathered, and no unit is cut: use devices with more memory";
  }
  return text + "; " + advice({recipe, stage, setting, {}});
}

}  // namespace tephra::coordinator
