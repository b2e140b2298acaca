// A manifest file gives back what was written, and no byte of it can change unnoticed.
#include "storage/manifest_file.h"

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class ManifestFileTest : public StoreFixture {
 protected:
  std::string dir() { return dir_ / "store/manifests"; }
};

TEST_F(ManifestFileTest, HoldsWhatWasCommitted) {
  auto committed = save("j.1", "align", 7, small_model(1), 2);
  TEPHRA_ASSERT_OK(committed);
  auto files = list_manifest_files(env_, dir());
  TEPHRA_ASSERT_OK(files);
  ASSERT_EQ(files->size(), 1u);
  EXPECT_EQ((*files)[0].file, "j.1+align@7+c1.manifest");
  EXPECT_EQ((*files)[0].checkpoint, "j.1/align@7");
  EXPECT_EQ((*files)[0].sequence, 1u);
  auto read = read_manifest_file(env_, dir(), (*files)[0].file);
  TEPHRA_ASSERT_OK(read);
  EXPECT_EQ(encode_manifest_header(*read), encode_manifest_header(*committed));
  EXPECT_EQ(encode_manifest_tensors(read->tensors), encode_manifest_tensors(committed->tensors));
}

TEST_F(ManifestFileTest, EveryFlippedByteAndEveryCutIsNoticed) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("w", {3}, 1)}));
  const std::string file = "j+s@1+c1.manifest", path = dir() + "/" + file;
  const std::string bytes = *read_file(Env::posix(), path);
  for (size_t at = 0; at < bytes.size(); ++at) {
    TEPHRA_ASSERT_OK(env_.flip_bit(path, at, static_cast<int>(at % 8)));
    EXPECT_FALSE(read_manifest_file(env_, dir(), file).ok()) << "byte " << at;
    TEPHRA_ASSERT_OK(env_.flip_bit(path, at, static_cast<int>(at % 8)));
  }
  TEPHRA_ASSERT_OK(read_manifest_file(env_, dir(), file));
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_TRUE(write_file_atomic(Env::posix(), path, bytes.substr(0, size)).ok());
    Status status = read_manifest_file(env_, dir(), file).status();
    EXPECT_EQ(status.code(), Code::kCorruption) << size;
    EXPECT_NE(status.message().find(path), std::string::npos) << status.message();
  }
}

TEST_F(ManifestFileTest, AFileUnderAnothersNameIsNotTaken) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("w", {3}, 1)}));
  TEPHRA_ASSERT_OK(env_.rename(dir() + "/j+s@1+c1.manifest", dir() + "/j+s@2+c1.manifest"));
  EXPECT_EQ(read_manifest_file(env_, dir(), "j+s@2+c1.manifest").status().code(), Code::kCorruption);
  for (const char* name : {"x", "j+s@1.manifest", "j+c1.manifest", "j+s@1+c.manifest", "j+s@1+cx.manifest"})
    ASSERT_TRUE(write_file_atomic(Env::posix(), dir() + "/" + name, "").ok());
  EXPECT_EQ(list_manifest_files(env_, dir())->size(), 1u) << "only names of the form are listed";
  EXPECT_TRUE(list_manifest_files(env_, dir_ / "nowhere")->empty());
}

TEST_F(ManifestFileTest, NamesTooLongForAFileAreRefusedBeforeAnythingIsWritten) {
  Status status = save(std::string(128, 'j'), std::string(128, 's'), 1, {make_tensor("w", {3}, 1)}).status();
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.message();
  EXPECT_TRUE(store_->list()->empty());
}

}  // namespace
}  // namespace tephra::storage
