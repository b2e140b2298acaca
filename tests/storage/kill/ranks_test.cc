// Two processes write one checkpoint's packs, and one or both are killed with SIGKILL: at every change of a file that a rank makes, and at
// random moments. This side is the coordinator. Invariants, after each kill and once more after a restart:
//  1. What was committed before is there and holds its bytes.
//  2. Without both ranks' summaries there is nothing to commit, and nothing new is visible.
//  3. gc beside a rank that still writes, under the attempt's lease, takes nothing from it: the next attempt of both commits.
//  4. After the lease is released, gc leaves what the index names and nothing else.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/storage/kill/victim.h"

namespace tephra::storage {
namespace {

constexpr int kRanks = 2;

class RanksKillTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    TEPHRA_ASSERT_OK(save("j", "s", 1, model_of(1), kRanks));
  }

  std::string summary_path(int rank) { return dir_ / ("summary-" + std::to_string(rank)); }

  pid_t start(int64_t attempt, uint64_t key, int rank, int64_t kill_at) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    const std::string program = "/proc/self/exe", store = dir_ / "store",
                      pack = pack_name("j", attempt, "s", attempt + 1, rank), key_text = std::to_string(key),
                      rank_text = std::to_string(rank), world = std::to_string(kRanks), at = std::to_string(kill_at),
                      summary = summary_path(rank);
    ::execl(program.c_str(), program.c_str(), "rank", store.c_str(), pack.c_str(), key_text.c_str(), rank_text.c_str(),
            world.c_str(), at.c_str(), summary.c_str(), nullptr);
    std::_Exit(127);
  }
  // True: it was killed.
  static bool wait(pid_t pid) {
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    EXPECT_TRUE(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return killed;
  }

  // One attempt of both ranks, each killed at that change of a file (-1: not), or rank 0 by this side after a while.
  // True: it committed.
  bool attempt(int64_t number, uint64_t key, int64_t kill_first, int64_t kill_second, int64_t kill_after_us = -1) {
    for (int rank = 0; rank < kRanks; ++rank) (void)Env::posix().remove(summary_path(rank));
    EXPECT_TRUE(store_->acquire_lease({pack_prefix("j", number), "job j", {}}).ok());
    const pid_t first = start(number, key, 0, kill_first), second = start(number, key, 1, kill_second);
    if (kill_after_us >= 0) {
      ::usleep(static_cast<useconds_t>(kill_after_us));  // the moment is drawn, not awaited
      ::kill(first, SIGKILL);
    }
    const bool first_killed = wait(first);
    EXPECT_TRUE(store_->gc(false).ok());  // beside the second rank
    const bool second_killed = wait(second);
    bool whole = true;
    for (int rank = 0; rank < kRanks; ++rank) whole = whole && Env::posix().exists(summary_path(rank));
    if (kill_after_us < 0) {
      EXPECT_EQ(whole, !first_killed && !second_killed);
    }
    if (whole) commit(number);
    EXPECT_EQ(store_->list()->size(), committed_.size() + 1) << "(2)";
    return whole;
  }

  void commit(int64_t number) {
    std::vector<ShardSummary> shards;
    std::vector<PackSummary> packs;
    for (int rank = 0; rank < kRanks; ++rank) {
      auto shard = decode_shard_summary(*read_file(Env::posix(), summary_path(rank)));
      TEPHRA_ASSERT_OK(shard);
      packs.push_back(shard->pack);
      shards.push_back(std::move(*shard));
    }
    Manifest manifest;
    manifest.job = "j", manifest.stage = "s", manifest.step = number + 1, manifest.attempt = number;
    manifest.tensors = *merge(shards);
    const auto committed = store_->commit(std::move(manifest), packs);
    TEPHRA_ASSERT_OK(committed);
    committed_.push_back(committed->name());
  }

  void expect_invariants(int64_t number) {
    expect_holds("j/s@1", model_of(1));
    if (!committed_.empty()) expect_holds(committed_.back(), model_of(last_key_));
    open();  // a restart
    TEPHRA_ASSERT_OK(store_->release_lease(pack_prefix("j", number)));
    expect_all_whole();
    TEPHRA_ASSERT_OK(store_->gc(false));
    EXPECT_EQ(pack_files().size(), static_cast<size_t>(store_->stat()->pack_count)) << "(4)";
    expect_holds("j/s@1", model_of(1));
  }

  std::vector<std::string> committed_;
  uint64_t last_key_ = 0;
};

TEST_F(RanksKillTest, AtEveryChangeOfEitherOrBoth) {
  int64_t number = 1;
  int kills = 0;
  for (int64_t at = 0;; ++at) {
    SCOPED_TRACE("change " + std::to_string(at));
    bool any = false;
    for (const auto& [first, second] : {std::pair{at, int64_t{-1}}, {int64_t{-1}, at}, {at, at}}) {
      const uint64_t key = 10 + static_cast<uint64_t>(number);
      const bool whole = attempt(number, key, first, second);
      if (whole) last_key_ = key;
      expect_invariants(number);
      if (HasFailure()) return;
      any = any || !whole;
      kills += whole ? 0 : 1;
      ++number;
    }
    if (!any) break;
  }
  EXPECT_GT(kills, 3 * 15);
  EXPECT_GE(committed_.size(), 3u) << "those that nobody killed";
}

TEST_F(RanksKillTest, AtRandomMoments) {
  for (int64_t number = 1; number <= 10; ++number) {
    SCOPED_TRACE("attempt " + std::to_string(number));
    const uint64_t key = 100 + static_cast<uint64_t>(number);
    const auto moment = static_cast<int64_t>(random_bits({static_cast<uint64_t>(number), 77}) % 40000);
    if (attempt(number, key, -1, -1, moment)) last_key_ = key;
    expect_invariants(number);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace tephra::storage
