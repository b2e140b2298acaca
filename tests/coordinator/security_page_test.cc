// docs/security.md claims nothing without a test: each row of its tables of what cannot be done names one, and each test that it names
// is there.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <vector>

namespace tephra {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> all_matches(const std::string& text, const char* pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) found.push_back((*at)[1]);
  return found;
}

std::set<std::string> tests_of_the_source() {
  std::set<std::string> names;
  for (const fs::directory_entry& file : fs::recursive_directory_iterator(TEPHRA_SOURCE_DIR "/tests")) {
    if (file.path().extension() != ".cc") continue;
    const std::string text = text_of(file.path());
    const std::regex expression(R"(\bTEST(?:_F|_P)?\((\w+),\s*(\w+)\))");
    for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
      names.insert((*at)[1].str() + "." + (*at)[2].str());
  }
  return names;
}

TEST(SecurityPage, EachTestThatItNamesIsThere) {
  const std::string page = text_of(TEPHRA_SOURCE_DIR "/docs/security.md");
  const std::set<std::string> tests = tests_of_the_source();
  const std::vector<std::string> named = all_matches(page, R"(`([A-Z]\w*\.[A-Z]\w*)`)");
  EXPECT_GT(named.size(), 50u);
  for (const std::string& name : named)
    EXPECT_TRUE(name == "Suite.Test" || tests.contains(name)) << "docs/security.md names " << name;
  for (const std::string& path : all_matches(page, R"(`(tests/[\w/.]+)`)"))
    EXPECT_TRUE(fs::exists(TEPHRA_SOURCE_DIR "/" + path)) << path;
}

TEST(SecurityPage, EachRowOfWhatCannotBeDoneNamesATest) {
  std::istringstream page(text_of(TEPHRA_SOURCE_DIR "/docs/security.md"));
  bool inside = false;
  int rows = 0;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| cannot |")) inside = true;
    if (!line.starts_with('|')) inside = false;
    if (!inside || line.starts_with("| cannot |") || line.starts_with("|---")) continue;
    ++rows;
    EXPECT_FALSE(all_matches(line, R"((`[A-Z]\w*\.[A-Z]\w*`|`tests/[\w/.]+`))").empty()) << line;
  }
  EXPECT_GT(rows, 20);
}

}  // namespace
}  // namespace tephra
