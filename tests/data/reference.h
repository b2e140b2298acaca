// The parity set, where TEPHRA_REFERENCE_DIR says. Tests that need it skip, loudly, without it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "base/env.h"

namespace tephra::data {

#define TEPHRA_REQUIRE_REFERENCE(dir)                                                              \
  const char* reference_dir_text = std::getenv("TEPHRA_REFERENCE_DIR");                            \
  if (reference_dir_text == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR to the parity set"; \
  const std::string dir = reference_dir_text

// The tokenizer of the language model that ships: SentencePiece, 900 pieces.
inline const std::string kBaseTokenizer = TEPHRA_SOURCE_DIR "/recipes/base/new-language";

inline nlohmann::json read_reference(const std::string& path) {
  auto text = read_file(Env::posix(), path);
  EXPECT_TRUE(text.ok()) << text.status().to_string();
  return nlohmann::json::parse(text.ok() ? *text : "null");
}

// A folder that is gone when the test ends.
class TempDir {
 public:
  TempDir() {
    path_ = ::testing::TempDir() + "tephra_data_XXXXXX";
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string write(const std::string& name, std::string_view bytes) const {
    std::string full = path_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(full).parent_path());
    std::ofstream(full, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return full;
  }

 private:
  std::string path_;
};

}  // namespace tephra::data
