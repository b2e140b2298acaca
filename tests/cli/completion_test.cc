// The completion scripts in the real shells: what is offered where a user presses Tab.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <sstream>

#include "tests/e2e/harness.h"

namespace tephra::cli {
namespace {

using e2e::Finished;
using e2e::Process;
using e2e::Scratch;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using Words = std::set<std::string>;

// A shell in an empty folder with the script in it, "tephra.SHELL".
class Completion : public ::testing::Test {
 protected:
  bool there(const std::string& shell) { return std::system(("command -v " + shell + " >/dev/null").c_str()) == 0; }
  std::string script(const std::string& shell) {
    const Finished finished = e2e::tephra(scratch_, {"completion", shell});
    EXPECT_EQ(finished.code, 0) << finished.err;
    return scratch_.write("tephra." + shell, finished.out);
  }
  // In the scratch folder.
  Finished run(std::vector<std::string> command) {
    command.insert(command.begin(), {"/usr/bin/env", "-C", scratch_.path("")});
    return Process(command, scratch_.path(""), {{"HOME", scratch_.path("")}}).wait(std::chrono::seconds(60));
  }
  // Words of each line up to a tab.
  static Words lines(const std::string& text) {
    Words words;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);)
      if (!line.empty()) words.insert(line.substr(0, line.find('\t')));
    return words;
  }

  Scratch scratch_;
};

class BashCompletion : public Completion {
 protected:
  void SetUp() override {
    if (!there("bash")) GTEST_SKIP() << "NOT RUN: there is no bash";
    script_ = script("bash");
  }
  Words offered(const std::string& words, int last) {
    const Finished finished =
        run({"bash", "-c",
             "source " + script_ + "; COMP_WORDS=(" + words + "); COMP_CWORD=" + std::to_string(last) +
                 "; _tephra; printf '%s\\n' \"${COMPREPLY[@]}\""});
    EXPECT_EQ(finished.code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    return lines(finished.out);
  }
  std::string script_;
};

TEST_F(BashCompletion, OffersVerbsAndOptions) {
  EXPECT_THAT(offered("tephra ckpt l", 2), ElementsAre("log", "ls"));
  EXPECT_THAT(offered("tephra wat", 1), ElementsAre("watch"));
  EXPECT_THAT(offered("tephra submit a.yaml --swe", 3), ElementsAre("--sweep"));
  EXPECT_THAT(offered("tephra run a.yaml nothing", 3), IsEmpty()) << "file names are the shell's";
}

// A person's zsh on a terminal. What its completion system is given to offer is written down on the way.
constexpr const char* kZshInside = R"zsh(
PS1='READY> '
LISTMAX=1000
compadd() {
  local -a given
  if [[ " ${(j: :)@[1,(i)(-|--)]} " != *" -"[OAD]" "* ]]; then
    builtin compadd -A given "$@"
    print -rl -- $given >> offered
  fi
  builtin compadd "$@"
}
after() { print -r -- END >> offered }
zle -N after
bindkey '^X' after
)zsh";
constexpr const char* kZshOutside = R"zsh(
zmodload zsh/zpty zsh/zselect
zpty -b z zsh -f -i
zpty -w z "source inside.zsh"
until [[ "$seen" == *'READY> '* ]]; do
  zpty -t z || exit 1
  zpty -r z out && seen+=$out
  zselect -t 2
done
zpty -w -n z "$1"$'\t\C-x'
until [[ "$(tail -n 1 offered)" == END ]]; do
  zpty -t z || exit 2
  zpty -r z out
  zselect -t 2
done
zpty -d z
)zsh";

class ZshCompletion : public Completion {
 protected:
  void SetUp() override {
    if (!there("zsh")) GTEST_SKIP() << "NOT RUN: there is no zsh; apt-get install zsh";
    script_ = script("zsh");
    scratch_.write("outside.zsh", kZshOutside);
  }
  // `load`: how the user has it loaded.
  Words offered(const std::string& typed, const std::string& load) {
    scratch_.write("inside.zsh", load + kZshInside);
    scratch_.write("offered", "");
    const Finished finished = run({"zsh", "-f", "outside.zsh", typed});
    EXPECT_EQ(finished.code, 0) << finished.out << finished.err;
    EXPECT_EQ(finished.err, "");
    Words words = lines(e2e::read_text(scratch_.path("offered")));
    EXPECT_EQ(words.erase("END"), 1u);
    return words;
  }
  Words offered(const std::string& typed) {
    return offered(typed, "autoload -Uz compinit; compinit -u -D; source " + script_ + "\n");
  }
  std::string script_;
};

TEST_F(ZshCompletion, OffersVerbsAndOptions) {
  EXPECT_THAT(offered("tephra ckpt l"), ElementsAre("log", "ls"));
  EXPECT_THAT(offered("tephra wat"), ElementsAre("watch"));
  EXPECT_THAT(offered("tephra submit a.yaml --swe"), ElementsAre("--sweep"));
  const Words all = offered("tephra ");
  EXPECT_THAT(all, Contains("run"));
  EXPECT_THAT(all, Not(Contains("--help"))) << "options come behind a '-'";
  EXPECT_THAT(all, Not(Contains("tephra.zsh"))) << "no file is a verb";
  EXPECT_THAT(offered("tephra run teph"), ElementsAre("tephra.zsh"));
}

TEST_F(ZshCompletion, IsFoundInAFolderOfFpath) {
  scratch_.write("_tephra", e2e::read_text(script_));
  const std::string load = "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D\n";
  EXPECT_THAT(offered("tephra wat", load), ElementsAre("watch")) << "at the first press already";
}

class FishCompletion : public Completion {
 protected:
  void SetUp() override {
    if (!there("fish")) GTEST_SKIP() << "NOT RUN: there is no fish; apt-get install fish";
    script_ = script("fish");
  }
  Words offered(const std::string& typed) {
    const Finished finished = run({"fish", "--no-config", "-c", "source " + script_ + "; complete -C '" + typed + "'"});
    EXPECT_EQ(finished.code, 0) << finished.err;
    EXPECT_EQ(finished.err, "");
    return lines(finished.out);
  }
  std::string script_;
};

TEST_F(FishCompletion, OffersVerbsAndOptions) {
  EXPECT_THAT(offered("tephra ckpt l"), ElementsAre("log", "ls"));
  EXPECT_THAT(offered("tephra wat"), ElementsAre("watch"));
  EXPECT_THAT(offered("tephra submit a.yaml --swe"), ElementsAre("--sweep"));
  const Words all = offered("tephra ");
  EXPECT_THAT(all, Contains("run"));
  EXPECT_THAT(all, Not(Contains("tephra.fish"))) << "no file is a verb";
  EXPECT_THAT(offered("tephra run teph"), ElementsAre("tephra.fish"));
}

TEST_F(Completion, AShellThatIsNotKnownIsRefused) {
  const Finished unknown = e2e::tephra(scratch_, {"completion", "tcsh"});
  EXPECT_EQ(unknown.code, 2);
  EXPECT_NE(unknown.err.find("there are bash, zsh, fish"), std::string::npos) << unknown.err;
}

}  // namespace
}  // namespace tephra::cli
