// What the program says of itself: a manual page that groff sets without a word.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/e2e/harness.h"

namespace tephra::cli {
namespace {

using e2e::Finished;
using e2e::Process;
using e2e::Scratch;

bool there(const std::string& program) { return std::system(("command -v " + program + " >/dev/null").c_str()) == 0; }

Finished shell(const Scratch& scratch, const std::string& program, const std::string& script) {
  return Process({"/usr/bin/env", program, "-c", script}, scratch.path("")).wait();
}

std::string own(const Scratch& scratch, const std::vector<std::string>& arguments) {
  const Finished finished = e2e::tephra(scratch, arguments);
  EXPECT_EQ(finished.code, 0) << finished.err;
  return finished.out;
}

TEST(ManPage, HasEveryVerbAndGroffHasNothingToSay) {
  Scratch scratch;
  const std::string page = own(scratch, {"man"});
  for (const char* verb : {"run", "ckpt ls", "ckpt gc", "watch", "completion"})
    EXPECT_NE(page.find(std::string(".SS \"tephra ") + verb), std::string::npos) << verb;
  EXPECT_NE(page.find("TEPHRA_STORE"), std::string::npos);
  if (!there("groff")) GTEST_SKIP() << "NOT RUN in part: there is no groff to set the page";
  const Finished set =
      shell(scratch, "sh", "groff -man -Tutf8 -ww " + scratch.write("tephra.1", page) + " > " + scratch.path("out"));
  EXPECT_EQ(set.code, 0);
  EXPECT_EQ(set.err, "");
}

}  // namespace
}  // namespace tephra::cli
