// What a user gets for each kind of mistake or missing thing: one sentence, the right exit code, nothing left running.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {
using namespace std::chrono_literals;

// tiny.yaml with one text replaced, written beside absolute paths to the base models.
std::string recipe_with(const Scratch& scratch, const std::string& from, const std::string& to) {
  std::string text = read_text(tiny_recipe());
  const std::string relative = "../../recipes", absolute = TEPHRA_SOURCE_DIR "/recipes";
  while (text.find(relative) != std::string::npos) text.replace(text.find(relative), relative.size(), absolute);
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  return scratch.write("recipe.yaml", text);
}

TEST(BadInput, RecipeErrorsNamePlaceFieldAndNearestName) {
  Scratch scratch;
  std::string recipe = recipe_with(scratch, "micro_batch: 4", "micro_bach: 4");
  Finished run = tephra(scratch, {"run", recipe, "--store", scratch.path("store")});
  EXPECT_EQ(run.code, 2);
  EXPECT_NE(run.err.find("recipe.yaml:"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("micro_bach"), std::string::npos) << run.err;
  EXPECT_NE(run.err.find("micro_batch"), std::string::npos) << run.err;
}

TEST(BadInput, AMissingModelFolderIsNamedBeforeAnythingRuns) {
  Scratch scratch;
  std::string recipe = recipe_with(scratch, "recipes/base/vision", "recipes/base/no-such-folder");
  Finished run = tephra(scratch, {"run", recipe, "--store", scratch.path("store")});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("no-such-folder"), std::string::npos) << run.err;
  EXPECT_TRUE(none_left(scratch.path("store")));
}

// recipes/base/language with damage of one kind, in a folder of the scratch.
class DamagedModel {
 public:
  static constexpr const char* kFile = "model-00002-of-00003.safetensors";  // the shard with the last norm

  explicit DamagedModel(const Scratch& scratch) : dir_(scratch.path("language")) {
    std::filesystem::copy(std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language", dir_);
    weights_ = read_text(path(kFile));
  }
  std::string path(const std::string& file) const { return dir_ + "/" + file; }
  void replace_in(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read_text(path(file));
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write(file, text.replace(at, from.size(), to));
  }
  void write(const std::string& file, const std::string& bytes) const {
    std::ofstream(path(file), std::ios::binary) << bytes;
  }
  const std::string& weights() const { return weights_; }
  // Where the tensor's data begins in kFile.
  size_t data_of(const std::string& tensor) const {
    uint64_t header = 0;
    std::memcpy(&header, weights_.data(), 8);
    const auto json = nlohmann::json::parse(weights_.substr(8, header));
    return 8 + header + json[tensor]["data_offsets"][0].get<size_t>();
  }

 private:
  std::string dir_, weights_;
};

TEST(BadInput, DamagedWeightsAreNamedWithFileAndTensorBeforeAnythingRuns) {
  struct Case {
    const char* name;
    std::function<void(const DamagedModel&)> damage;
    std::vector<std::string> words;
  };
  const std::string norm = "model.norm.weight";
  for (const Case& c :
       {Case{"truncated",
             [](const DamagedModel& m) { m.write(m.kFile, m.weights().substr(0, m.weights().size() - 9)); },
             {DamagedModel::kFile, "truncated: tensor "}},
        Case{"nan",
             [&](const DamagedModel& m) {
               std::string bytes = m.weights();
               m.write(m.kFile, bytes.replace(m.data_of(norm) + 2 * 3, 2, "\xC0\x7F"));
             },
             {std::string(DamagedModel::kFile) + ": tensor " + norm + ": element 3 is not a finite number"}},
        Case{"missing file",
             [&](const DamagedModel& m) {
               m.replace_in("model.safetensors.index.json", m.kFile, "model-00004-of-00004.safetensors");
             },
             {"model-00004-of-00004.safetensors is missing, and the index beside it names it"}},
        Case{"dtype",
             [&](const DamagedModel& m) {
               std::string bytes = m.weights();
               const size_t at = bytes.find("\"BF16\"", bytes.find("\"" + norm + "\""));
               m.write(m.kFile, bytes.replace(at, 6, "\"I16\" "));
             },
             {DamagedModel::kFile, norm, "I16"}},
        Case{"shape",
             [](const DamagedModel& m) {
               m.replace_in("config.json", "\"intermediate_size\": ", "\"intermediate_size\": 1");
             },
             {"/language: language_model.model.layers.0.mlp.", "its shape is "}},
        Case{"vocabulary",
             [](const DamagedModel& m) {
               m.replace_in("config.json", "\"vocab_size\": ", "\"vocab_size\": 9, \"was\": ");
             },
             {"/language", "vocabulary", " 9"}}}) {
    SCOPED_TRACE(c.name);
    Scratch scratch;
    const DamagedModel model(scratch);
    c.damage(model);
    const std::string recipe =
        recipe_with(scratch, std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language", model.path("."));
    Finished run = tephra(scratch, {"run", recipe, "--store", scratch.path("store")});
    EXPECT_NE(run.code, 0);
    for (const std::string& words : c.words)
      EXPECT_NE(run.err.find(words), std::string::npos) << words << "\n" << run.err;
    EXPECT_EQ(run.out.find("train align"), std::string::npos) << run.out;
  }
}

TEST(BadInput, AMissingFieldOfTheDataIsNamedWithFileAndSample) {
  Scratch scratch;
  nlohmann::json samples = nlohmann::json::array();
  for (int i = 0; i < 3100; ++i) {
    nlohmann::json answer = {{"from", "gpt"}, {"value", "a"}};
    if (i == 3017) answer.erase("value");
    samples.push_back(
        {{"id", "s" + std::to_string(i)},
         {"conversations", nlohmann::json::array({{{"from", "human"}, {"value", "q"}}, std::move(answer)})}});
  }
  const std::string data = scratch.write("data.json", samples.dump());
  const std::string words =
      "data.json:1:1: sample 3017 (id \"s3017\"): conversations[1].value: must be a string, and is missing";
  Finished check = tephra(
      scratch, {"data", "check", data, "--tokenizer", std::string(TEPHRA_SOURCE_DIR) + "/recipes/base/language"});
  EXPECT_EQ(check.code, 1);
  EXPECT_NE(check.out.find(words), std::string::npos) << check.out << check.err;
  std::string text =
      read_text(recipe_with(scratch, "datasets:\n", "datasets:\n  mine: {kind: llava, conversations: " + data + "}\n"));
  const std::string use = "{dataset: scenes, part: instruct}";
  text.replace(text.find(use), use.size(), "{dataset: mine}");
  Finished run = tephra(scratch, {"run", scratch.write("recipe.yaml", text), "--store", scratch.path("store")});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find(words), std::string::npos) << run.err;
}

TEST(BadInput, ABadPictureNamesItsSample) {
  Scratch scratch;
  scratch.write("broken.png", "not a picture");
  std::string data = scratch.write("data.json", R"([{"id": "sample-7", "image": "broken.png", "conversations": [
    {"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "a red circle"}]}])");
  std::string recipe =
      recipe_with(scratch, "datasets:\n",
                  "datasets:\n  mine: {kind: llava, conversations: " + data + ", images: " + scratch.path("") + "}\n");
  std::string text = read_text(recipe);
  std::string use = "{dataset: scenes, part: captions}";
  text.replace(text.find(use), use.size(), "{dataset: mine}");
  Finished run = tephra(scratch, {"run", scratch.write("recipe.yaml", text), "--store", scratch.path("store")});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("sample-7"), std::string::npos) << run.err;
}

TEST(BadInput, AStoreOfAnotherProcessIsRefused) {
  Scratch scratch;
  std::string store = scratch.path("store");
  Process serve(tephra_command({"serve", "--store", store, "--listen", "127.0.0.1:0"}), scratch.path(""));
  ASSERT_TRUE(serve.wait_until([&] { return serve.output().find("serves") != std::string::npos; }, 20s));
  Finished run = tephra(scratch, {"run", tiny_recipe(), "--store", store});
  EXPECT_EQ(run.code, 3);
  EXPECT_NE(run.err.find("in use"), std::string::npos) << run.err;
  // Reading is allowed meanwhile.
  EXPECT_EQ(tephra(scratch, {"ckpt", "ls", "--store", store}).code, 0);

  std::string url = serve.output().substr(serve.output().find("127.0.0.1:"));
  std::string address = url.substr(0, url.find(' '));
  Finished second = tephra(scratch, {"serve", "--store", scratch.path("other"), "--listen", address});
  EXPECT_EQ(second.code, 3);
  EXPECT_NE(second.err.find(address.substr(address.find(':') + 1)), std::string::npos) << second.err;
  serve.signal(SIGTERM);
  EXPECT_EQ(serve.wait(20s).code, 0);
}

TEST(BadInput, AMissingMpirunIsSaid) {
  Scratch scratch;
  Finished run =
      tephra(scratch, {"run", tiny_recipe(), "--store", scratch.path("store")}, {{"PATH", scratch.path("empty")}});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("mpirun"), std::string::npos) << run.err;
}

TEST(BadInput, TooFewSlotsAreSaid) {
  Scratch scratch;
  Finished run =
      tephra(scratch, {"run", tiny_recipe(), "--store", scratch.path("store"), "--set", "gang.threads_per_rank=64"});
  EXPECT_EQ(run.code, 3) << run.err;
  EXPECT_NE(run.err.find("slots"), std::string::npos) << run.err;
}

// A file system of its own, `megabytes` large, so that it can be filled.
class SmallDisk {
 public:
  SmallDisk(const std::string& path, int megabytes) : path_(path) {
    mkdir(path.c_str(), 0700);
    mounted_ = mount("tmpfs", path.c_str(), "tmpfs", 0, ("size=" + std::to_string(megabytes) + "m").c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  void fill() const {
    std::ofstream out(path_ + "/filler", std::ios::binary);
    std::string megabyte(1 << 20, 'x');
    while (out.write(megabyte.data(), static_cast<std::streamsize>(megabyte.size())).flush()) {
    }
  }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST(BadInput, ADiskThatIsTooSmallIsSaidBeforeAnythingRuns) {
  Scratch scratch;
  SmallDisk disk(scratch.path("disk"), 24);
  if (!disk.mounted()) GTEST_SKIP() << "this test mounts a small tmpfs, which needs root";
  Finished run = tephra(scratch, {"run", tiny_recipe(), "--store", scratch.path("disk/store")});
  EXPECT_NE(run.code, 0);
  EXPECT_NE(run.err.find("free"), std::string::npos) << run.err;
  EXPECT_EQ(run.out.find("train align"), std::string::npos) << run.out;
}

TEST(BadInput, ADiskThatFillsUpEndsTheJobAndDamagesNothing) {
  Scratch scratch;
  SmallDisk disk(scratch.path("disk"), 96);
  if (!disk.mounted()) GTEST_SKIP() << "this test mounts a small tmpfs, which needs root";
  std::string store = scratch.path("disk/store");
  Process run(tephra_command({"run", tiny_recipe(), "--store", store}), scratch.path(""));
  ASSERT_TRUE(run.wait_until([&] { return run.output().find("align@4 committed") != std::string::npos; }, 60s));
  disk.fill();
  Finished finished = run.wait(120s);
  EXPECT_NE(finished.code, 0);
  EXPECT_NE(finished.err.find("space"), std::string::npos) << finished.err;
  EXPECT_TRUE(none_left(store));
  Finished verify = tephra(scratch, {"ckpt", "verify", "--store", store});
  EXPECT_EQ(verify.code, 0) << verify.out << verify.err;
}

TEST(BadInput, UnknownVerbsAndFlagsAreUsageErrors) {
  Scratch scratch;
  EXPECT_EQ(tephra(scratch, {"trian"}).code, 2);
  EXPECT_EQ(tephra(scratch, {"run", "--no-such-flag"}).code, 2);
  EXPECT_EQ(tephra(scratch, {"ckpt", "ls", "--store", scratch.path("nothing-here")}).code, 2);
  EXPECT_EQ(tephra(scratch, {"--version"}).code, 0);
}

}  // namespace
}  // namespace tephra::e2e
