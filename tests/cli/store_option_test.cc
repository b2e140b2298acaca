// What the command line says goes before the environment, which goes before the default; verbs that share the value too.
#include "cli/store_option.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

namespace tephra::cli {
namespace {

class StoreOption : public testing::Test {
 protected:
  ~StoreOption() override { ::unsetenv("TEPHRA_STORE"); }

  std::string store_of(const std::string& line) {
    std::string store = "default";
    CLI::App app;
    for (const char* name : {"before", "ls", "after"}) add_store_option(*app.add_subcommand(name), store);
    app.parse(line);
    return store;
  }
};

TEST_F(StoreOption, OfTheCommandLineGoesBeforeTheEnvironment) {
  ::setenv("TEPHRA_STORE", "environment", 1);
  EXPECT_EQ(store_of("ls --store given"), "given");
  EXPECT_EQ(store_of("ls --store=given"), "given");
  EXPECT_EQ(store_of("ls"), "environment");
}

TEST_F(StoreOption, WithoutAnEnvironmentTheDefaultStays) {
  ::unsetenv("TEPHRA_STORE");
  EXPECT_EQ(store_of("ls"), "default");
  EXPECT_EQ(store_of("ls --store given"), "given");
}

}  // namespace
}  // namespace tephra::cli
