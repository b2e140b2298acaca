// A process that works on a store is killed with SIGKILL: at every eleventh change of a file that one life makes (at every
// one in the slow suite), each time in a fresh store, and at random moments. Invariants, checked after each kill by opening the store again:
//  1. A checkpoint whose save was reported as done, and whose removal was not begun, is there.
//  2. A checkpoint that is there was begun to be saved (or imported), and its removal was not reported as done.
//  3. Every checkpoint that is there verifies, and holds exactly the bytes that its key stands for, which this side makes by itself.
//  4. After gc, packs/ and manifests/ hold what the index names and nothing else.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <set>
#include <sstream>

#include "storage/manifest_file.h"
#include "tests/storage/kill/victim.h"

namespace tephra::storage {
namespace {

constexpr int kOperations = 12;  // of one life

class StoreKillTest : public ::testing::Test {
 protected:
  // One life of the victim. kill_at: see victim.h. kill_after_us: by this side, that long after it began to speak; -1: not.
  // False: it ended by itself.
  bool live(uint64_t seed, int64_t kill_at, int64_t kill_after_us = -1) {
    int out[2];
    EXPECT_EQ(::pipe(out), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::dup2(out[1], STDOUT_FILENO);
      ::close(out[0]);
      ::close(out[1]);
      const std::string program = "/proc/self/exe", seed_text = std::to_string(seed),
                        count = std::to_string(kOperations), at = std::to_string(kill_at), store = dir_ / store_;
      ::execl(program.c_str(), program.c_str(), "victim", store.c_str(), seed_text.c_str(), count.c_str(), at.c_str(),
              nullptr);
      std::_Exit(127);
    }
    ::close(out[1]);
    std::string said;
    char buffer[4096];
    for (ssize_t n; (n = ::read(out[0], buffer, sizeof buffer)) > 0;) {
      if (said.empty() && kill_after_us >= 0) {
        ::usleep(static_cast<useconds_t>(kill_after_us));  // the moment is drawn, not awaited
        ::kill(pid, SIGKILL);
      }
      said.append(buffer, static_cast<size_t>(n));
    }
    ::close(out[0]);
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    note(said);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!killed) {
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << said;
    }
    return killed;
  }

  void note(const std::string& said) {
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string when, what, name;
      uint64_t key = 0;
      words >> when >> what >> name >> key;
      if (!words) continue;  // cut off by the kill
      if (what == "save" && when == "begin") maybe_[name] = key;
      if (what == "import" && when == "begin") imports_.insert(key);
      if (when == "done" && (what == "save" || what == "import")) {
        maybe_.erase(name);
        there_[name] = key;
      }
      if (what == "remove" && when == "begin" && there_.contains(name)) {
        maybe_[name] = there_[name];
        there_.erase(name);
      }
      if (what == "keep" && maybe_.contains(name)) {
        there_[name] = maybe_[name];
        maybe_.erase(name);
      }
      if (what == "remove" && when == "done") {
        if (name.starts_with("base/")) imports_.erase(maybe_[name]);  // until it is begun again
        maybe_.erase(name);
      }
    }
  }

  // The invariants. What may or may not be there is settled by what is.
  void expect_invariants() {
    Env& env = Env::posix();
    auto store = Store::open(env, dir_ / store_, OpenMode::kReadWrite);
    ASSERT_TRUE(store.ok()) << store.status().to_string();
    const auto infos = (*store)->list();
    TEPHRA_ASSERT_OK(infos);
    std::map<std::string, uint64_t> found;
    for (const CheckpointInfo& info : *infos) {
      uint64_t key = 0;
      if (there_.contains(info.name)) {
        key = there_[info.name];
      } else if (maybe_.contains(info.name)) {
        key = maybe_[info.name];
      } else {
        ASSERT_TRUE(info.name.starts_with("base/")) << info.name << " is there and was not begun, or was removed (2)";
        key = key_of_import(**store, info.name);
      }
      found[info.name] = key;
      expect_bytes(**store, info.name, key);
    }
    for (const auto& [name, key] : there_) EXPECT_TRUE(found.contains(name)) << name << " was saved and is gone (1)";
    there_ = std::move(found);
    maybe_.clear();
    const auto leases = (*store)->leases();
    TEPHRA_ASSERT_OK(leases);
    for (const Lease& lease : *leases) TEPHRA_ASSERT_OK((*store)->release_lease(lease.pack_prefix));
    TEPHRA_ASSERT_OK((*store)->gc(false));
    const auto packs = env.list((*store)->packs_dir());
    TEPHRA_ASSERT_OK(packs);
    EXPECT_EQ(packs->size(), static_cast<size_t>((*store)->stat()->pack_count)) << "(4)";
    const auto manifests = env.list(dir_ / (store_ + "/manifests"));
    TEPHRA_ASSERT_OK(manifests);
    EXPECT_EQ(manifests->size(), there_.size()) << "(4)";
    for (const auto& [name, key] : there_) EXPECT_TRUE((*store)->verify(name)->ok()) << name << " after gc";
  }

  void expect_bytes(Store& store, const std::string& name, uint64_t key) {
    const auto report = store.verify(name);
    TEPHRA_ASSERT_OK(report);
    EXPECT_TRUE(report->ok()) << name << ": " << report->problems[0].message << " (3)";
    const auto reader = store.reader(name);
    TEPHRA_ASSERT_OK(reader);
    for (const TestTensor& tensor : model_of(key)) {
      if (name.starts_with("base/") && tensor.kind != StateKind::kParameter) continue;
      std::vector<std::byte> bytes(tensor.bytes.size());
      TEPHRA_ASSERT_OK((*reader)->read_state_bytes(tensor.name, tensor.kind, 0, numel(tensor.shape), bytes.data()));
      EXPECT_TRUE(bytes == tensor.bytes) << name << " " << tensor.name << " (3)";
    }
  }

  // An import is named by its content, so a cut off one is found by trying what was begun.
  uint64_t key_of_import(Store& store, const std::string& name) {
    const auto reader = store.reader(name);
    EXPECT_TRUE(reader.ok());
    for (const uint64_t key : imports_) {
      const TestTensor tensor = model_of(key)[0];
      std::vector<std::byte> bytes(tensor.bytes.size());
      if ((*reader)->read_state_bytes(tensor.name, tensor.kind, 0, numel(tensor.shape), bytes.data()).ok() &&
          bytes == tensor.bytes)
        return key;
    }
    ADD_FAILURE() << name << " was not begun (2)";
    return 0;
  }

  void sweep(int64_t stride) {
    int kills = 0;
    for (int64_t at = 0;; at += stride) {
      SCOPED_TRACE("change " + std::to_string(at));
      store_ = "store-" + std::to_string(at);
      there_.clear();
      imports_.clear();
      const bool killed = live(1000, at);
      expect_invariants();
      if (HasFailure() || !killed) break;
      ++kills;
    }
    EXPECT_GT(kills, 200 / stride);
  }

  void random_kills(int kills, uint64_t first_seed) {
    int killed = 0, lives = 0;
    for (uint64_t seed = first_seed; killed < kills && lives < 4 * kills; ++seed, ++lives) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      const bool by_itself = seed % 2 == 0;
      const auto drawn = static_cast<int64_t>(random_bits({seed, 9}) % (by_itself ? 400 : 120000));
      killed += live(seed, by_itself ? drawn : -1, by_itself ? -1 : drawn) ? 1 : 0;
      expect_invariants();
      if (HasFailure()) return;
    }
    EXPECT_EQ(killed, kills) << "in " << lives << " lives";
  }

  TempDir dir_;
  std::string store_ = "store";
  std::map<std::string, uint64_t> there_, maybe_;  // name -> key
  std::set<uint64_t> imports_;
};

TEST_F(StoreKillTest, AtEveryEleventhChangeOfALife) { sweep(11); }

TEST_F(StoreKillTest, AtRandomMoments) { random_kills(12, 1); }

// The slow suite's: run by name, with the label slow.
TEST_F(StoreKillTest, DISABLED_AtEveryChangeOfALife) { sweep(1); }

TEST_F(StoreKillTest, DISABLED_FiveHundredTimes) { random_kills(500, 10000); }

}  // namespace
}  // namespace tephra::storage
