// The launcher contract over mpirun on this machine and over two hosts, and what those two have of their own.
#include <gtest/gtest.h>

#include <thread>

#include "tests/cluster/launcher_contract.h"
#include "tests/cluster/two_hosts.h"

namespace tephra::cluster {
namespace {

const LauncherCase kLocal = {
    "local", [](const std::string&, std::string*) -> std::shared_ptr<void> { return std::make_shared<int>(0); },
    [](const std::string&) -> Result<std::unique_ptr<Launcher>> {
      return make_local_launcher({.withheld = {kWithheld}});
    }};

const LauncherCase kHosts = {"hosts",
                             [](const std::string& directory, std::string* why_not) -> std::shared_ptr<void> {
                               return TwoHosts::make(directory, 1, why_not);
                             },
                             [](const std::string& directory) {
                               LauncherOptions options = TwoHosts::options(directory);
                               options.withheld = {kWithheld};
                               return make_hosts_launcher(options);
                             }};

const bool kRegistered = [] {
  register_launcher_case(kLocal);
  register_launcher_case(kHosts);
  return true;
}();

INSTANTIATE_TEST_SUITE_P(Launchers, LauncherContract, ::testing::Values(kLocal, kHosts), launcher_case_name);

class HostsLauncher : public LauncherTest {
 protected:
  const LauncherCase& launcher_case() const override { return kHosts; }
  TwoHosts& hosts() { return *static_cast<TwoHosts*>(world_.get()); }
};

TEST_F(HostsLauncher, OneRankOnEachHost) {
  auto gang = launch(spec("echo rank $RANK on $(hostname); cat /proc/[0-9]*/cmdline | tr '\\0' ' '"));
  ASSERT_NE(gang, nullptr);
  const auto ended = gang->wait(Deadline::after(std::chrono::seconds(60)));
  ASSERT_TRUE(ended.ok());
  const std::string log = read("log/gang.log");
  EXPECT_EQ(ended->code, 0) << log;
  EXPECT_NE(log.find("[1,0]<stdout>:rank 0 on host1\n"), std::string::npos) << log;
  EXPECT_NE(log.find("[1,1]<stdout>:rank 1 on host2\n"), std::string::npos) << log;
  EXPECT_NE(log.find("orted"), std::string::npos) << log;  // the daemon's command line is among them
}

TEST_F(HostsLauncher, TheSlotsOfAGangThatWasEndedAreFreeWhileItsObjectLives) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  EXPECT_EQ(launcher_->slots(), 2);
  EXPECT_EQ(launcher_->launch(spec("exit 0")).status().code(), Code::kUnavailable);
  EXPECT_TRUE(gang->kill_hard().ok());
  auto next = launch(spec("exit 0"));
  ASSERT_NE(next, nullptr);
  EXPECT_TRUE(next->wait(Deadline::after(std::chrono::seconds(60))).ok());
  EXPECT_TRUE(next->kill_hard().ok());
}

TEST_F(HostsLauncher, AnAdoptedGangHoldsItsSlots) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  auto another = make_hosts_launcher(TwoHosts::options(directory_));
  ASSERT_TRUE(another.ok());
  {
    auto adopted = (*another)->adopt(gang->identity());
    ASSERT_TRUE(adopted.ok()) << adopted.status().to_string();
    const Status full = (*another)->launch(spec("exit 0")).status();
    EXPECT_EQ(full.code(), Code::kUnavailable) << full.to_string();
    EXPECT_NE(full.message().find("other gangs use them"), std::string::npos) << full.message();
    std::thread reaper([&] { (void)gang->wait(Deadline::after(std::chrono::seconds(60))); });
    EXPECT_TRUE((*adopted)->kill_hard().ok());
    reaper.join();
  }
  auto next = (*another)->launch(spec("exit 0"));
  ASSERT_TRUE(next.ok()) << next.status().to_string();
  EXPECT_TRUE((*next)->wait(Deadline::after(std::chrono::seconds(60))).ok());
  EXPECT_TRUE((*next)->kill_hard().ok());
}

TEST_F(HostsLauncher, ALostHostIsNoticedAndNamed) {
  auto gang = launch_sleepers();
  ASSERT_NE(gang, nullptr);
  hosts().end_second();
  const auto ended = gang->wait(Deadline::after(std::chrono::seconds(60)));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_NE(ended->code, 0);
  EXPECT_NE(ended->description.find("host "), std::string::npos) << ended->description << read("log/gang.log");
  const Status killed = gang->kill_hard();  // what ran there cannot be asked for any more
  EXPECT_EQ(killed.code(), Code::kUnavailable);
  EXPECT_NE(killed.message().find("10.77.0.2"), std::string::npos) << killed.message();
}

}  // namespace
}  // namespace tephra::cluster
