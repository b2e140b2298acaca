// What is said of a scene is true, and says all of it.
#include "data/scene_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <regex>

namespace tephra::data {
namespace {

Scene two_objects() {
  Scene scene;
  scene.objects = {{SceneShape::kCircle, SceneColor::kRed, true, ScenePlace::kNorthwest},
                   {SceneShape::kCross, SceneColor::kBlue, false, ScenePlace::kSoutheast}};
  return scene;
}

// Words back to objects, by a pattern over the text alone.
std::vector<SceneObject> read_objects(const std::string& text, const std::regex& pattern, bool place_first) {
  const std::map<std::string, SceneShape> shapes{{"circle", SceneShape::kCircle},
                                                 {"square", SceneShape::kSquare},
                                                 {"triangle", SceneShape::kTriangle},
                                                 {"cross", SceneShape::kCross}};
  const std::map<std::string, SceneColor> colors{{"red", SceneColor::kRed},
                                                 {"green", SceneColor::kGreen},
                                                 {"blue", SceneColor::kBlue},
                                                 {"yellow", SceneColor::kYellow}};
  const std::map<std::string, ScenePlace> places{{"northwest", ScenePlace::kNorthwest},
                                                 {"northeast", ScenePlace::kNortheast},
                                                 {"southwest", ScenePlace::kSouthwest},
                                                 {"southeast", ScenePlace::kSoutheast}};
  std::vector<SceneObject> out;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
    const int shift = place_first ? 1 : 0;
    out.push_back({shapes.at((*it)[3 + shift]), colors.at((*it)[2 + shift]), (*it)[1 + shift] == "large",
                   places.at((*it)[place_first ? 1 : 4])});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.place < b.place; });
  return out;
}

const std::regex kShapeFirst("a (large|small) (\\w+) (\\w+) in the (northwest|northeast|southwest|southeast)");
const std::regex kPlaceFirst(
    "[iI]n the (northwest|northeast|southwest|southeast)(?: is)? a (large|small) (\\w+) (\\w+)");

TEST(SceneText, CaptionReadsAsWritten) {
  EXPECT_EQ(caption(two_objects()), "a large red circle in the northwest and a small blue cross in the southeast.");
}

TEST(SceneText, ChartNamesEveryQuarterInOneWord) {
  EXPECT_EQ(chart(two_objects()), "aRC bno cno dbx");
  std::map<std::string, std::vector<SceneObject>> seen;
  for (uint64_t i = 0; i < 2000; ++i) {  // different objects, different charts
    const Scene scene = scene_at(8, SceneSplit::kTrain, i);
    const auto [at, is_new] = seen.emplace(chart(scene), scene.objects);
    EXPECT_EQ(at->second, scene.objects) << chart(scene);
  }
}

TEST(SceneText, CaptionsAndDescriptionsHoldTheWholeScene) {
  for (uint64_t i = 0; i < 400; ++i) {
    const Scene scene = scene_at(5, SceneSplit::kTrain, i);
    EXPECT_EQ(read_objects(caption(scene), kShapeFirst, false), scene.objects) << caption(scene);
    const std::string variant = caption_variant(scene, i);
    const bool place_first = variant.starts_with("in the");
    EXPECT_EQ(read_objects(variant, place_first ? kPlaceFirst : kShapeFirst, place_first), scene.objects) << variant;
    const SceneExchange detail = detailed_description(scene, i);
    EXPECT_EQ(read_objects(detail.answer, kPlaceFirst, true), scene.objects) << detail.answer;
    const std::string number(number_word(static_cast<int>(scene.objects.size())));
    EXPECT_NE(detail.answer.find(" " + number + " object"), std::string::npos) << detail.answer;
  }
}

// Every claim "The <color> <shape> is ..." or "The <color> object is a ..." in an answer, checked against the objects.
TEST(SceneText, ConversationAnswersAreTrue) {
  const std::regex place("The (\\w+) (\\w+) is in the (\\w+)\\."), size("The (\\w+) (\\w+) is (large|small)\\."),
      shape("The (\\w+) object is a (\\w+)\\."), color("The object in the (\\w+) is (\\w+)\\."),
      color_of_shape("The (\\w+) is (\\w+)\\."), count("There (?:is|are) (\\w+) objects?\\."),
      what("(A \\w+ \\w+ \\w+|Nothing) is in the (\\w+)\\.");
  std::map<std::string, int> seen;
  for (uint64_t i = 0; i < 600; ++i) {
    const Scene scene = scene_at(6, SceneSplit::kTrain, i);
    const auto holds = [&](auto test) { return std::any_of(scene.objects.begin(), scene.objects.end(), test); };
    for (const SceneExchange& e : conversation(scene, i * 31)) {
      std::smatch m;
      if (std::regex_match(e.answer, m, place)) {
        ++seen["place"];
        EXPECT_TRUE(holds([&](const SceneObject& o) {
          return word(o.color) == m[1].str() && word(o.shape) == m[2].str() && word(o.place) == m[3].str();
        })) << e.answer;
      } else if (std::regex_match(e.answer, m, size)) {
        ++seen["size"];
        EXPECT_TRUE(holds([&](const SceneObject& o) {
          return word(o.color) == m[1].str() && word(o.shape) == m[2].str() && o.large == (m[3] == "large");
        })) << e.answer;
      } else if (std::regex_match(e.answer, m, shape)) {
        ++seen["shape"];
        EXPECT_TRUE(holds([&](const SceneObject& o) {
          return word(o.color) == m[1].str() && word(o.shape) == m[2].str();
        })) << e.answer;
      } else if (std::regex_match(e.answer, m, color)) {
        ++seen["color"];
        EXPECT_TRUE(holds([&](const SceneObject& o) {
          return word(o.place) == m[1].str() && word(o.color) == m[2].str();
        })) << e.answer;
      } else if (std::regex_match(e.answer, m, color_of_shape)) {
        ++seen["color of shape"];
        const SceneObject* only = nullptr;
        for (const SceneShape s : {SceneShape::kCircle, SceneShape::kSquare, SceneShape::kTriangle, SceneShape::kCross})
          if (word(s) == m[1].str()) only = only_object_of(scene, s);
        EXPECT_TRUE(only != nullptr && word(only->color) == m[2].str()) << e.answer;
      } else if (std::regex_match(e.answer, m, count)) {
        ++seen["count"];
        EXPECT_EQ(m[1].str(), number_word(static_cast<int>(scene.objects.size())));
      } else if (std::regex_match(e.answer, m, what)) {
        ++seen["what"];
        const bool there = holds([&](const SceneObject& o) {
          return word(o.place) == m[2].str() && phrase(o).substr(1) == m[1].str().substr(1);
        });
        const bool nothing =
            m[1] == "Nothing" && !holds([&](const SceneObject& o) { return word(o.place) == m[2].str(); });
        EXPECT_TRUE(there || nothing) << e.answer;
      } else {
        ADD_FAILURE() << "unread answer: " << e.answer;
      }
    }
  }
  EXPECT_EQ(seen.size(), 7u);
}

TEST(SceneText, ReasoningCountsAndCompares) {
  int removals = 0, comparisons = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    const Scene scene = scene_at(7, SceneSplit::kTrain, i);
    const SceneExchange e = complex_reasoning(scene, i);
    std::smatch m;
    if (std::regex_search(e.answer, m, std::regex("Without the \\w+ \\w+, (\\w+) (?:is|are) left\\."))) {
      ++removals;
      EXPECT_EQ(m[1].str(), number_word(static_cast<int>(scene.objects.size()) - 1));
    } else {
      ASSERT_TRUE(std::regex_match(
          e.answer, m,
          std::regex("The (\\w+) \\w+ is (\\w+) and the (\\w+) \\w+ is (\\w+), so the answer is (yes|no)\\.")))
          << e.answer;
      ++comparisons;
      EXPECT_NE(m[1], m[3]);
      for (const SceneObject& o : scene.objects) {
        if (word(o.color) == m[1].str()) {
          EXPECT_EQ(o.large, m[2] == "large");
        }
        if (word(o.color) == m[3].str()) {
          EXPECT_EQ(o.large, m[4] == "large");
        }
      }
      EXPECT_EQ(m[5] == "yes", m[2] == m[4]);
    }
  }
  EXPECT_GT(removals, 100);
  EXPECT_GT(comparisons, 100);
}

}  // namespace
}  // namespace tephra::data
