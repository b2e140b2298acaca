// The host file, the account of its slots, and killing through a remote shell (a script that runs the command here).
#include "cluster/hosts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "cluster/child_process.h"
#include "cluster/process_tree.h"

namespace tephra::cluster {
namespace {
using std::chrono::seconds;

TEST(Hosts, ReadsOpenMpisHostFile) {
  const auto hosts = parse_hosts("# the rack\nnode1 slots=4\n\n10.0.0.2   # one slot\nfe80::1 slots=2\n", "hosts");
  ASSERT_TRUE(hosts.ok()) << hosts.status().to_string();
  EXPECT_EQ(*hosts, (std::vector<HostSlots>{{"node1", 4}, {"10.0.0.2", 1}, {"fe80::1", 2}}));
  EXPECT_EQ(*parse_hosts(to_text(*hosts), "again"), *hosts);
}

TEST(Hosts, NamesTheLineThatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\nb slots=0\n", "f:2: 'slots=0' is not understood"},
      {"a slots=2x\n", "f:1: 'slots=2x' is not understood"},
      {"a max_slots=2\n", "f:1: 'max_slots=2' is not understood"},
      {"a\n\na slots=3\n", "f:3: host a is there twice"},
      {"-oProxyCommand=reboot\n", "f:1: '-oProxyCommand=reboot' is no host name"},
      {"a;reboot\n", "f:1: 'a;reboot' is no host name"},
      {"# none\n", "f names no host"},
  };
  for (const auto& [text, words] : cases) {
    const auto hosts = parse_hosts(text, "f");
    ASSERT_FALSE(hosts.ok()) << text;
    EXPECT_EQ(hosts.status().code(), Code::kInvalidArgument);
    EXPECT_EQ(hosts.status().message().rfind(words, 0), 0u) << hosts.status().message();
  }
  EXPECT_EQ(read_hosts("/nowhere/hosts").status().code(), Code::kNotFound);
}

TEST(HostPool, FillsHostsInOrderAndTakesBack) {
  HostPool pool({{"a", 4}, {"b", 4}});
  EXPECT_EQ(pool.slots(), 8);
  const auto first = pool.take(3, 2);  // two threads a rank
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*first, (std::vector<HostSlots>{{"a", 2}, {"b", 1}}));
  const auto busy = pool.take(2, 2);
  EXPECT_EQ(busy.status().code(), Code::kUnavailable);
  EXPECT_EQ(busy.status().retry_class(), RetryClass::kNewAttempt);
  EXPECT_EQ(pool.take(3, 4).status().code(), Code::kInvalidArgument);  // never
  pool.give_back(*first, 2);
  pool.occupy({{"a", 1}, {"gone", 7}}, 4);
  EXPECT_EQ(*pool.take(4, 1), (std::vector<HostSlots>{{"b", 4}}));
}

TEST(HostPool, AHostThatWasLostComesLast) {
  HostPool pool({{"a", 1}, {"b", 1}, {"c", 1}});
  pool.lost("a");
  EXPECT_EQ(*pool.take(3, 1), (std::vector<HostSlots>{{"b", 1}, {"c", 1}, {"a", 1}}));
}

TEST(HostPool, CountsTheSlotsOfLostHostsForAWhileThatDoubles) {
  struct SetClock final : Clock {
    int64_t unix_ms() const override { return 0; }
    SteadyTime steady() const override { return now; }
    SteadyTime now{};
  } clock;
  HostPool pool({{"a", 2}, {"b", 3}}, clock);
  EXPECT_EQ(pool.lost_slots(), 0);
  pool.lost("a");
  EXPECT_EQ(pool.lost_slots(), 2);
  pool.lost("b");
  EXPECT_EQ(pool.lost_slots(), 5);
  clock.now += std::chrono::minutes(10);
  EXPECT_EQ(pool.lost_slots(), 0) << "they may be tried again";
  pool.lost("b");
  clock.now += std::chrono::minutes(19);
  EXPECT_EQ(pool.lost_slots(), 3);
  clock.now += std::chrono::minutes(1);
  EXPECT_EQ(pool.lost_slots(), 0);
  for (int i = 0; i < 50; ++i) pool.lost("b");
  clock.now += std::chrono::hours(24);
  EXPECT_EQ(pool.lost_slots(), 0) << "a day at the most";
}

TEST(Network, AddressByInterfaceAndByBlock) {
  EXPECT_EQ(*address_on("lo"), "127.0.0.1");
  EXPECT_EQ(*address_on("127.0.0.0/8"), "127.0.0.1");
  const auto none = address_on("255.255.255.255/32");  // nobody's
  EXPECT_EQ(none.status().code(), Code::kNotFound);
  EXPECT_NE(none.status().message().find("it has lo 127.0.0.1"), std::string::npos) << none.status().message();
  EXPECT_EQ(address_on("10.0.0.0/33").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(address_on("ten/8").status().code(), Code::kInvalidArgument);
}

TEST(Network, KnowsItsOwnNamesAndAddresses) {
  char name[256] = {};
  ASSERT_EQ(gethostname(name, sizeof name - 1), 0);
  for (const std::string own : {"localhost", "127.0.0.1", static_cast<const char*>(name)})
    EXPECT_TRUE(is_this_machine(own)) << own;
  EXPECT_FALSE(is_this_machine("255.255.255.255"));
  EXPECT_FALSE(is_this_machine("another-machine"));
}

TEST(ChildProcess, CapturesOutputAndCodeAndEndsAtTheDeadline) {
  const auto ended = run_captured({"sh", "-c", "cat; echo $WORD >&2; exit 3"}, {{"WORD", "there"}}, "hello ",
                                  Deadline::after(seconds(20)));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->code, 3);
  EXPECT_EQ(ended->output, "hello there\n");
  EXPECT_EQ(run_captured({"sleep", "300"}, {}, "", Deadline::after(std::chrono::milliseconds(50))).status().code(),
            Code::kTimeout);
  EXPECT_EQ(run_captured({"no-such-program"}, {}, "", Deadline::after(seconds(1))).status().code(), Code::kUnavailable);
}

TEST(KillOnHost, FindsByEnvironmentAndByCommandLine) {
  std::string folder = ::testing::TempDir() + "/tephra_hosts_XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string shell = folder + "/shell";
  std::ofstream(shell) << "#!/bin/sh\n[ \"$1\" = down ] && { echo no route >&2; exit 255; }\nshift\nexec \"$@\"\n";
  std::filesystem::permissions(shell, std::filesystem::perms::owner_all);
  const std::string marker = "5d2f00aa17tephratest" + std::to_string(getpid());
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  const auto by_environment =
      spawn_session("/bin/sleep", {"sleep", "300"}, merged_environment({{"TEPHRA_GANG", marker}}), null, "");
  const auto by_words =
      spawn_session("/bin/sh", {"sh", "-c", "sleep 300; :", marker}, merged_environment({}), null, "");
  close(null);
  ASSERT_TRUE(by_environment.ok() && by_words.ok());
  EXPECT_EQ(kill_on_host({shell}, "down", marker, Deadline::after(seconds(20))).code(), Code::kUnavailable);
  const Status killed = kill_on_host({shell}, "up", marker, Deadline::after(seconds(20)));
  EXPECT_TRUE(killed.ok()) << killed.to_string();
  for (const pid_t pid : {*by_environment, *by_words}) {
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << pid;
    kill(-pid, SIGKILL);  // the shell's own child has no mark
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace tephra::cluster
