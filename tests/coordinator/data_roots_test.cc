// What is proved: that a recipe names nothing outside the roots, not by '..' and not by a link.
#include "coordinator/data_roots.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api_fixture.h"
#include "coordinator/tokens.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

TEST(DataRoots, PathsLieWithinThem) {
  TempDir dir;
  const std::string root = dir / "data";
  std::filesystem::create_directories(root + "/a");
  std::filesystem::create_directory_symlink(dir.path(), root + "/out");
  std::filesystem::create_directory_symlink(root + "/a", root + "/in");
  const auto check = [&](const std::string& path) {
    return check_data_roots(json{{"name", "x"}, {"datasets", {{"d", {{"images", path}}}}}}.dump(), {root}).code();
  };
  for (const std::string& inside :
       {root, root + "/a", root + "/a/absent", root + "/in/x", std::string("relative"), std::string()})
    EXPECT_EQ(check(inside), Code::kOk) << inside;
  for (const std::string& outside : {dir / "other", root + "/../other", root + "/a/../../other", root + "/out/other",
                                     root + "x", std::string("/etc/passwd"), std::string("/")})
    EXPECT_EQ(check(outside), Code::kPermission) << outside;
  EXPECT_EQ(check_data_roots(json{{"list", {{"/etc"}}}}.dump(), {root}).code(), Code::kPermission);
  EXPECT_TRUE(check_data_roots(json{{"list", {"/etc"}}}.dump(), {}).ok());
  EXPECT_TRUE(check_data_roots(json{{"list", {dir / "other"}}}.dump(), {root, dir.path()}).ok())
      << "one of them is enough";
}

class ApiDataRoots : public ApiTest {
 protected:
  void change(Options& options) override { options.data_roots = {dir_ / "allowed"}; }
};

TEST_F(ApiDataRoots, HoldForAllButAdmins) {
  std::filesystem::create_directories(dir_ / "allowed");
  const NewToken sam = *create_token(tokens_path(dir_ / "store"), "sam", Role::kSubmitter, 0);
  const auto body = [&](const std::string& folder) {
    return json{{"recipe_json", json::parse(make_recipe(folder, 1, 2))}}.dump();
  };
  const cluster::Reply refused = post("/api/v1/jobs", body(dir_ / "elsewhere"), sam.token);
  EXPECT_EQ(refused.status, 403) << refused.body;
  EXPECT_NE(refused.body.find("lies outside the folders"), std::string::npos) << refused.body;
  EXPECT_EQ(post("/api/v1/jobs", body(dir_ / "allowed"), sam.token).status, 201);
  EXPECT_EQ(post("/api/v1/jobs", body(dir_ / "elsewhere")).status, 201) << "an admin may";
}

}  // namespace
}  // namespace tephra::coordinator
