// Multiple-choice questions on scenes, in ScienceQA's form. Four choices each, in the order of the enumerations (colors, shapes,
// places, numbers); every answer is right equally often, so that someone who does not look at the picture gets a quarter right.
// The order is fixed because a language model of under a million weights learns to find a letter in a shuffled list far later
// than it learns to see; what the demonstration is to show is the seeing.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/scene_world.h"
#include "data/scienceqa.h"

namespace tephra::data {

enum class SceneQuestionKind : uint8_t {
  kColorOfShape,  // What color is the circle?                  natural science
  kColorAtPlace,  // What color is the object in the northwest?  natural science
  kShapeOfColor,  // What shape is the red object?              language science
  kShapeAtPlace,  // What shape is in the northwest?             language science
  kPlaceOfColor,  // Where is the red object?                   social science
  kCount,         // How many objects are there?                natural science
};
inline constexpr int kSceneQuestionKinds = 6;

struct SceneQuestion {
  Scene scene;
  SceneQuestionKind kind = SceneQuestionKind::kCount;
  ScienceQaProblem problem;  // image, pid and split left empty
};

// Question `index` of `split`: kinds in turn, a scene on which the question has one answer, answers and letters balanced
// within every kSceneQuestionKinds * 4 consecutive indices that start at a multiple of it.
SceneQuestion scene_question(uint64_t seed, SceneSplit split, uint64_t index);

// `count` questions on one given scene, of different kinds where it has enough, drawn from `key`; those of `always` are among
// them where the scene has one of the kind and `count` allows. Over scenes from scene_at, answers are as balanced as chance
// makes them.
std::vector<SceneQuestion> questions_about(const Scene& scene, uint64_t key, int count,
                                           std::span<const SceneQuestionKind> always = {});

// The index of the only choice that is true of `scene`, found from the objects and the words of the choices alone.
// -1 when none or several are. What tests and swapped-picture baselines use.
int true_choice(const Scene& scene, SceneQuestionKind kind, const ScienceQaProblem& problem);

}  // namespace tephra::data
