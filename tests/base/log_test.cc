// One event is one line, whatever its values hold.
#include "base/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "tests/base/temp_dir.h"

namespace tephra {
namespace {

class Log : public ::testing::Test {
 protected:
  void TearDown() override { log::init("", log::Level::kWarning, "test"); }

  std::string logged(log::Level level, std::string_view message, log::Fields fields) {
    log::init(dir_ / "log", log::Level::kInfo, "test");
    log::write(level, message, fields);
    auto text = read_file(Env::posix(), dir_ / "log");
    EXPECT_TRUE(text.ok()) << text.status().to_string();
    return text.ok() ? *text : "";
  }
  TempDir dir_;
};

TEST_F(Log, WritesMessageAndFields) {
  std::string text = logged(log::Level::kInfo, "checkpoint committed", {{"step", 40}, {"job", "a"}});
  EXPECT_NE(text.find("info test: checkpoint committed step=40 job=a\n"), std::string::npos) << text;
}

TEST_F(Log, QuotesValuesWithSpaces) {
  std::string text = logged(log::Level::kError, "failed", {{"why", "disk full"}, {"hint", ""}});
  EXPECT_NE(text.find("failed why=\"disk full\" hint=\"\"\n"), std::string::npos) << text;
}

TEST_F(Log, EscapesQuotesAndNewlinesSoThatAnEventStaysOneLine) {
  std::string text = logged(log::Level::kError, "failed", {{"why", "a \"b\"\nc\\d"}});
  EXPECT_NE(text.find("why=\"a \\\"b\\\"\\nc\\\\d\"\n"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST_F(Log, BracesAreNotAFormat) {
  EXPECT_NE(logged(log::Level::kInfo, "{} {0}", {{"json", "{}"}}).find("{} {0} json={}"), std::string::npos);
}

TEST_F(Log, WritesJsonWhateverTheValuesHold) {
  log::init(dir_ / "json", log::Level::kInfo, "test", log::Format::kJson);
  log::write(log::Level::kError, "it \"failed\"", {{"why", "a\nb\\"}, {"bytes", "\xff\xfe"}, {"step", 40}});
  const auto text = read_file(Env::posix(), dir_ / "json");
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(std::count(text->begin(), text->end(), '\n'), 1);
  const nlohmann::json line = nlohmann::json::parse(*text);
  EXPECT_EQ(line["message"], "it \"failed\"");
  EXPECT_EQ(line["level"], "error");
  EXPECT_EQ(line["process"], "test");
  EXPECT_EQ(line["why"], "a\nb\\");
  EXPECT_EQ(line["step"], "40");
  EXPECT_EQ(line["time"].get<std::string>().substr(0, 2), "20");
}

TEST_F(Log, DropsLinesBelowTheLevel) { EXPECT_EQ(logged(log::Level::kDebug, "noise", {}), ""); }

}  // namespace
}  // namespace tephra
