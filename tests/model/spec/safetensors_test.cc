// The container: what is written reads back equal, and every kind of damage is named with file and tensor.
#include "model/spec/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "tests/base/temp_dir.h"

namespace tephra::model {
namespace {

using ::testing::HasSubstr;

// A file of this header text and `data` bytes of zero.
std::string write_raw(const std::string& path, const std::string& header, size_t data) {
  std::ofstream out(path, std::ios::binary);
  uint64_t length = header.size();
  out.write(reinterpret_cast<const char*>(&length), 8);
  out << header << std::string(data, '\0');
  return path;
}

Status open_status(const std::string& path) { return SafetensorsFile::open(path).status(); }

struct Damage {
  const char* name;
  const char* header;
  size_t data;
  const char* words;
};

class SafetensorsDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(SafetensorsDamage, IsNamedWithFileAndTensor) {
  TempDir dir;
  std::string path = write_raw(dir.path() + "/x.safetensors", GetParam().header, GetParam().data);
  Status status = open_status(path);
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_THAT(status.message(), HasSubstr(path));
  EXPECT_THAT(status.message(), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    All, SafetensorsDamage,
    ::testing::Values(
        Damage{"truncated", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 7, "truncated: tensor a"},
        Damage{
            "overlap",
            R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
            8, "tensor b overlaps"},
        Damage{"hole", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "tensor a leaves a hole"},
        Damage{"size", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "do not hold the 12 bytes"},
        Damage{"reversed", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8, "tensor a"},
        Damage{"dtype", R"({"a":{"dtype":"F7","shape":[2],"data_offsets":[0,8]}})", 8, "dtype F7"},
        Damage{
            "twice",
            R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}})",
            8, "tensor a occurs twice"},
        Damage{"negative", R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "tensor a"},
        Damage{"huge", R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", 8,
               "impossibly large"},
        Damage{"fields", R"({"a":{"shape":[2]}})", 8, "lacks dtype"}, Damage{"json", "{\"a\":", 8, "not a JSON object"},
        Damage{"array", "[1]", 8, "not a JSON object"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, NamesATruncatedHeaderAndAForeignFile) {
  TempDir dir;
  std::string path = dir.path() + "/x.safetensors";
  std::ofstream(path, std::ios::binary) << "abc";
  EXPECT_THAT(open_status(path).message(), HasSubstr("3 bytes"));
  uint64_t length = 1000;
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(&length), 8);
  EXPECT_THAT(open_status(path).message(), HasSubstr("truncated within its header"));
  std::ofstream(path, std::ios::binary) << "PK\x03\x04zipfile, as torch.save writes them";
  EXPECT_THAT(open_status(path).message(), HasSubstr("of another kind"));
  EXPECT_EQ(open_status(dir.path() + "/none").code(), Code::kNotFound);
}

// Element i of tensor t is 1000 t + i, as float32.
Status counting(const std::vector<TensorInfo>& all, const TensorInfo& info, int64_t begin, int64_t count,
                std::byte* out) {
  size_t t = 0;
  while (all[t].name != info.name) ++t;
  for (int64_t i = 0; i < count; ++i) {
    float value = 1000.0f * static_cast<float>(t) + static_cast<float>(begin + i);
    std::memcpy(out + 4 * i, &value, 4);
  }
  return ok_status();
}

TEST(Safetensors, ShardsReadBackAsWritten) {
  TempDir dir;
  std::vector<TensorInfo> all = {{"b", DType::kFloat32, {3, 2}},
                                 {"a", DType::kFloat32, {}},
                                 {"big", DType::kFloat32, {40}},
                                 {"c", DType::kFloat32, {0, 5}}};
  auto bytes = [&](const TensorInfo& info, int64_t begin, int64_t count, std::byte* out) {
    return counting(all, info, begin, count, out);
  };
  auto files = write_sharded_safetensors(Env::posix(), dir.path(), all, 32, {{"format", "pt"}}, bytes);
  ASSERT_TRUE(files.ok()) << files.status().to_string();
  EXPECT_THAT(*files, ::testing::ElementsAre("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                             "model-00003-of-00003.safetensors", "model.safetensors.index.json"));
  auto first = SafetensorsFile::open(dir.path() + "/" + (*files)[0]);
  ASSERT_TRUE(first.ok()) << first.status().to_string();
  ASSERT_EQ((*first)->tensors().size(), 2u);
  EXPECT_EQ((*first)->tensors()[1].shape, (Shape{3, 2}));
  EXPECT_EQ((*first)->metadata().at("format"), "pt");
  auto data = (*first)->bytes("b");
  ASSERT_TRUE(data.ok());
  float last;
  std::memcpy(&last, data->data() + 20, 4);
  EXPECT_EQ(last, 5.0f);
  EXPECT_EQ((*first)->bytes("big").status().code(), Code::kNotFound);
}

TEST(Safetensors, AFailedWriteLeavesTheOldFile) {
  TempDir dir;
  std::string path = dir.path() + "/m.safetensors";
  std::ofstream(path) << "old";
  auto fails = [](const TensorInfo&, int64_t, int64_t, std::byte*) { return Status(Code::kIo, "disk gone"); };
  Status status = write_safetensors(Env::posix(), path, {{"a", DType::kFloat32, {2}}}, {}, fails);
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_EQ(*read_file(Env::posix(), path), "old");
  EXPECT_FALSE(Env::posix().exists(path + ".partial"));
}

}  // namespace
}  // namespace tephra::model
