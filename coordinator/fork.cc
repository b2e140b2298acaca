#include "coordinator/fork.h"

#include <algorithm>
#include <set>
#include <vector>

#include "base/diagnostic.h"
#include "coordinator/planner.h"
#include "model/spec/model_folder.h"
#include "storage/handover.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

constexpr const char* kRemedy = "; without resume the stage begins anew from its weights";

class Fork {
 public:
  Fork(const recipes::Recipe& recipe, const storage::Store& store, const std::map<std::string, uint64_t>& samples,
       PreparedJob* out)
      : recipe_(recipe), store_(store), samples_(samples), out_(out) {}

  Status run() {
    TEPHRA_ASSIGN_OR_RETURN(const auto reader, store_.reader(recipe_.fork->checkpoint));
    const storage::Manifest& origin = reader->manifest();
    std::map<std::string, std::string> theirs = origin.handover;
    if (origin.job == "base") theirs.merge(weight_hashes(origin));  // known only once it was imported
    for (const recipes::StageRecipe& stage : recipe_.stages) {
      if (stage.init != "base") continue;
      const bool resume = recipe_.fork->resume && &stage == &recipe_.stages.front();
      if (resume && origin.stage != stage.name)
        return {Code::kMismatch, RetryClass::kPermanent,
                "fork.resume: checkpoint " + origin.name() + " is of stage " + origin.stage +
                    " and the recipe's first stage is " + stage.name + kRemedy};
      TEPHRA_RETURN_IF_ERROR(
          storage::check_handover("stage " + stage.name, stage_handover(*out_, stage), origin.name(), theirs,
                                  resume ? storage::HandoverUse::kContinue : storage::HandoverUse::kStart));
      TEPHRA_ASSIGN_OR_RETURN(const StageUnits made, units_of(recipe_, stage));
      const auto wrong = model::check_against_units(*reader, made.units, origin.name(), {"lora"});
      if (!wrong.empty()) return {Code::kMismatch, RetryClass::kPermanent, to_string(wrong)};
      if (resume) TEPHRA_RETURN_IF_ERROR(check_resume(stage, origin, made.units));
    }
    if (recipe_.fork->resume) out_->resume_step = origin.step;
    out_->base_checkpoint = origin.name();
    const auto base = origin.handover.find("base");
    out_->handover["base"] = base == origin.handover.end() ? origin.name() : base->second;
    return ok_status();
  }

 private:
  Status check_resume(const recipes::StageRecipe& stage, const storage::Manifest& origin,
                      const std::vector<sharding::UnitSpec>& units) const {
    const std::string what = "fork.resume: checkpoint " + origin.name();
    const auto samples = samples_.find(stage.name);
    const int64_t steps = stage.total_steps(samples == samples_.end() ? 0 : static_cast<int64_t>(samples->second));
    if (steps > 0 && origin.step >= steps)
      return {Code::kMismatch, RetryClass::kPermanent,
              what + " is at step " + std::to_string(origin.step) + " and the stage has " + std::to_string(steps) +
                  " steps; set more steps, or leave resume away"};
    for (const sharding::UnitSpec& unit : units) {
      if (!unit.trainable) continue;
      for (const sharding::TensorSpec& tensor : unit.tensors)
        for (int moment = 0; moment < stage.optimizer.moments(); ++moment) {
          const auto kind = moment == 0 ? storage::StateKind::kFirstMoment : storage::StateKind::kSecondMoment;
          const storage::ManifestTensor* kept = origin.find(tensor.name, kind);
          if (kept == nullptr || kept->shape != tensor.shape)
            return {Code::kMismatch, RetryClass::kPermanent,
                    what + " has no optimizer state of shape " + to_string(tensor.shape) + " for " + tensor.name +
                        ", which the stage trains" + kRemedy};
        }
    }
    return ok_status();
  }

  const recipes::Recipe& recipe_;
  const storage::Store& store_;
  const std::map<std::string, uint64_t>& samples_;
  PreparedJob* out_;
};

}  // namespace

Status start_from_fork(const recipes::Recipe& recipe, const storage::Store& store,
                       const std::map<std::string, uint64_t>& samples, PreparedJob* prepared) {
  return Fork(recipe, store, samples, prepared).run();
}

}  // namespace tephra::coordinator
