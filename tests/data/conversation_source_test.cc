// What is proved: lines and shards give the samples of the array they were made from, at any index and in any order; indices are
// kept, used, made anew when the data change and done without where they cannot be kept; broken data are named; and a dataset over them gives
// the same encoded samples, pictures included, from any position on.
#include "data/conversation_source.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "data/batch.h"
#include "data/offset_index.h"
#include "data/tar.h"
#include "data/validate.h"
#include "tests/data/folder.h"
#include "tests/data/picture.h"

namespace tephra::data {
namespace {

constexpr int kSamples = 23;

// A ustar member, with the type given.
std::string tar_member(const std::string& name, const std::string& bytes, char type = '0') {
  std::string header(512, '\0');
  header.replace(0, std::min<size_t>(name.size(), 100), name.substr(0, 100));
  const auto octal = [&](size_t at, const char* format, unsigned long long value) {
    char text[24];
    std::snprintf(text, sizeof text, format, value);
    header.replace(at, std::string(text).size(), text);
  };
  octal(100, "%07llo", 0644);
  octal(124, "%011llo", bytes.size());
  header[156] = type;
  header.replace(257, 5, "ustar");
  header.replace(263, 2, "00");
  header.replace(148, 8, "        ");
  unsigned long long sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  octal(148, "%06llo", sum);
  header[154] = '\0';
  std::string padded = bytes;
  padded.resize((bytes.size() + 511) / 512 * 512);
  return header + padded;
}

std::string tar_end() { return std::string(1024, '\0'); }

class ConversationSourceTest : public FolderTest {
 protected:
  ConversationSourceTest() {
    nlohmann::json array = nlohmann::json::array();
    std::string lines = "\n", shard;
    for (int i = 0; i < kSamples; ++i) {
      const std::string n = std::to_string(i), name = "pictures/" + n;
      const std::string png = png_text(gradient(9 + i, 12));
      nlohmann::json sample{
          {"id", "s" + n},
          {"conversations",
           {{{"from", "human"}, {"value", "What is " + n + "?"}}, {{"from", "gpt"}, {"value", "It\nis " + n}}}}};
      if (i % 3 != 0) {
        sample["image"] = n + ".png";
        sample["conversations"][0]["value"] = "<image>\nWhat is " + n + "?";
        write("images/" + n + ".png", png);
        shard += tar_member(name + ".png", png);
      }
      array.push_back(sample);
      lines += sample.dump() + (i % 5 == 0 ? "\r\n\n" : "\n");
      shard += tar_member(name + ".json", sample.dump());
      if (i == 9 || i == kSamples - 1) {
        write("shards/" + std::string(i == 9 ? "a" : "b") + ".tar", shard + tar_end());
        shard.clear();
      }
    }
    array_ = write("x.json", array.dump());
    lines_ = write("x.jsonl", lines);
    shards_ = root_ + "/shards";
    write("shards/readme.txt", "no shard");
  }
  static std::unique_ptr<ConversationSource> open(const std::string& path) {
    auto source = open_conversations(path);
    EXPECT_TRUE(source.ok()) << source.status().to_string();
    return std::move(source).value();
  }
  static std::string text(const Result<Sample>& s) {
    if (!s.ok()) return s.status().to_string();
    std::string out = s->id;
    for (const Turn& t : s->turns) out += "|" + t.from + ":" + t.value;
    return out;
  }

  std::string array_, lines_, shards_;
};

TEST_F(ConversationSourceTest, AllGiveTheSameSamplesInAnyOrder) {
  const auto array = open(array_), lines = open(lines_), shards = open(shards_);
  for (const auto* source : {lines.get(), shards.get()}) {
    ASSERT_EQ(source->size(), static_cast<uint64_t>(kSamples));
    for (uint64_t k = 0; k < kSamples; ++k) {
      const uint64_t i = (k * 7 + 3) % kSamples;
      EXPECT_EQ(text(source->sample(i)), text(array->sample(i)));
    }
  }
  EXPECT_EQ(lines->sample(0)->line, 2);
  EXPECT_EQ(lines->sample(2)->line, 5);
  EXPECT_EQ(*shards->picture(10, 0), png_text(gradient(19, 12)));
  EXPECT_EQ(shards->picture(9, 0).status().code(), Code::kNotFound);
}

TEST_F(ConversationSourceTest, IndicesAreKeptAndMadeAnew) {
  open(lines_);
  const std::string kept = lines_ + ".tephra-index";
  const std::string index = *read_file(Env::posix(), kept);
  EXPECT_EQ(index.size(), 32u + 16 * kSamples + 16);
  struct stat before {
  }, after{};
  ASSERT_EQ(stat(kept.c_str(), &before), 0);
  open(lines_);
  ASSERT_EQ(stat(kept.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino) << "used as it is";
  for (const std::string& damaged :
       {index.substr(0, 60), std::string("nonsense"), index.substr(0, 40) + "x" + index.substr(41)}) {
    write("x.jsonl.tephra-index", damaged);
    EXPECT_EQ(open(lines_)->size(), static_cast<uint64_t>(kSamples));
    EXPECT_EQ(*read_file(Env::posix(), kept), index);
  }
  write("x.jsonl",
        *read_file(Env::posix(), lines_) +
            R"({"id": "new", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]})");
  EXPECT_EQ(open(lines_)->sample(kSamples)->id, "new");
  // A folder in its place: the index cannot be kept.
  std::filesystem::remove(kept);
  std::filesystem::create_directories(kept + "/full");
  EXPECT_EQ(open(lines_)->sample(kSamples)->id, "new");
}

TEST_F(ConversationSourceTest, BrokenDataAreNamed) {
  const std::string path = write(
      "bad.jsonl",
      "{\"id\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"x\"}]}\n\n{\"id\": \"b\"}\nnonsense\n");
  const auto bad = open(path);
  EXPECT_TRUE(bad->sample(0).ok());
  EXPECT_EQ(bad->sample(1).status().message(), path + ":3: sample 1 (id \"b\"): conversations: is missing");
  const std::string nonsense = bad->sample(2).status().message();
  EXPECT_EQ(nonsense.find(path + ":4: sample 2: "), 0u) << nonsense;
  EXPECT_EQ(nonsense.find(":1:"), std::string::npos) << "no second place: " << nonsense;
  EXPECT_EQ(open_conversations(root_ + "/none.jsonl").status().code(), Code::kNotFound);
  EXPECT_EQ(open_conversations(root_ + "/images").status().code(), Code::kInvalidArgument) << "no shards";
  const std::string whole = *read_file(Env::posix(), shards_ + "/a.tar");
  write("cut/a.tar", whole.substr(0, 512 + 100));
  Status cut = open_conversations(root_ + "/cut").status();
  EXPECT_EQ(cut.code(), Code::kCorruption);
  EXPECT_NE(cut.message().find("a.tar: at byte 0: the member is cut off"), std::string::npos) << cut.message();
  write("cut/a.tar", std::string(2000, 'x'));
  EXPECT_NE(open_conversations(root_ + "/cut").status().message().find("no tar header"), std::string::npos);
}

TEST_F(ConversationSourceTest, ReadsOtherFormsOfTar) {
  const std::string longest = std::string(150, 'd') + "/17.txt";
  const std::string record = " path=" + longest + "\n";
  const std::string pax = std::to_string(record.size() + 3) + record;
  const std::string tar = tar_member("folder/", "", '5') + tar_member("pax", pax, 'x') + tar_member("short", "A cat.") +
                          tar_member("./@LongLink", std::string(150, 'd') + "/17.0.png", 'L') +
                          tar_member("short", "first") + tar_member("link", "", '2') + tar_member("18.txt", "A dog.") +
                          tar_end();
  const auto first = next_tar_member(tar, 0);
  ASSERT_TRUE(first.ok() && *first) << first.status().to_string();
  EXPECT_EQ((*first)->name, longest);
  EXPECT_EQ((*first)->bytes, "A cat.");
  write("other/x.tar", tar);
  const auto source = open(root_ + "/other");
  ASSERT_EQ(source->size(), 2u);
  EXPECT_EQ(text(source->sample(0)), std::string(150, 'd') + "/17|human:<image>\nDescribe the picture.|gpt:A cat.");
  EXPECT_EQ(*source->picture(0, 0), "first");
  EXPECT_EQ(source->sample(1)->id, "18");
}

TEST_F(ConversationSourceTest, ADatasetIsTheSameOverEachAndGoesOnFromOneInteger) {
  const auto tokenizer = std::move(*Tokenizer::load(TEPHRA_SOURCE_DIR "/recipes/base/language"));
  DatasetOptions options;
  options.template_name = "v1";
  options.image_root = root_ + "/images";
  options.preprocess.image_size = options.preprocess.shortest_edge = 14;
  std::vector<EncodedSample> expected;
  for (const std::string& path : {array_, lines_, shards_}) {
    options.conversations_path = path;
    auto opened = Dataset::open(options, tokenizer.get());
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    const SampleOrder order{5, kSamples, true};
    const uint64_t from = expected.empty() ? 0 : 2 * kSamples - 9;  // past an epoch's end
    std::vector<uint64_t> positions;
    for (uint64_t p = from; p < 3 * kSamples; ++p) positions.push_back(p);
    Loader loader(opened->get(), order, positions, {2, 2, 4});
    for (size_t at = from;;) {
      const auto batch = loader.next();
      ASSERT_TRUE(batch.ok()) << batch.status().to_string();
      if (batch->empty()) break;
      for (const EncodedSample& s : *batch) {
        if (from == 0) {
          expected.push_back(s);
          continue;
        }
        EXPECT_EQ(s.ids, expected[at].ids) << path << " " << at;
        EXPECT_EQ(s.pixels, expected[at].pixels) << path << " " << at;
        ++at;
      }
    }
    ValidateOptions check;
    check.conversations_path = path;
    check.image_root = options.image_root;
    check.template_name = "v1";
    check.threads = 2;
    const auto report = validate_dataset(check, *tokenizer);
    ASSERT_TRUE(report.ok()) << report.status().to_string();
    EXPECT_TRUE(report->ok()) << path << "\n" << to_text(*report);
    EXPECT_EQ(report->distinct_images, 15u) << path;
  }
}

}  // namespace
}  // namespace tephra::data
