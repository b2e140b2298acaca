#include "coordinator/admission.h"

#include "coordinator/planner.h"

namespace tephra::coordinator {
namespace {

PlanSetting setting_for(const recipes::StageRecipe& stage, int64_t machine_bytes, const DataFacts& facts) {
  PlanSetting setting;
  setting.machine_bytes = machine_bytes;
  for (const recipes::DataUse& use : stage.data) setting.data[use.dataset] = facts;
  return setting;
}

// At recipe.gang.ranks.
Status check_memory_of(const recipes::Recipe& recipe, int64_t machine_bytes,
                       const std::map<std::string, int64_t>& longest) {
  for (const recipes::StageRecipe& stage : recipe.stages) {
    const auto known = longest.find(stage.name);
    const DataFacts most{.longest = known != longest.end() ? known->second : 0};
    const DataFacts least = known != longest.end() ? most : DataFacts{.longest = 1, .images = 0};
    const PlanSetting setting = setting_for(stage, machine_bytes, least);
    const auto plan = plan_stage(recipe, stage, setting);
    if (!plan.ok() || fits(setting, *plan)) continue;
    // What is said is of the longest samples there may be, so that following it is enough.
    const PlanSetting full = setting_for(stage, machine_bytes, most);
    TEPHRA_ASSIGN_OR_RETURN(const PlannedStage whole, plan_stage(recipe, stage, full));
    return Status(Code::kUnavailable, RetryClass::kPermanent, *why_not(recipe, stage, full, whole));
  }
  return ok_status();
}

}  // namespace

Status check_memory(const recipes::Recipe& recipe, int64_t machine_bytes,
                    const std::map<std::string, int64_t>& longest) {
  recipes::Recipe sized = recipe;
  sized.gang.ranks_min = 0;
  for (const int64_t ranks : recipe.gang.permitted_ranks()) {
    sized.gang.ranks = ranks;
    const Status status = check_memory_of(sized, machine_bytes, longest);
    if (!status.ok() && ranks < recipe.gang.ranks)
      return status.with_context("with " + std::to_string(ranks) + " of gang.ranks, which gang.ranks_min permits");
    TEPHRA_RETURN_IF_ERROR(status);
  }
  return ok_status();
}

}  // namespace tephra::coordinator
