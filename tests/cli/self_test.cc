// What the program says of itself: completion scripts that the shells take, and a manual page that groff sets without a word.
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

// What bash offers for the last of `words`.
std::string offered(const Scratch& scratch, const std::string& script, const std::string& words, int last) {
  const Finished finished = shell(scratch, "bash",
                                  "source " + script + "; COMP_WORDS=(" + words +
                                      "); COMP_CWORD=" + std::to_string(last) + "; _tephra; echo \"${COMPREPLY[@]}\"");
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_EQ(finished.err, "");
  return finished.out;
}

TEST(Completion, BashCompletesVerbsAndOptions) {
  if (!there("bash")) GTEST_SKIP() << "NOT RUN: there is no bash";
  Scratch scratch;
  const std::string script = scratch.write("tephra.bash", own(scratch, {"completion", "bash"}));
  EXPECT_EQ(offered(scratch, script, "tephra ckpt l", 2), "ls log\n");
  EXPECT_EQ(offered(scratch, script, "tephra wat", 1), "watch\n");
  EXPECT_EQ(offered(scratch, script, "tephra submit a.yaml --swe", 3), "--sweep\n");
  EXPECT_EQ(offered(scratch, script, "tephra run a.yaml nothing", 3), "\n") << "file names are the shell's";
}

TEST(Completion, OtherShellsTakeTheirScripts) {
  Scratch scratch;
  int ran = 0;
  for (const std::string name : {"zsh", "fish"}) {
    const std::string script = scratch.write("tephra." + name, own(scratch, {"completion", name}));
    EXPECT_NE(e2e::read_text(script).find("ckpt ls"), std::string::npos);
    if (!there(name)) continue;
    ++ran;
    const Finished checked = Process({"/usr/bin/env", name, "-n", script}, scratch.path("")).wait();
    EXPECT_EQ(checked.code, 0) << checked.err;
    EXPECT_EQ(checked.err, "");
  }
  const Finished unknown = e2e::tephra(scratch, {"completion", "tcsh"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_NE(unknown.err.find("there are bash, zsh, fish"), std::string::npos) << unknown.err;
  if (ran == 0) GTEST_SKIP() << "NOT RUN in part: there is neither zsh nor fish to read the scripts";
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
