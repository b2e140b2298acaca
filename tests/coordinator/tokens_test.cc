// What is proved: what the tokens file holds and who may read it, that only whole tokens are known, and that a change is
// seen at once.
#include "coordinator/tokens.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/env.h"
#include "coordinator/crypto.h"
#include "tests/base/temp_dir.h"

namespace tephra::coordinator {
namespace {

TEST(Crypto, EqualsPublishedVectors) {
  // FIPS 180-2 and RFC 4231, test case 2.
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hmac_sha256_hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(random_hex(16).size(), 32u);
  EXPECT_NE(random_hex(16), random_hex(16));
}

TEST(Tokens, TheFileHoldsHashesOnlyAndIsItsOwners) {
  TempDir dir;
  const std::string path = tokens_path(dir.path());
  const auto made = create_token(path, "anna", Role::kSubmitter, 5);
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  EXPECT_EQ(made->token.size(), std::string("tephra_").size() + 8 + 1 + 64);
  const auto text = read_file(Env::posix(), path);
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(text->find(made->token.substr(16)), std::string::npos) << "the secret part";
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto records = read_tokens(path);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 1u);
  EXPECT_EQ((*records)[0].name, "anna");
  EXPECT_EQ((*records)[0].role, Role::kSubmitter);
  EXPECT_EQ((*records)[0].created_unix_ms, 5);
  const auto twin = create_token(path, "anna", Role::kSubmitter, 6);
  ASSERT_TRUE(twin.ok());
  EXPECT_NE((*read_tokens(path))[1].salt, (*records)[0].salt);
}

TEST(Tokens, OnlyAWholeTokenIsKnown) {
  TempDir dir;
  const std::string path = tokens_path(dir.path());
  const std::string token = create_token(path, "anna", Role::kViewer, 0)->token;
  const TokenCheck check("the admin's", path);
  ASSERT_TRUE(check.find(token).has_value());
  EXPECT_EQ(check.find(token)->name, "anna");
  EXPECT_EQ(check.find(token)->role, Role::kViewer);
  EXPECT_EQ(check.find("the admin's")->role, Role::kAdmin);
  std::string altered = token;
  altered.back() = altered.back() == '0' ? '1' : '0';
  for (const std::string& other : {altered, token.substr(0, token.size() - 1), token + "0", token.substr(0, 16),
                                   std::string(), std::string("the admin'"), std::string("tephra_")})
    EXPECT_FALSE(check.find(other).has_value()) << other;
}

TEST(Tokens, AChangeIsSeenAtOnceAndRevokingTheLastClosesTheDoor) {
  TempDir dir;
  const std::string path = tokens_path(dir.path());
  const TokenCheck check("", path);
  EXPECT_FALSE(check.required());
  const NewToken first = *create_token(path, "anna", Role::kAdmin, 0),
                 second = *create_token(path, "ben", Role::kViewer, 0);
  EXPECT_TRUE(check.required());
  EXPECT_TRUE(check.find(first.token) && check.find(second.token));
  ASSERT_TRUE(revoke_token(path, first.id).ok());
  EXPECT_FALSE(check.find(first.token));
  EXPECT_TRUE(check.find(second.token));
  ASSERT_TRUE(revoke_token(path, second.id).ok());
  EXPECT_FALSE(check.find(second.token));
  EXPECT_TRUE(check.required());
  EXPECT_EQ(revoke_token(path, second.id).code(), Code::kNotFound);
}

TEST(Tokens, AFileThatIsNotUnderstoodLetsNobodyIn) {
  TempDir dir;
  const std::string path = tokens_path(dir.path());
  const std::string token = create_token(path, "anna", Role::kAdmin, 0)->token;
  const TokenCheck check("", path);
  ASSERT_TRUE(check.find(token));
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(read_tokens(path).status().code(), Code::kPermission);
  std::filesystem::remove(path);
  for (
      const char* text :
      {"", "{}", "[1]", R"({"version": 2, "tokens": []})", R"({"version": 1, "tokens": [{"id": 3}]})",
       R"({"version": 1, "tokens": [{"id":"a","name":"b","salt":"","sha256":"","role":"king","created_unix_ms":0}]})"}) {
    std::ofstream(path) << text;
    ::chmod(path.c_str(), 0600);
    EXPECT_FALSE(read_tokens(path).ok()) << text;
    EXPECT_TRUE(check.required()) << text;
    EXPECT_FALSE(check.find(token)) << text;
    std::filesystem::remove(path);
  }
}

TEST(Tokens, NamesAndRolesAreChecked) {
  TempDir dir;
  const std::string path = tokens_path(dir.path());
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a\nb"), std::string("../x"), std::string(65, 'a')})
    EXPECT_EQ(create_token(path, name, Role::kAdmin, 0).status().code(), Code::kInvalidArgument) << name;
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(*parse_role("viewer"), Role::kViewer);
  EXPECT_EQ(parse_role("none").status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra::coordinator
