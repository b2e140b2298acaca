// One store, two hosts. It lies on the first, where this side, the coordinator, has it open; the second sees it through sshfs, which has
// no locks between hosts and remembers for seconds what it saw. Invariants:
//  1. A checkpoint whose packs ranks of both hosts wrote is whole, for readers on either.
//  2. While the store is open for writing on one host, nobody opens it for writing on the other: one sentence says who has it. An owner
//     that was killed is found dead, and the other host goes on with all that was committed.
//  3. A rank killed on the second host at any change of a file leaves nothing visible; after its lease is released gc leaves nothing of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "tests/storage/hosts/shared_folder.h"
#include "tests/storage/kill/victim.h"

namespace tephra::storage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class HostsTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    std::filesystem::create_directory(dir_ / "hosts");
    std::string why_not;
    shared_ = SharedFolder::make(dir_ / "hosts", dir_.path(), &why_not);
    if (shared_ == nullptr) GTEST_SKIP() << "SKIPPED, NOT TESTED HERE: a store that two hosts share: " << why_not;
  }

  // On the second host, of the store as it is mounted there.
  std::string there(const std::string& name) const { return shared_->mounted() + "/" + name; }
  static std::string program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

  cluster::Captured rank_on_second(int64_t attempt, uint64_t key, int64_t kill_at) {
    return shared_->run_on_second(program() + " rank " + there("store") + " " +
                                  pack_name("j", attempt, "s", attempt, 1) + " " + std::to_string(key) + " 1 2 " +
                                  std::to_string(kill_at) + " " + there("summary"));
  }

  // Rank 0 here, rank 1 on the second host, killed there at that change of a file (-1: not). True: it was committed.
  bool attempt(int64_t number, uint64_t key, int64_t kill_at = -1) {
    (void)Env::posix().remove(dir_ / "summary");
    EXPECT_TRUE(store_->acquire_lease({pack_prefix("j", number), "job j", {}}).ok());
    const auto mine =
        write_shard(Env::posix(), store_->packs_dir(), pack_name("j", number, "s", number, 0), model_of(key), 0, 2);
    EXPECT_TRUE(mine.ok()) << mine.status().to_string();
    const cluster::Captured ended = rank_on_second(number, key, kill_at);
    EXPECT_TRUE(ended.code == 0 || (kill_at >= 0 && ended.code == 128 + SIGKILL)) << ended.code << ended.output;
    const auto text = read_file(Env::posix(), dir_ / "summary");
    EXPECT_EQ(text.ok(), ended.code == 0);
    if (!text.ok()) return false;
    const auto theirs = decode_shard_summary(*text);
    EXPECT_TRUE(theirs.ok());
    Manifest manifest;
    manifest.job = "j", manifest.stage = "s", manifest.step = number, manifest.attempt = number;
    manifest.tensors = *merge({*mine, *theirs});
    const auto committed = store_->commit(std::move(manifest), {mine->pack, theirs->pack});
    EXPECT_TRUE(committed.ok()) << committed.status().to_string();
    return committed.ok();
  }

  std::unique_ptr<SharedFolder> shared_;
};

TEST_F(HostsTest, RanksOfBothWriteOneCommitsTheOtherReads) {
  for (int64_t step = 1; step <= 3; ++step) {
    ASSERT_TRUE(attempt(step, static_cast<uint64_t>(step)));
    const std::string name = checkpoint_name("j", "s", step);
    expect_holds(name, model_of(static_cast<uint64_t>(step)));
    TEPHRA_ASSERT_OK(write_file_atomic(Env::posix(), dir_ / ("located-" + std::to_string(step)),
                                       encode(*store_->locate(*store_->get(name)))));
    const cluster::Captured read =
        shared_->run_on_second(program() + " read " + there("store") + " " + there("located-" + std::to_string(step)) +
                               " " + std::to_string(step));
    EXPECT_EQ(read.code, 0) << read.output;
    if (step > 1) continue;  // what it saw of the index once is for a while all that it sees
    const cluster::Captured verified = shared_->run_on_second(program() + " verify " + there("store") + " " + name);
    EXPECT_EQ(verified.code, 0) << verified.output;
  }
  expect_all_whole();
}

TEST_F(HostsTest, TheSecondOpenerOnTheOtherHostIsToldWhoHasTheStore) {
  ASSERT_TRUE(attempt(1, 1));
  char name[256] = "";
  ASSERT_EQ(::gethostname(name, sizeof name), 0);
  const cluster::Captured refused =
      shared_->run_on_second(program() + " own " + there("store") + " " + (dir_ / "ready"));
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.output, "store " + there("store") + " is in use by another process (pid " +
                                std::to_string(::getpid()) + " on host " + name +
                                "); stop it, or talk to it with --server\n");
  // And the other way round.
  store_.reset();
  const pid_t shell = shared_->start_on_second("exec " + program() + " own " + there("store") + " " + (dir_ / "ready"));
  for (const Deadline deadline = Deadline::after(std::chrono::seconds(30)); !Env::posix().exists(dir_ / "ready");) {
    ASSERT_FALSE(deadline.passed());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_THAT(text_of(Store::open(env_, dir_ / "store", OpenMode::kReadWrite)),
              AllOf(HasSubstr("is in use by another process (pid "), HasSubstr(" on host host2)")));
  EXPECT_EQ(shared_->run_on_second("kill -9 " + *read_file(Env::posix(), dir_ / "ready")).code, 0);
  ASSERT_EQ(::waitpid(shell, nullptr, 0), shell);
  open();  // nobody answers any more
  expect_holds("j/s@1", model_of(1));
  ASSERT_TRUE(attempt(2, 2));
  expect_all_whole();
}

TEST_F(HostsTest, AWriterKilledOnTheOtherHostLeavesNothingVisible) {
  int64_t number = 1;
  ASSERT_TRUE(attempt(number++, 1));
  int kills = 0;
  for (int64_t at = 0;; ++at) {
    SCOPED_TRACE("change " + std::to_string(at));
    const bool whole = attempt(number, 2, at);
    EXPECT_EQ(store_->list()->size(), whole ? 2u : 1u);
    TEPHRA_ASSERT_OK(store_->gc(false));
    TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix("j", number)));
    TEPHRA_ASSERT_OK(store_->gc(false));
    EXPECT_EQ(pack_files().size(), static_cast<size_t>(store_->stat()->pack_count));
    expect_holds("j/s@1", model_of(1));
    if (HasFailure()) return;
    if (whole) break;
    ++kills;
    ++number;
  }
  EXPECT_GE(kills, 10);
  expect_all_whole();
}

}  // namespace
}  // namespace tephra::storage
