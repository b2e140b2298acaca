// What tests of generated datasets share: a scratch folder, its files by name, and JSON read back.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/env.h"
#include "tests/base/temp_dir.h"

namespace tephra::data {

class FolderTest : public ::testing::Test {
 protected:
  // Makes the folders on the way. Returns the full path.
  std::string write(const std::string& relative, std::string_view bytes) const {
    const std::filesystem::path path = std::filesystem::path(root_) / relative;
    std::filesystem::create_directories(path.parent_path());
    EXPECT_TRUE(write_file_atomic(Env::posix(), path.string(), bytes).ok());
    return path.string();
  }
  std::map<std::string, std::string> contents(const std::string& folder) const {
    std::map<std::string, std::string> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_ + "/" + folder)) {
      if (!entry.is_regular_file()) continue;
      auto bytes = read_file(Env::posix(), entry.path().string());
      EXPECT_TRUE(bytes.ok());
      out[std::filesystem::relative(entry.path(), root_ + "/" + folder).string()] = *bytes;
    }
    return out;
  }
  nlohmann::json json(const std::string& relative) const {
    auto bytes = read_file(Env::posix(), root_ + "/" + relative);
    EXPECT_TRUE(bytes.ok()) << relative;
    return nlohmann::json::parse(*bytes);
  }

  TempDir dir_;
  const std::string root_ = dir_.path();
};

}  // namespace tephra::data
