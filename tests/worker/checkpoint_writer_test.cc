// Snapshots wait behind the one that is being written, and give way as the recipe says; the last word of each that was
// written reaches the coordinator. The disk is held up by the test, not by a clock.
#include "worker/checkpoint_writer.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "cluster/rpc.h"
#include "storage/pack.h"
#include "tests/base/temp_dir.h"

namespace tephra::worker {
namespace {

// Files of it are not created while the gate is shut.
class GatedEnv : public Env {
 public:
  void open_gate() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void wait_until_held() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return held_; });
  }
  Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
    std::unique_lock lock(mutex_);
    held_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    return target_.create(path);
  }
  Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override { return target_.open(path); }
  Status make_directories(const std::string& path) override { return target_.make_directories(path); }
  Status sync_directory(const std::string& path) override { return target_.sync_directory(path); }
  Status rename(const std::string& from, const std::string& to) override { return target_.rename(from, to); }
  Status remove(const std::string& path) override { return target_.remove(path); }
  Result<std::vector<std::string>> list(const std::string& directory) override { return target_.list(directory); }
  bool exists(const std::string& path) override { return target_.exists(path); }
  Result<uint64_t> free_bytes(const std::string& path) override { return target_.free_bytes(path); }

 private:
  Env& target_ = Env::posix();
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false, held_ = false;
};

class CheckpointWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster::RpcServer::Handlers handlers;
    handlers.on_message = [this](cluster::ConnectionId, const cluster::RankMessage& message) {
      const auto* shard = std::get_if<cluster::ShardWritten>(&message);
      if (shard == nullptr) return;
      std::lock_guard lock(mutex_);
      steps_.push_back(shard->step);
      changed_.notify_all();
    };
    handlers.on_closed = [](cluster::ConnectionId, const Status&) {};
    auto server = cluster::RpcServer::start("127.0.0.1", 0, std::move(handlers));
    ASSERT_TRUE(server.ok()) << server.status().to_string();
    server_ = std::move(*server);
    cluster::Hello hello;
    hello.job = "j", hello.attempt = 1, hello.world_size = 1, hello.token = "t", hello.pid = 1, hello.build = "b";
    auto link =
        Link::connect({.coordinator = "127.0.0.1:" + std::to_string(server_->port()), .on_lost = [](const Status&) {}},
                      hello, Deadline::after(std::chrono::seconds(10)));
    ASSERT_TRUE(link.ok()) << link.status().to_string();
    link_ = std::move(*link);
  }

  CheckpointJob job(int64_t step) {
    CheckpointJob job;
    job.stage = "align", job.step = step, job.pack = storage::pack_name("j", 1, "align", step, 0);
    auto values = std::make_shared<std::vector<float>>(100, static_cast<float>(step));
    job.snapshot.owner = values;
    job.snapshot.pieces.push_back({"w", sharding::StateKind::kParameter, {100}, 0, *values});
    held_.push_back(values);
    return job;
  }
  // The steps that the coordinator heard of, once they are so many.
  std::vector<int64_t> heard(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return steps_.size() >= count; }));
    return steps_;
  }

  TempDir dir_;
  GatedEnv env_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int64_t> steps_;
  std::vector<std::weak_ptr<std::vector<float>>> held_;
  std::unique_ptr<cluster::RpcServer> server_;
  std::unique_ptr<Link> link_;
};

TEST_F(CheckpointWriterTest, TheNewestTakesThePlaceOfTheOneThatWaits) {
  {
    CheckpointWriter writer(&env_, dir_.path(), link_.get());
    EXPECT_FALSE(writer.busy());
    ASSERT_TRUE(writer.submit(job(10)).ok());
    env_.wait_until_held();
    EXPECT_TRUE(writer.busy());
    std::optional<int64_t> dropped;
    ASSERT_TRUE(writer.submit_newest(job(20), &dropped).ok());
    EXPECT_FALSE(dropped) << "nothing waited";
    ASSERT_TRUE(writer.submit_newest(job(30), &dropped).ok());
    EXPECT_EQ(dropped, 20);
    EXPECT_TRUE(held_[1].expired()) << "what gave way holds no memory";
    EXPECT_FALSE(held_[0].expired());
    env_.open_gate();
    ASSERT_TRUE(writer.drain().ok());
    EXPECT_FALSE(writer.busy());
    for (const auto& snapshot : held_) EXPECT_TRUE(snapshot.expired());
  }
  EXPECT_EQ(heard(2), (std::vector<int64_t>{10, 30}));
  const auto packs = Env::posix().list(dir_.path());
  ASSERT_TRUE(packs.ok());
  EXPECT_EQ(*packs, (std::vector<std::string>{"j+a1+align+s10+r0.pack", "j+a1+align+s30+r0.pack"}));
}

TEST_F(CheckpointWriterTest, AWriteThatIsSpreadOverTimeGoesOnAtOnceWhenSomebodyWaits) {
  env_.open_gate();
  const auto slow = [&](int64_t step) {
    CheckpointJob made = job(step);
    made.spread = std::chrono::hours(1);
    return made;
  };
  {
    CheckpointWriter writer(&env_, dir_.path(), link_.get());
    ASSERT_TRUE(writer.submit(slow(10)).ok());
    EXPECT_TRUE(writer.busy());
    ASSERT_TRUE(writer.submit(slow(20)).ok()) << "the next one is due";
    EXPECT_EQ(heard(1), std::vector<int64_t>{10});
    ASSERT_TRUE(writer.drain().ok());
    EXPECT_EQ(heard(2), (std::vector<int64_t>{10, 20}));
    ASSERT_TRUE(writer.submit(slow(30)).ok());
  }
  EXPECT_EQ(heard(3), (std::vector<int64_t>{10, 20, 30})) << "the writer's end waits too";
}

TEST_F(CheckpointWriterTest, AFailedWriteIsSaidAtTheNextSubmit) {
  env_.open_gate();
  CheckpointWriter writer(&env_, dir_ / "nowhere", link_.get());
  ASSERT_TRUE(writer.submit(job(10)).ok());
  EXPECT_FALSE(writer.drain().ok());
  const Status status = writer.submit(job(20));
  EXPECT_NE(status.message().find("checkpoint align@10"), std::string::npos) << status.message();
  std::optional<int64_t> dropped;
  EXPECT_FALSE(writer.submit_newest(job(30), &dropped).ok());
}

}  // namespace
}  // namespace tephra::worker
