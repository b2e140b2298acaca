// A coordinator whose gangs span two hosts: network namespaces, each with a host name, the second with processes of its own.
// Everything runs on the first host but what the launcher starts on the second.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "tests/cluster/two_hosts.h"
#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

class Hosts : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    hosts_ = cluster::TwoHosts::make(scratch_.path(""), 1, &why_not);
    if (hosts_ == nullptr) GTEST_SKIP() << "SKIPPED, NOT TESTED HERE: two hosts: " << why_not;
  }

  std::vector<std::string> on_first(std::vector<std::string> arguments) const {
    std::vector<std::string> command = hosts_->on_first();
    for (std::string& word : tephra_command(std::move(arguments))) command.push_back(std::move(word));
    return command;
  }
  Finished say(std::vector<std::string> arguments) const {
    return Process(on_first(std::move(arguments)), scratch_.path("")).wait();
  }
  json show() const { return json::parse(say({"show", "tiny-1", "--store", store_, "--json"}).out, nullptr, false); }

  // The process namespace that a process is in; empty: it is gone.
  static std::filesystem::path space(const std::string& pid) {
    std::error_code gone;
    return std::filesystem::read_symlink("/proc/" + pid + "/ns/pid", gone);
  }

  // The rank on the second host, which is in another process namespace than this program.
  pid_t rank_on_second() const {
    for (const pid_t pid : processes_with("tephra-worker")) {
      const std::string name = std::to_string(pid);
      const auto theirs = space(name);
      const std::string line = read_text("/proc/" + name + "/cmdline");
      if (!theirs.empty() && theirs != space("self") && line.find("orted") == std::string::npos &&
          line.find("--coordinator") != std::string::npos &&
          read_text("/proc/" + name + "/environ").find(store_) != std::string::npos)
        return pid;
    }
    return 0;
  }

  // mpirun's own process on the second host, which starts the ranks there and watches them.
  pid_t daemon_on_second() const {
    const auto theirs = space(std::to_string(rank_on_second()));
    for (const pid_t pid : processes_with("orted"))
      if (!theirs.empty() && space(std::to_string(pid)) == theirs &&
          read_text("/proc/" + std::to_string(pid) + "/comm") == "orted\n")
        return pid;
    return 0;
  }

  Scratch scratch_;
  std::string store_ = scratch_.path("store");
  std::unique_ptr<cluster::TwoHosts> hosts_;
};

TEST_F(Hosts, AJobOverTwoHostsEndsWithTheBitsOfOneMachineAlsoWhenARankAndThenTheDaemonOfTheOtherAreKilled) {
  Scratch alone;
  const Finished local = tephra(alone, {"run", tiny_recipe(), "--store", alone.path("store"), "--json"});
  ASSERT_EQ(local.code, 0) << local.err;

  Process server(
      on_first({"serve", "--store", store_, "--listen", "127.0.0.1:0", "--launcher", "hosts", "--hosts-file",
                scratch_.path("hosts"), "--network", "10.77.0.0/24", "--remote-shell", scratch_.path("shell")}),
      scratch_.path(""));
  ASSERT_TRUE(server.wait_until([&] { return server.output().find("(2 slots)") != std::string::npos; }, 30s))
      << server.output();  // those of the host file
  const Finished submitted = say({"submit", tiny_recipe(), "--store", store_});
  ASSERT_EQ(submitted.code, 0) << submitted.err;

  // One rank on each host, as the ranks themselves say.
  std::set<std::string> names;
  const std::string metrics = store_ + "/jobs/tiny-1/metrics.jsonl";
  ASSERT_TRUE(server.wait_until([&] { return read_text(metrics).find("\"step\":2") != std::string::npos; }, 120s));
  const json running = show();
  for (const json& rank : running["rank_states"]) names.insert(rank.value("host", ""));
  EXPECT_EQ(names, (std::set<std::string>{"host1", "host2"})) << running.dump();

  const pid_t victim = rank_on_second();
  ASSERT_GT(victim, 0);
  kill(victim, SIGKILL);
  json job;
  pid_t daemon = 0;
  ASSERT_TRUE(server.wait_until(
      [&] { return (job = show()).value("attempt", 0) == 2 && (daemon = daemon_on_second()) > 0; }, 120s))
      << job.dump();
  kill(daemon, SIGKILL);
  ASSERT_TRUE(server.wait_until([&] { return (job = show()).value("phase", "") == "done"; }, 240s)) << job.dump();
  EXPECT_EQ(job.value("restarts", -1), 2) << job.dump();
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(60s).code, 0);
  EXPECT_EQ(content_hashes(scratch_, store_), content_hashes(alone, alone.path("store")));
  EXPECT_TRUE(none_left(store_));
}

TEST_F(Hosts, AnElasticJobGoesOnOnTheHostThatIsLeft) {
  ASSERT_EQ(undisturbed().run.code, 0) << undisturbed().run.err;
  Process server(
      on_first({"serve", "--store", store_, "--listen", "127.0.0.1:0", "--launcher", "hosts", "--hosts-file",
                scratch_.path("hosts"), "--network", "10.77.0.0/24", "--remote-shell", scratch_.path("shell")}),
      scratch_.path(""));
  ASSERT_TRUE(server.wait_until([&] { return server.output().find("(2 slots)") != std::string::npos; }, 30s))
      << server.output();
  const Finished submitted = say({"submit", tiny_recipe(), "--store", store_, "--set", "gang.ranks_min=1"});
  ASSERT_EQ(submitted.code, 0) << submitted.err;
  const std::string metrics = store_ + "/jobs/tiny-1/metrics.jsonl";
  ASSERT_TRUE(server.wait_until([&] { return read_text(metrics).find("\"step\":2,") != std::string::npos; }, 120s));
  EXPECT_EQ(show().value("ranks", 0), 2);
  hosts_->end_second();
  json job;
  ASSERT_TRUE(server.wait_until([&] { return (job = show()).value("phase", "") == "done"; }, 240s)) << job.dump();
  EXPECT_EQ(job.value("ranks", 0), 1) << job.dump();
  EXPECT_EQ(job.value("restarts", -1), 1) << job.dump();
  EXPECT_EQ(job.value("ranks_reason", ""), "no more slots were left when it was started again");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(60s).code, 0);
  EXPECT_EQ(content_hashes(scratch_, store_), undisturbed().hashes);
}

TEST_F(Hosts, OptionsThatDoNotGoTogetherSayWhatToDo) {
  const auto refused = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"run", tiny_recipe(), "--store", store_});
    const Finished run = tephra(scratch_, arguments);
    EXPECT_EQ(run.code, 2) << run.err;
    return run.err;
  };
  EXPECT_NE(refused({"--launcher", "hosts"}).find("needs --hosts-file"), std::string::npos);
  EXPECT_NE(refused({"--hosts-file", scratch_.path("hosts")}).find("--launcher hosts; give both"), std::string::npos);
  EXPECT_NE(
      refused({"--launcher", "hosts", "--hosts-file", scratch_.path("hosts")}).find("this machine has lo 127.0.0.1"),
      std::string::npos);
  const std::string bad = scratch_.write("bad", "10.77.0.1 slots=1\n10.77.0.1\n");
  EXPECT_NE(refused({"--launcher", "hosts", "--hosts-file", bad, "--network", "lo"})
                .find("bad:2: host 10.77.0.1 is there twice"),
            std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(store_ + "/jobs"));
}

}  // namespace
}  // namespace tephra::e2e
