// The vision tower of a LLaVA model, picture by picture: a picture's features are then the same bits whatever is beside
// it in the micro-batch, so that they can be kept from one step to another (model/nn/feature_cache.h) without a change
// to what is trained.
#pragma once

#include <memory>
#include <vector>

#include "model/spec/model_config.h"
#include "sharding/exec/unit_module.h"

namespace tephra::model {

// Modules of "vision.embed" and of `layers` units "vision.block.i". The last of them passes {h [I, P + 1, Dv]} of all
// pictures, the others one [1, P + 1, Dv] for each that has to be computed. Without pictures: {}.
std::vector<std::unique_ptr<sharding::UnitModule>> make_tower(const ClipVisionConfig& config, int64_t layers);

}  // namespace tephra::model
