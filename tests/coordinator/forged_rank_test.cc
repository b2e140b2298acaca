// What is proved: who pretends to be a rank, or is a rank and lies, changes nothing that is not its own. A job is held in its second step, so
// that what is forged would count if it were believed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>

#include "api_fixture.h"
#include "cluster/rpc.h"
#include "coordinator/rpc_address.h"
#include "storage/index/store.h"

namespace tephra::coordinator {
namespace {

using ::testing::HasSubstr;

std::string environment_value(int64_t pid, const std::string& name) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  for (std::string entry; std::getline(in, entry, '\0');)
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  return "";
}

// A connection to the coordinator's port for ranks; what it is told, and how it ended.
class Forger {
 public:
  explicit Forger(const std::string& store) {
    std::ifstream in(rpc_address_path(store));
    std::string address;
    std::getline(in, address);
    cluster::RpcClient::Handlers handlers;
    handlers.on_message = [this](cluster::CoordinatorMessage message) {
      const std::lock_guard lock(mutex_);
      if (const auto* refused = std::get_if<cluster::Refused>(&message)) refused_ = refused->message;
    };
    handlers.on_closed = [this](const Status&) {
      const std::lock_guard lock(mutex_);
      closed_ = true;
      changed_.notify_all();
    };
    auto connected = cluster::RpcClient::connect(
        "127.0.0.1", static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))), handlers,
        Deadline::after(std::chrono::seconds(10)));
    EXPECT_TRUE(connected.ok()) << connected.status().to_string();
    if (connected.ok()) client_ = std::move(connected).value();
  }
  // Says hello and at once what a rank would say; why it was refused, "" when the connection was not ended.
  std::string says(const cluster::Hello& hello, const std::vector<cluster::RankMessage>& more) {
    EXPECT_TRUE(client_->send(hello).ok());
    for (const cluster::RankMessage& message : more) (void)client_->send(message);
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [this] { return closed_; }));
    return refused_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string refused_;
  bool closed_ = false;
  std::unique_ptr<cluster::RpcClient> client_;  // last: its thread calls the handlers
};

class ForgedRank : public ApiTest {
 protected:
  void TearDown() override { ::unsetenv("TEPHRA_FAKE_PLAN"); }
  static void plan(const std::string& text) { ::setenv("TEPHRA_FAKE_PLAN", text.c_str(), 1); }
  // Submits the fixture's job and waits for its first checkpoint.
  std::string held_job() {
    plan(R"({"hold": {"attempt": 1, "stage": "lm", "step": 3}})");
    const std::string id = submit();
    cluster::Socket events(port_);
    events.send("GET /api/v1/jobs/" + id + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + kToken +
                "\r\n\r\n");
    events.read_until("event: checkpoint");
    ::unsetenv("TEPHRA_FAKE_PLAN");
    return id;
  }
  std::string gang_token(const std::string& id) {
    return environment_value(coordinator_->get(id)->ranks.at(0).pid, "TEPHRA_GANG_TOKEN");
  }
  static std::vector<cluster::RankMessage> lies() {
    cluster::StepProgress step;
    step.stage = "lm";
    step.step = 4;
    step.loss = -1;
    return {cluster::Heartbeat{"forged", "", 0, 0, 0, 0}, step, cluster::ShardWritten{"lm", 4, "", ""},
            cluster::Log{log::Level::kError, "forged"}, cluster::Finished{}};
  }
};

cluster::Hello hello(const std::string& job, uint32_t attempt, int rank, int world, const std::string& token) {
  return {job, attempt, rank, world, token, 1, "fake 1"};
}

TEST_F(ForgedRank, WhoIsNotOfTheGangIsRefusedAndNotHeard) {
  const std::string id = held_job();
  const std::string token = gang_token(id);
  ASSERT_EQ(token.size(), 32u);
  const JobView before = *coordinator_->get(id);
  std::string one_off = token;
  one_off.back() = one_off.back() == '0' ? '1' : '0';
  const auto said = [&](const cluster::Hello& greeting) { return Forger(dir_ / "store").says(greeting, lies()); };
  EXPECT_THAT(said(hello(id, 1, 0, 1, "")), HasSubstr("token is wrong"));
  EXPECT_THAT(said(hello(id, 1, 0, 1, one_off)), HasSubstr("token is wrong"));
  EXPECT_THAT(said(hello(id, 1, 0, 1, token.substr(0, 31))), HasSubstr("token is wrong"));
  EXPECT_THAT(said(hello(id, 2, 0, 1, token)), HasSubstr("attempt"));
  EXPECT_THAT(said(hello("demo-9", 1, 0, 1, token)), HasSubstr("there is no job"));
  EXPECT_THAT(said(hello(id, 1, 1, 2, token)), HasSubstr("gang of 1"));
  EXPECT_THAT(said(hello(id, 1, 0, 1, token)), HasSubstr("said hello before"));
  const JobView after = *coordinator_->get(id);
  EXPECT_EQ(after.state.phase, before.state.phase);
  EXPECT_EQ(after.state.attempt, 1u);
  EXPECT_EQ(after.state.stages[0].checkpoints, before.state.stages[0].checkpoints);
  EXPECT_EQ(after.ranks.at(0).pid, before.ranks.at(0).pid);
  EXPECT_TRUE(after.ranks.at(0).connected) << "the rank itself is not disturbed";
  EXPECT_EQ(after.step->step, 2);
  EXPECT_THAT(get("/api/v1/jobs/" + id + "/logs").body, ::testing::Not(HasSubstr("forged")));
  EXPECT_EQ(post("/api/v1/jobs/" + id + "/cancel", "").status, 202);
  ASSERT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(30))).ok());
}

TEST_F(ForgedRank, AnotherJobsTokenOpensNothing) {
  const std::string first = held_job(), second = held_job();
  ASSERT_NE(gang_token(first), gang_token(second));
  EXPECT_THAT(Forger(dir_ / "store").says(hello(first, 1, 0, 1, gang_token(second)), lies()),
              HasSubstr("token is wrong"));
  for (const std::string& id : {first, second}) {
    EXPECT_EQ(post("/api/v1/jobs/" + id + "/cancel", "").status, 202);
    ASSERT_TRUE(coordinator_->wait(id, Deadline::after(std::chrono::seconds(30))).ok());
  }
}

// A rank of the gang that says its shard is another file of the machine, or of the store.
TEST_F(ForgedRank, AShardIsAPackOfTheStoreAndTheOneThatWasWritten) {
  for (const char* pack : {"../../outside", "/etc/passwd", "..", ".", "", "no-such-pack.pack"}) {
    plan(nlohmann::json{{"forge", {{"attempt", 1}, {"stage", "lm"}, {"step", 2}, {"pack", pack}}}}.dump());
    const std::string id = submit();
    const auto ended = coordinator_->wait(id, Deadline::after(std::chrono::seconds(60)));
    ASSERT_TRUE(ended.ok()) << ended.status().to_string();
    // Whether or not it is tried again: nothing was committed of that attempt.
    const bool committed = coordinator_->store().get(id + "/lm@2").ok();
    EXPECT_TRUE(!committed || ended->attempt > 1) << pack;
    EXPECT_NE(ended->reason, "") << pack;
  }
}

// A rank that says it wrote shards of any number of checkpoints takes no memory without end.
TEST_F(ForgedRank, ShardsWithoutEndAreItsGangsEnd) {
  // Held after it: else the job may be done before the fault is decided upon.
  plan(
      R"({"flood": {"attempt": 1, "rank": 0, "stage": "lm", "step": 1}, "hold": {"attempt": 1, "stage": "lm", "step": 2}})");
  auto recipe = nlohmann::json::parse(make_recipe(dir_.path(), 2, 4));
  const cluster::Reply reply = post("/api/v1/jobs", nlohmann::json{{"recipe_json", recipe}}.dump());
  ASSERT_EQ(reply.status, 201) << reply.body;
  const std::string id = nlohmann::json::parse(reply.body)["id"];
  const auto ended = coordinator_->wait(id, Deadline::after(std::chrono::seconds(60)));
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->phase, Phase::kFailed);
  EXPECT_THAT(ended->reason, HasSubstr("more checkpoints than a rank holds"));
}

}  // namespace
}  // namespace tephra::coordinator
