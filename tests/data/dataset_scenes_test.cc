// The folder is the same bytes each time, complete or redone, held-out scenes are in no training file, and every file is of the
// layout that its reader reads.
#include "data/dataset_scenes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "data/conversation.h"
#include "data/image.h"
#include "data/scene_questions.h"
#include "data/scienceqa.h"
#include "tests/data/folder.h"

namespace tephra::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class SceneDataset : public FolderTest {
 protected:
  SceneDatasetOptions options(const std::string& folder) const {
    SceneDatasetOptions o;
    o.train_scenes = 60;
    o.validation_questions = 12;
    o.test_questions = 24;
    o.heldout_conversations = 24;
    o.text_questions = 6;
    o.corpus_scenes = 60;
    o.out_dir = root_ + "/" + folder;
    return o;
  }
};

TEST_F(SceneDataset, EqualOptionsGiveEqualBytes) {
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  ASSERT_TRUE(write_scene_dataset(options("b")).ok());
  EXPECT_EQ(contents("a"), contents("b"));
  SceneDatasetOptions other = options("c");
  other.seed = 2;
  ASSERT_TRUE(write_scene_dataset(other).ok());
  EXPECT_NE(contents("a").at("captions.json"), contents("c").at("captions.json"));
}

TEST_F(SceneDataset, ACompleteFolderIsLeftAloneAndAnIncompleteOneIsRedone) {
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  const auto before = contents("a");
  ASSERT_TRUE(write_file_atomic(Env::posix(), root_ + "/a/captions.json", "touched").ok());
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  EXPECT_EQ(contents("a").at("captions.json"), "touched");  // dataset.json vouches for it, nothing was written

  fs::remove(root_ + "/a/dataset.json");
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  EXPECT_EQ(contents("a"), before);

  SceneDatasetOptions other = options("a");
  other.seed = 5;
  ASSERT_TRUE(write_scene_dataset(other).ok());
  EXPECT_NE(contents("a").at("captions.json"), before.at("captions.json"));
}

TEST_F(SceneDataset, FilesAreOfTheLayoutsTheirReadersRead) {
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  for (const char* name : {"captions.json", "instruct.json", "heldout.json"}) {
    const auto samples = load_conversations(root_ + "/a/" + name);
    ASSERT_TRUE(samples.ok()) << samples.status().to_string();
    ASSERT_FALSE(samples->empty());
    std::set<std::string> ids;
    for (const Sample& sample : *samples) {
      EXPECT_TRUE(ids.insert(sample.id).second) << sample.id;
      EXPECT_EQ(count_image_tags(sample), sample.images.empty() ? 0 : 1);
      if (sample.images.empty()) continue;
      const auto image = load_image(root_ + "/a/images/" + sample.images.at(0));
      ASSERT_TRUE(image.ok()) << image.status().to_string();
      EXPECT_EQ(image->width, 48);
    }
  }
  const std::string scienceqa = root_ + "/a/scienceqa";
  const auto test =
      load_scienceqa(scienceqa + "/problems.json", scienceqa + "/pid_splits.json", "test", scienceqa + "/images");
  ASSERT_TRUE(test.ok()) << test.status().to_string();
  EXPECT_EQ(test->size(), 30u);
  int pictures = 0;
  for (const ScienceQaProblem& problem : *test) {
    pictures += !problem.image_path.empty();
    EXPECT_TRUE(problem.image_path.empty() || fs::exists(problem.image_path)) << problem.image_path;
    EXPECT_EQ(problem.hint.empty(), !problem.image_path.empty());
    EXPECT_GE(problem.choices.size(), 3u);
  }
  EXPECT_EQ(pictures, 24);
}

TEST_F(SceneDataset, NoHeldOutSceneIsTrainedOn) {
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  std::set<std::string> trained, held;
  for (const Json& scene : json("a/scenes.json")) {
    const bool train = scene["image"].get<std::string>().starts_with("train/");
    EXPECT_EQ(scene["split"], train ? "train" : "test");
    (train ? trained : held).insert(scene["caption"].get<std::string>());
  }
  EXPECT_GT(held.size(), 10u);
  for (const std::string& caption : held) EXPECT_FALSE(trained.contains(caption)) << caption;
  for (uint64_t i = 0; i < 24; ++i)
    EXPECT_EQ(split_of(scene_question(1, SceneSplit::kTest, i).scene), SceneSplit::kTest);
}

TEST_F(SceneDataset, CorpusTextHoldsTheTemplateAndNoPicture) {
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  const std::string text = contents("a").at("corpus.txt");
  EXPECT_NE(text.find("A chat between a curious user"), std::string::npos);
  EXPECT_NE(text.find(" ASSISTANT: "), std::string::npos);
  EXPECT_EQ(text.find("<image>"), std::string::npos);
  EXPECT_EQ(json("a/corpus.json").size(), 60u);
}

TEST_F(SceneDataset, InstructionsHoldAllKinds) {
  ASSERT_TRUE(write_scene_dataset(options("a")).ok());
  std::map<std::string, int> kinds;
  for (const Json& sample : json("a/instruct.json")) {
    const auto id = sample["id"].get<std::string>();
    ++kinds[id.substr(0, id.find('-'))];
  }
  EXPECT_EQ(kinds["choice"], 60);
  EXPECT_EQ(kinds["talk"] + kinds["detail"] + kinds["reason"], 60);
  for (const char* kind : {"talk", "detail", "reason"}) EXPECT_GT(kinds[kind], 3) << kind;
  EXPECT_EQ(kinds["text"], 15);
}

TEST_F(SceneDataset, RefusesOptionsOutOfRange) {
  SceneDatasetOptions odd = options("a");
  odd.image_size = 47;
  EXPECT_EQ(write_scene_dataset(odd).code(), Code::kInvalidArgument);
  SceneDatasetOptions negative = options("a");
  negative.test_questions = -1;
  EXPECT_EQ(write_scene_dataset(negative).code(), Code::kInvalidArgument);
  SceneDatasetOptions nowhere = options("a");
  nowhere.out_dir.clear();
  EXPECT_EQ(write_scene_dataset(nowhere).code(), Code::kInvalidArgument);
  EXPECT_FALSE(fs::exists(root_ + "/a"));
}

}  // namespace
}  // namespace tephra::data
