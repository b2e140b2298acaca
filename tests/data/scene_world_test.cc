// The drawn world is the same on every machine, its splits never share a layout, and its boxes hold what is drawn.
#include "data/scene_world.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "base/hash.h"

namespace tephra::data {
namespace {

Scene with(std::vector<SceneObject> objects) {
  Scene scene;
  scene.objects = std::move(objects);
  scene.look = 7;
  return scene;
}

std::string pixel_hash(int size) {
  Hasher hasher;
  for (uint64_t i = 0; i < 8; ++i) {
    const Image image = draw(scene_at(1, SceneSplit::kTrain, i), size);
    hasher.update(std::as_bytes(std::span(image.rgb)));
  }
  return hasher.digest().hex();
}

// Pinned bytes: the committed base models were trained on exactly these pictures.
TEST(SceneWorld, DrawsTheSamePixelsAlways) {
  EXPECT_EQ(pixel_hash(48), "da2e8c6d672751784e7ad9d15a58b7b9");
  EXPECT_EQ(pixel_hash(64), "b7e3dd6dbd476f1938c6c2fe1c6a1792");
}

TEST(SceneWorld, SceneIsAFunctionOfItsKey) {
  const Scene a = scene_at(3, SceneSplit::kTest, 17), b = scene_at(3, SceneSplit::kTest, 17);
  EXPECT_EQ(a.objects, b.objects);
  EXPECT_EQ(a.look, b.look);
  EXPECT_NE(a.look, scene_at(4, SceneSplit::kTest, 17).look);
  EXPECT_NE(a.look, scene_at(3, SceneSplit::kTest, 18).look);
}

TEST(SceneWorld, SplitsShareNoLayout) {
  std::set<uint64_t> seen[3];
  for (uint64_t i = 0; i < 2000; ++i) {
    for (SceneSplit split : {SceneSplit::kTrain, SceneSplit::kValidation, SceneSplit::kTest}) {
      const Scene scene = scene_at(i % 5, split, i);
      EXPECT_EQ(split_of(scene), split);
      seen[static_cast<int>(split)].insert(layout_id(scene));
    }
  }
  for (int a = 0; a < 3; ++a) {
    EXPECT_GT(seen[a].size(), 400u);
    for (int b = 0; b < a; ++b) {
      for (uint64_t id : seen[a]) EXPECT_FALSE(seen[b].contains(id)) << "splits " << a << " and " << b;
    }
  }
}

TEST(SceneWorld, LayoutIdTellsEveryAttributeApart) {
  const SceneObject base{SceneShape::kCircle, SceneColor::kRed, false, ScenePlace::kNorthwest};
  std::set<uint64_t> ids{layout_id(with({}))};
  for (int place = 0; place < kScenePlaces; ++place) {
    for (int shape = 0; shape < kSceneShapes; ++shape) {
      for (int color = 0; color < kSceneColors; ++color) {
        for (bool large : {false, true}) {
          SceneObject o = base;
          o.place = static_cast<ScenePlace>(place);
          o.shape = static_cast<SceneShape>(shape);
          o.color = static_cast<SceneColor>(color);
          o.large = large;
          EXPECT_TRUE(ids.insert(layout_id(with({o}))).second);
        }
      }
    }
  }
}

TEST(SceneWorld, ObjectsDifferInPlaceAndColorAndEveryNumberIsAsFrequent) {
  int number[5] = {};
  for (uint64_t i = 0; i < 800; ++i) {
    const Scene scene = scene_at(9, SceneSplit::kTrain, i);
    ASSERT_GE(scene.objects.size(), 1u);
    ASSERT_LE(scene.objects.size(), 4u);
    ++number[scene.objects.size()];
    std::set<SceneColor> colors;
    for (size_t k = 0; k < scene.objects.size(); ++k) {
      EXPECT_TRUE(colors.insert(scene.objects[k].color).second);
      if (k > 0) {
        EXPECT_LT(scene.objects[k - 1].place, scene.objects[k].place);
      }
    }
  }
  for (int n = 1; n <= 4; ++n) EXPECT_EQ(number[n], 200);
}

// Everything that differs from a background drawn alone lies in a box, and every side of every box is reached.
TEST(SceneWorld, BoxesAreTightAroundWhatIsDrawn) {
  constexpr int kSize = 48;
  for (uint64_t i = 0; i < 60; ++i) {
    Scene scene = scene_at(2, SceneSplit::kTrain, i);
    Scene empty = scene;
    empty.objects.clear();
    const Image drawn = draw(scene, kSize), ground = draw(empty, kSize);
    std::vector<SceneBox> found = boxes(scene, kSize);
    ASSERT_EQ(found.size(), scene.objects.size());
    for (const SceneBox& box : found) {
      EXPECT_GE(box.x0, 0);
      EXPECT_LE(box.x1, kSize);
      int x0 = kSize, y0 = kSize, x1 = 0, y1 = 0;
      for (int y = std::max(box.y0 - 2, 0); y < std::min(box.y1 + 2, kSize); ++y) {
        for (int x = std::max(box.x0 - 2, 0); x < std::min(box.x1 + 2, kSize); ++x) {
          int difference = 0;
          for (int c = 0; c < 3; ++c) {
            const size_t at = static_cast<size_t>(y * kSize + x) * 3 + static_cast<size_t>(c);
            difference += std::abs(drawn.rgb[at] - ground.rgb[at]);
          }
          if (difference < 24) continue;  // an edge pixel that is covered a little
          x0 = std::min(x0, x), y0 = std::min(y0, y), x1 = std::max(x1, x + 1), y1 = std::max(y1, y + 1);
        }
      }
      EXPECT_NEAR(x0, box.x0, 1) << box.label << " in scene " << i;
      EXPECT_NEAR(y0, box.y0, 1) << box.label << " in scene " << i;
      EXPECT_NEAR(x1, box.x1, 1) << box.label << " in scene " << i;
      EXPECT_NEAR(y1, box.y1, 1) << box.label << " in scene " << i;
    }
  }
}

TEST(SceneWorld, LooksObjectsUp) {
  const SceneObject a{SceneShape::kCircle, SceneColor::kRed, true, ScenePlace::kNorthwest};
  const SceneObject b{SceneShape::kCircle, SceneColor::kBlue, false, ScenePlace::kSouthwest};
  const SceneObject c{SceneShape::kCross, SceneColor::kGreen, false, ScenePlace::kSoutheast};
  const Scene scene = with({a, b, c});
  EXPECT_EQ(*object_at(scene, ScenePlace::kSouthwest), b);
  EXPECT_EQ(object_at(scene, ScenePlace::kNortheast), nullptr);
  EXPECT_EQ(*object_of(scene, SceneColor::kGreen), c);
  EXPECT_EQ(object_of(scene, SceneColor::kYellow), nullptr);
  EXPECT_EQ(only_object_of(scene, SceneShape::kCircle), nullptr);  // two of them
  EXPECT_EQ(*only_object_of(scene, SceneShape::kCross), c);
  EXPECT_EQ(boxes(scene, 48)[0].label, "large red circle");
}

}  // namespace
}  // namespace tephra::data
