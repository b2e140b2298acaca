// A small world of drawn scenes, made to be learnt in minutes: one to four coloured shapes in the four quarters of a picture, named as on a map.
// Everything is a pure function of (seed, split, index) in integer arithmetic, so pixels and words are the same bytes on every
// machine. scene_text.h says what can be said of a scene, scene_questions.h what can be asked.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "data/image.h"

namespace tephra::data {

enum class SceneShape : uint8_t { kCircle, kSquare, kTriangle, kCross };
enum class SceneColor : uint8_t { kRed, kGreen, kBlue, kYellow };
enum class ScenePlace : uint8_t { kNorthwest, kNortheast, kSouthwest, kSoutheast };
inline constexpr int kSceneShapes = 4, kSceneColors = 4, kScenePlaces = 4;

std::string_view word(SceneShape shape);   // "circle"
std::string_view word(SceneColor color);   // "red"
std::string_view word(ScenePlace place);   // "northwest"
std::string_view number_word(int number);  // "zero" .. "four"

struct SceneObject {
  SceneShape shape = SceneShape::kCircle;
  SceneColor color = SceneColor::kRed;
  bool large = false;
  ScenePlace place = ScenePlace::kNorthwest;
  auto operator<=>(const SceneObject&) const = default;
};

// At most one object a place, in reading order; no two objects of one color, so a color names its object.
struct Scene {
  std::vector<SceneObject> objects;
  uint64_t look = 0;  // key of background, noise, exact positions and tints: what no caption mentions
};

// Splits are disjoint by what is in the picture (not only by its noise), whatever the seeds: a layout belongs to exactly one.
enum class SceneSplit : uint8_t { kTrain, kValidation, kTest };
std::string_view name(SceneSplit split);  // "train", "val", "test", as ScienceQA names them

// Number of a layout (objects without `look`), below 33^4; equal exactly for equal object lists.
uint64_t layout_id(const Scene& scene);
SceneSplit split_of(const Scene& scene);  // 1 layout in 8 is test, 1 in 16 validation, the rest train

// Scene `index` of `split`. One to four objects, each number equally often.
Scene scene_at(uint64_t seed, SceneSplit split, uint64_t index);
// The same with `objects` objects, 1 to 4.
Scene scene_with(uint64_t seed, SceneSplit split, uint64_t index, int objects);

// A square picture, `size` pixels wide (even, 16 to 1024), each quarter size / 2 wide.
Image draw(const Scene& scene, int size);

// Where an object lies, in pixels of a `size` wide picture: [x0, x1) by [y0, y1), the smallest box of whole pixels around it.
struct SceneBox {
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  std::string label;  // "large red circle"
};
std::vector<SceneBox> boxes(const Scene& scene, int size);

// nullptr when there is none.
const SceneObject* object_at(const Scene& scene, ScenePlace place);
const SceneObject* object_of(const Scene& scene, SceneColor color);
const SceneObject* only_object_of(const Scene& scene, SceneShape shape);  // nullptr also when there are several

}  // namespace tephra::data
