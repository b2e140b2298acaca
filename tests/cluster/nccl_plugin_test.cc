// The loader alone, on any machine: what is not a plugin of this build is refused with a sentence that helps.
#include "cluster/nccl_plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tephra::cluster {
namespace {

using ::testing::HasSubstr;

TEST(NcclPlugin, MissingSaysWhereItLookedAndWhatToDo) {
  const auto plugin = NcclPlugin::load("/no/such/folder/libtephra_cuda.so");
  ASSERT_FALSE(plugin.ok());
  EXPECT_EQ(plugin.status().code(), Code::kUnavailable);
  EXPECT_EQ(plugin.status().retry_class(), RetryClass::kNeedsOperator);
  EXPECT_THAT(plugin.status().message(), HasSubstr("/no/such/folder/libtephra_cuda.so: cannot open"));
  EXPECT_THAT(plugin.status().message(), HasSubstr("cmake --preset cuda"));
  EXPECT_THAT(plugin.status().message(), HasSubstr("run without GPUs"));
}

TEST(NcclPlugin, OtherVersionIsRefusedBeforeItIsUsed) {
  const auto plugin = NcclPlugin::load(TEPHRA_TEST_wrong_version);
  ASSERT_FALSE(plugin.ok());
  EXPECT_EQ(plugin.status().code(), Code::kUnsupported);
  EXPECT_THAT(plugin.status().message(), HasSubstr("version 1000000"));
  EXPECT_THAT(plugin.status().message(), HasSubstr("needs version " + std::to_string(kNcclPluginVersion)));
}

TEST(NcclPlugin, OtherLibraryIsRefused) {
  const auto plugin = NcclPlugin::load(TEPHRA_TEST_no_plugin);
  ASSERT_FALSE(plugin.ok());
  EXPECT_EQ(plugin.status().code(), Code::kUnsupported);
  EXPECT_THAT(plugin.status().message(), HasSubstr("no plugin of Tephra's"));
}

TEST(NcclPlugin, IsLookedForInTheInstallation) {
  const auto path = nccl_plugin_path();
  ASSERT_TRUE(path.ok()) << path.status().to_string();
  const std::string programs = TEPHRA_BIN_DIR;  // where this test program was built
  EXPECT_EQ(*path, programs.substr(0, programs.rfind('/')) + "/lib/libtephra_cuda.so");
}

}  // namespace
}  // namespace tephra::cluster
