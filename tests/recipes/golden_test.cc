// Golden diagnostics: golden/CASE.yaml must give exactly golden/CASE.expected, positions included. Lines "# --set
// a.b=v" at the top of a case are its overrides. And the reference page holds exactly the schema's table.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "recipes/recipe.h"
#include "recipes/schema.h"

namespace tephra::recipes {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> overrides_of(const std::string& text) {
  std::vector<std::string> overrides;
  std::istringstream lines(text);
  const std::string mark = "# --set ";
  for (std::string line; std::getline(lines, line) && line.starts_with(mark);)
    overrides.push_back(line.substr(mark.size()));
  return overrides;
}

TEST(GoldenDiagnostics, EachBrokenRecipeGivesItsMessages) {
  std::set<fs::path> cases;
  for (const auto& entry : fs::directory_iterator(fs::path(TEPHRA_SOURCE_DIR) / "tests/recipes/golden"))
    if (entry.path().extension() == ".yaml") cases.insert(entry.path());
  EXPECT_GE(cases.size(), 15u);
  for (const auto& path : cases) {
    const std::string text = read(path);
    const LoadResult result = parse_recipe(text, path.filename().string(), overrides_of(text));
    const fs::path expected = fs::path(path).replace_extension(".expected");
    EXPECT_EQ(to_string(result.diagnostics) + "\n", read(expected)) << path;
  }
}

TEST(RecipeReference, HoldsTheSchemasTable) {
  const std::string page = read(fs::path(TEPHRA_SOURCE_DIR) / "docs/recipes.md");
  const std::string begin = "<!-- fields -->\n", end = "<!-- end of fields -->";
  const size_t from = page.find(begin), to = page.find(end);
  ASSERT_NE(from, std::string::npos);
  ASSERT_NE(to, std::string::npos);
  EXPECT_EQ(page.substr(from + begin.size(), to - from - begin.size()), markdown_reference())
      << "docs/recipes.md is stale: put markdown_reference() between its marks";
}

TEST(RecipeReference, ShowsARecipeThatLoads) {
  const std::string page = read(fs::path(TEPHRA_SOURCE_DIR) / "docs/recipes.md");
  const size_t from = page.find("```yaml\n"), to = page.find("```", from + 8);
  ASSERT_NE(to, std::string::npos);
  const LoadResult result = parse_recipe(page.substr(from + 8, to - from - 8), "/example.yaml");
  EXPECT_EQ(to_string(result.diagnostics), "");
}

TEST(Schema, EveryFieldSaysWhatItMeans) {
  std::set<std::string> paths;
  for (const auto& row : field_rows()) {
    EXPECT_FALSE(row.about.empty()) << row.path;
    EXPECT_TRUE(paths.insert(row.path).second) << row.path << " is there twice";
  }
  EXPECT_TRUE(paths.contains("stages[].optimizer.lr"));
  EXPECT_TRUE(paths.contains("benches.<name>.answer_rule"));
}

}  // namespace
}  // namespace tephra::recipes
