#include "data/scene_world.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/random.h"
#include "data/drawing.h"

namespace tephra::data {
namespace {

constexpr uint64_t kLayoutKey = 0x6c61796f7574;  // the first word of a key says what it is for
constexpr uint64_t kSceneKey = 0x7363656e65;
constexpr uint64_t kLookKey = 0x6c6f6f6b;
constexpr std::string_view kShapeWords[] = {"circle", "square", "triangle", "cross"};
constexpr std::string_view kColorWords[] = {"red", "green", "blue", "yellow"};
constexpr std::string_view kPlaceWords[] = {"northwest", "northeast", "southwest", "southeast"};
constexpr std::string_view kNumberWords[] = {"zero", "one", "two", "three", "four"};
constexpr uint8_t kColorRgb[kSceneColors][3] = {{214, 40, 40}, {44, 160, 60}, {40, 84, 214}, {236, 214, 40}};

enum class Look : uint64_t { kBackground, kNoise, kTint, kShiftX, kShiftY, kRadius };

uint64_t look_bits(const Scene& scene, Look what, uint64_t a = 0, uint64_t b = 0) {
  return random_bits({kLookKey, scene.look, static_cast<uint64_t>(what), a, b});
}

// Uniform in [low, high] from random bits; the ranges are tiny against 2^64, so the bias is nil.
int in_range(uint64_t bits, int low, int high) {
  return low + static_cast<int>(bits % static_cast<uint64_t>(high - low + 1));
}

// A square is drawn at nine tenths, the other shapes touch their bounds.
Extent placed(const Scene& scene, const SceneObject& object, int size) {
  const int cell = size / 2 * kSubPixels;
  const auto place = static_cast<uint64_t>(object.place);
  // A large object fills four fifths of its quarter, a small one half; both always lie within the quarter.
  const int percent = (object.large ? 40 : 24) + in_range(look_bits(scene, Look::kRadius, place), 0, 3);
  const int slack = cell * 6 / 100;
  Extent out;
  out.across = cell * percent / 100;
  if (object.shape == SceneShape::kSquare) out.across = out.across * 9 / 10;
  out.up = out.across;
  out.x =
      static_cast<int>(place % 2) * cell + cell / 2 + in_range(look_bits(scene, Look::kShiftX, place), -slack, slack);
  out.y =
      static_cast<int>(place / 2) * cell + cell / 2 + in_range(look_bits(scene, Look::kShiftY, place), -slack, slack);
  return out;
}

Figure figure_of(SceneShape shape) {
  switch (shape) {
    case SceneShape::kCircle: return Figure::kCircle;
    case SceneShape::kSquare: return Figure::kRectangle;
    case SceneShape::kTriangle: return Figure::kTriangle;
    case SceneShape::kCross: return Figure::kCross;
  }
  return Figure::kCircle;
}

void draw_object(Image& image, const Scene& scene, const SceneObject& object, int size) {
  std::array<int, 3> rgb{};
  for (size_t c = 0; c < 3; ++c) {
    const int tint = in_range(look_bits(scene, Look::kTint, static_cast<uint64_t>(object.place), c), -14, 14);
    rgb[c] = std::clamp(kColorRgb[static_cast<int>(object.color)][c] + tint, 0, 255);
  }
  fill(image, figure_of(object.shape), placed(scene, object, size), rgb);
}

void add_noise(Image& image, const Scene& scene) {
  for (size_t i = 0; i < image.rgb.size(); i += 8) {  // eight bytes of noise from one draw
    const uint64_t bits = look_bits(scene, Look::kNoise, i);
    for (size_t k = 0; k < 8 && i + k < image.rgb.size(); ++k) {
      const int noise = static_cast<int>((bits >> (8 * k)) & 0xff) % 13 - 6;
      image.rgb[i + k] = static_cast<uint8_t>(std::clamp(image.rgb[i + k] + noise, 0, 255));
    }
  }
}

Scene any_scene(uint64_t key, int objects) {
  Scene scene;
  for (int i = 0; i < objects; ++i) {
    const auto n = static_cast<uint64_t>(i);
    SceneObject object;
    object.place = static_cast<ScenePlace>(permute(n, kScenePlaces, {key, 1}));
    object.color = static_cast<SceneColor>(permute(n, kSceneColors, {key, 2}));
    object.shape = static_cast<SceneShape>(random_below(kSceneShapes, {key, 3, n}));
    object.large = random_below(2, {key, 4, n}) == 1;
    scene.objects.push_back(object);
  }
  std::sort(scene.objects.begin(), scene.objects.end(), [](const auto& a, const auto& b) { return a.place < b.place; });
  scene.look = random_bits({key, 5});
  return scene;
}

}  // namespace

std::string_view word(SceneShape shape) { return kShapeWords[static_cast<size_t>(shape)]; }
std::string_view word(SceneColor color) { return kColorWords[static_cast<size_t>(color)]; }
std::string_view word(ScenePlace place) { return kPlaceWords[static_cast<size_t>(place)]; }

std::string_view number_word(int number) {
  TEPHRA_CHECK(number >= 0 && number <= 4, "number_word counts from zero to four");
  return kNumberWords[number];
}

std::string_view name(SceneSplit split) {
  switch (split) {
    case SceneSplit::kTrain: return "train";
    case SceneSplit::kValidation: return "val";
    case SceneSplit::kTest: return "test";
  }
  return "";
}

uint64_t layout_id(const Scene& scene) {
  // One base-33 digit a place: 0 for empty, else 1 + shape, color, size.
  uint64_t digits[kScenePlaces] = {};
  for (const SceneObject& o : scene.objects) {
    digits[static_cast<size_t>(o.place)] =
        1 + (static_cast<uint64_t>(o.shape) * kSceneColors + static_cast<uint64_t>(o.color)) * 2 + (o.large ? 1 : 0);
  }
  uint64_t id = 0;
  for (uint64_t digit : digits) id = id * 33 + digit;
  return id;
}

SceneSplit split_of(const Scene& scene) {
  const uint64_t sixteenth = random_bits({kLayoutKey, layout_id(scene)}) % 16;
  if (sixteenth < 2) return SceneSplit::kTest;
  return sixteenth == 2 ? SceneSplit::kValidation : SceneSplit::kTrain;
}

Scene scene_with(uint64_t seed, SceneSplit split, uint64_t index, int objects) {
  TEPHRA_CHECK(objects >= 1 && objects <= kScenePlaces, "a scene has one to four objects");
  for (uint64_t attempt = 0;; ++attempt) {  // one layout in 16 is validation, so a few dozen draws at most
    const auto which = static_cast<uint64_t>(split);
    Scene scene =
        any_scene(random_bits({kSceneKey, seed, which, index, static_cast<uint64_t>(objects), attempt}), objects);
    if (split_of(scene) == split) return scene;
    TEPHRA_CHECK(attempt < 100000, "no layout of this split found");
  }
}

Scene scene_at(uint64_t seed, SceneSplit split, uint64_t index) {
  return scene_with(seed, split, index, 1 + static_cast<int>(index % kScenePlaces));
}

Image draw(const Scene& scene, int size) {
  TEPHRA_CHECK(size >= 16 && size <= 1024 && size % 2 == 0, "a scene is drawn 16 to 1024 pixels wide, even");
  Image image;
  image.width = size;
  image.height = size;
  image.rgb.resize(static_cast<size_t>(size) * static_cast<size_t>(size) * 3);
  const uint64_t bits = look_bits(scene, Look::kBackground);
  const int gray = in_range(bits, 186, 232);  // and below a shade of it: warm, cold or neutral
  for (size_t i = 0; i < image.rgb.size(); ++i) {
    image.rgb[i] = static_cast<uint8_t>(gray + in_range(bits >> (16 + 8 * (i % 3)), -8, 8));
  }
  for (const SceneObject& object : scene.objects) draw_object(image, scene, object, size);
  add_noise(image, scene);
  return image;
}

std::vector<SceneBox> boxes(const Scene& scene, int size) {
  std::vector<SceneBox> out;
  for (const SceneObject& object : scene.objects) {
    const PixelBox at = pixel_box(placed(scene, object, size), size);
    SceneBox box{at.x0, at.y0, at.x1, at.y1, ""};
    box.label = std::string(object.large ? "large " : "small ") + std::string(word(object.color)) + " " +
                std::string(word(object.shape));
    out.push_back(std::move(box));
  }
  return out;
}

const SceneObject* object_at(const Scene& scene, ScenePlace place) {
  for (const SceneObject& o : scene.objects) {
    if (o.place == place) return &o;
  }
  return nullptr;
}

const SceneObject* object_of(const Scene& scene, SceneColor color) {
  for (const SceneObject& o : scene.objects) {
    if (o.color == color) return &o;
  }
  return nullptr;
}

const SceneObject* only_object_of(const Scene& scene, SceneShape shape) {
  const SceneObject* found = nullptr;
  for (const SceneObject& o : scene.objects) {
    if (o.shape != shape) continue;
    if (found != nullptr) return nullptr;
    found = &o;
  }
  return found;
}

}  // namespace tephra::data
