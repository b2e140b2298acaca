// docs/examples/read_checkpoint.py, which knows the format page and numpy only, reads what this library wrote, bit for bit, and notices a
// changed byte. An independent reader of the same page.
#include <cstdlib>
#include <fstream>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class PythonReaderTest : public StoreFixture {
 protected:
  std::string python_;

  void SetUp() override {
    StoreFixture::SetUp();
    for (const std::string python : {"python3", "/usr/bin/python3"})
      if (python_.empty() && std::system((python + " -c 'import numpy, xxhash' > /dev/null 2>&1").c_str()) == 0)
        python_ = python;
    if (python_.empty())
      GTEST_SKIP() << "NOT RUN: python3 with numpy and xxhash (Debian: python3-numpy, python3-xxhash)";
  }
  // The script's exit status; what it printed is in out().
  int read(const std::string& arguments) {
    const std::string command = python_ + " '" TEPHRA_SOURCE_DIR "/docs/examples/read_checkpoint.py' '" +
                                (dir_ / "store") + "' " + arguments + " > '" + (dir_ / "out") + "' 2>&1";
    return std::system(command.c_str());
  }
  std::string out() { return *read_file(Env::posix(), dir_ / "out"); }

  // As the script gives them: bfloat16 as float32.
  void expect_equal(const std::string& npz, const std::vector<TestTensor>& tensors) {
    std::ofstream list(dir_ / "list");
    for (size_t i = 0; i < tensors.size(); ++i) {
      const TestTensor& t = tensors[i];
      std::vector<std::byte> bytes = t.bytes;
      if (t.dtype == DType::kBFloat16) {
        bytes.resize(2 * t.bytes.size());
        TEPHRA_ASSERT_OK(
            convert_to_float32(t.bytes.data(), t.dtype, numel(t.shape), reinterpret_cast<float*>(bytes.data())));
      }
      std::ofstream(dir_ / std::to_string(i), std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
      list << (t.kind == StateKind::kParameter ? t.name : t.name + ":" + std::string(state_kind_name(t.kind))) << " "
           << (dir_ / std::to_string(i)) << "\n";
    }
    list.close();
    const std::string script =
        "import sys, numpy\n"
        "found = numpy.load(sys.argv[1])\n"
        "rows = [line.rsplit(' ', 1) for line in open(sys.argv[2]).read().splitlines()]\n"
        "assert sorted(found.files) == sorted(name for name, _ in rows), found.files\n"
        "for name, path in rows:\n"
        "    assert found[name].tobytes() == open(path, 'rb').read(), name\n"
        "print(len(rows))\n";
    ASSERT_TRUE(write_file_atomic(Env::posix(), dir_ / "compare.py", script).ok());
    const std::string command = python_ + " '" + (dir_ / "compare.py") + "' '" + npz + "' '" + (dir_ / "list") +
                                "' > '" + (dir_ / "out") + "' 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << out();
    EXPECT_EQ(out(), std::to_string(tensors.size()) + "\n");
  }
};

TEST_F(PythonReaderTest, ReadsEveryTensorBitForBit) {
  std::vector<TestTensor> first = small_model(1);
  first.push_back(make_tensor("large", {3, 700001}, 1));  // cut at 4 MiB and between ranks
  auto parent = save("j.1", "align", 7, first, 3);
  TEPHRA_ASSERT_OK(parent);
  const std::vector<TestTensor> second{make_tensor("b.bias", {7}, 2),
                                       make_tensor("b.bias", {7}, 2, DType::kFloat32, StateKind::kFirstMoment)};
  TEPHRA_ASSERT_OK(save("j.1", "align", 8, second, 2, &*parent));
  store_.reset();  // nobody has it open
  ASSERT_EQ(read(""), 0) << out();
  EXPECT_EQ(out(), "j.1/align@7\nj.1/align@8\n");
  ASSERT_EQ(read("j.1/align@7 --npz '" + (dir_ / "a.npz") + "'"), 0) << out();
  expect_equal(dir_ / "a.npz", first);
  ASSERT_EQ(read("j.1/align@8 --npz '" + (dir_ / "b.npz") + "'"), 0) << out();
  // The parent's tensors that the second did not write, its moments of a.weight among them, as save() keeps them.
  std::vector<TestTensor> kept = second;
  for (const TestTensor& tensor : first)
    if (tensor.name != "b.bias") kept.push_back(tensor);
  expect_equal(dir_ / "b.npz", kept);
  ASSERT_EQ(read("j.1/align@8"), 0);
  EXPECT_NE(out().find("b.bias first_moment F32 [7] trained"), std::string::npos) << out();
  EXPECT_NE(out().find("large parameter F32 [3, 700001] frozen"), std::string::npos) << out();
}

TEST_F(PythonReaderTest, NoticesAChangedByteInAnyOfTheFiles) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("w", {100}, 1)}));
  store_.reset();
  const std::string pack = dir_ / "store/packs" + ("/" + pack_name("j", 0, "s", 1, 0) + ".pack");
  const std::string manifest = dir_ / "store/manifests/j+s@1+c1.manifest",
                    load = "j/s@1 --npz '" + (dir_ / "a.npz") + "'";
  const uint64_t size = Env::posix().open(pack).value()->size_bytes();
  ASSERT_EQ(read(load), 0) << out();
  for (const auto& [path, at] :
       std::vector<std::pair<std::string, uint64_t>>{{pack, 80}, {pack, size - 90}, {manifest, 40}}) {
    TEPHRA_ASSERT_OK(env_.flip_bit(path, at, 3));
    EXPECT_NE(read(load), 0) << path << " " << at;
    EXPECT_NE(out().find("checksum"), std::string::npos) << out();
    TEPHRA_ASSERT_OK(env_.flip_bit(path, at, 3));
  }
  EXPECT_EQ(read(load), 0) << out();
}

}  // namespace
}  // namespace tephra::storage
