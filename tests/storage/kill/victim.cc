#include "tests/storage/kill/victim.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "storage/index/database.h"
#include "tests/storage/faulty_file_system.h"

namespace tephra::storage {
namespace {

std::atomic<int64_t> changes_left{-1};

void maybe_die() {
  if (changes_left >= 0 && changes_left-- == 0) ::kill(::getpid(), SIGKILL);
}

// Counts changes; may die before one, or in the middle of an append.
class DyingFile : public WritableFile {
 public:
  explicit DyingFile(std::unique_ptr<WritableFile> target) : target_(std::move(target)) {}
  Status append(std::span<const std::byte> bytes) override {
    if (changes_left == 0) (void)target_->append(bytes.first(bytes.size() / 2));
    maybe_die();
    return target_->append(bytes);
  }
  Status sync() override {
    maybe_die();
    return target_->sync();
  }
  Status close() override { return target_->close(); }

 private:
  std::unique_ptr<WritableFile> target_;
};

class DyingEnv : public Env {
 public:
  Result<std::unique_ptr<WritableFile>> create(const std::string& path) override {
    maybe_die();
    TEPHRA_ASSIGN_OR_RETURN(auto file, target_.create(path));
    return std::unique_ptr<WritableFile>(std::make_unique<DyingFile>(std::move(file)));
  }
  Result<std::unique_ptr<WritableFile>> create_large(const std::string& path) override {
    maybe_die();
    TEPHRA_ASSIGN_OR_RETURN(auto file, target_.create_large(path));
    return std::unique_ptr<WritableFile>(std::make_unique<DyingFile>(std::move(file)));
  }
  Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override { return target_.open(path); }
  Status make_directories(const std::string& path) override {
    maybe_die();
    return target_.make_directories(path);
  }
  Status sync_directory(const std::string& path) override {
    maybe_die();
    return target_.sync_directory(path);
  }
  Status rename(const std::string& from, const std::string& to) override {
    maybe_die();
    return target_.rename(from, to);
  }
  Status remove(const std::string& path) override {
    maybe_die();
    return target_.remove(path);
  }
  Result<std::vector<std::string>> list(const std::string& directory) override { return target_.list(directory); }
  bool exists(const std::string& path) override { return target_.exists(path); }
  Result<uint64_t> free_bytes(const std::string& path) override { return target_.free_bytes(path); }

 private:
  Env& target_ = Env::posix();
};

void say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::_Exit(3);
}

class Victim {
 public:
  Victim(std::string dir, uint64_t seed) : dir_(std::move(dir)), seed_(seed) {}

  Status run(int64_t operations) {
    TEPHRA_RETURN_IF_ERROR(reopen());
    for (int64_t n = 0; n < operations; ++n) {
      const uint64_t dice = random_bits({seed_, static_cast<uint64_t>(n), 1}) % 100;
      Status status = dice < 45   ? save(n)
                      : dice < 60 ? remove(n)
                      : dice < 70 ? collect()
                      : dice < 80 ? import(n)
                      : dice < 90 ? tag(n)
                                  : reopen();
      TEPHRA_RETURN_IF_ERROR(status);
    }
    return ok_status();
  }

 private:
  // Start-up, with RocksDB's recovery, flush and now and then compaction.
  Status reopen() {
    store_.reset();
    TEPHRA_ASSIGN_OR_RETURN(store_, Store::open(env_, dir_, OpenMode::kReadWrite));
    return ok_status();
  }

  Result<std::string> pick(int64_t n) {
    TEPHRA_ASSIGN_OR_RETURN(const auto infos, store_->list());
    if (infos.empty()) return std::string();
    return infos[random_bits({seed_, static_cast<uint64_t>(n), 2}) % infos.size()].name;
  }

  Status save(int64_t n) {
    const uint64_t key = random_bits({seed_, static_cast<uint64_t>(n), 3}) % 7;  // few, so that chunks are shared
    const auto tensors = model_of(key);
    const std::string job = "v" + std::to_string(seed_);
    const int world = static_cast<int>(1 + key % 2);
    TEPHRA_RETURN_IF_ERROR(store_->acquire_lease({pack_prefix(job, n), job, {}}));
    Manifest manifest;
    manifest.job = job, manifest.stage = "s", manifest.step = n, manifest.attempt = n;
    const std::string name = manifest.name();
    std::vector<ShardSummary> shards;
    std::vector<PackSummary> packs;
    for (int rank = 0; rank < world; ++rank) {
      TEPHRA_ASSIGN_OR_RETURN(
          auto shard, write_shard(env_, store_->packs_dir(), pack_name(job, n, "s", n, rank), tensors, rank, world));
      packs.push_back(shard.pack);
      shards.push_back(std::move(shard));
    }
    TEPHRA_ASSIGN_OR_RETURN(manifest.tensors, merge(shards));
    say("begin save " + name + " " + std::to_string(key));
    TEPHRA_RETURN_IF_ERROR(store_->commit(std::move(manifest), packs).status());
    say("done save " + name + " " + std::to_string(key));
    return store_->release_lease(pack_prefix(job, n));
  }

  Status remove(int64_t n) {
    TEPHRA_ASSIGN_OR_RETURN(const std::string name, pick(n));
    if (name.empty()) return ok_status();
    say("begin remove " + name + " 0");
    const Status status = store_->remove(name);
    if (status.code() == Code::kBusy) {  // tagged
      say("done keep " + name + " 0");
      return ok_status();
    }
    TEPHRA_RETURN_IF_ERROR(status);
    say("done remove " + name + " 0");
    return ok_status();
  }

  Status collect() { return store_->gc(false).status(); }

  Status import(int64_t n) {
    const uint64_t key = 100 + random_bits({seed_, static_cast<uint64_t>(n), 4}) % 3;
    std::vector<TestTensor> tensors;
    for (TestTensor& tensor : model_of(key))
      if (tensor.kind == StateKind::kParameter) tensors.push_back(std::move(tensor));
    say("begin import base " + std::to_string(key));
    ImportOptions options;
    options.import_key = std::to_string(key);
    TEPHRA_ASSIGN_OR_RETURN(const Manifest base, store_->import_tensors(MemorySource(std::move(tensors)), options));
    say("done import " + base.name() + " " + std::to_string(key));
    return ok_status();
  }

  Status tag(int64_t n) {
    TEPHRA_ASSIGN_OR_RETURN(const std::string name, pick(n));
    if (name.empty()) return ok_status();
    const std::string tag = "t" + std::to_string(n % 3);
    const Status untagged = store_->untag(tag);
    if (!untagged.ok() && untagged.code() != Code::kNotFound) return untagged;
    return n % 2 == 0 ? store_->tag(tag, name) : ok_status();
  }

  DyingEnv env_;
  const std::string dir_;
  const uint64_t seed_;
  std::unique_ptr<Store> store_;
};

}  // namespace

std::vector<TestTensor> model_of(uint64_t key) {
  std::vector<TestTensor> tensors = small_model(key);
  tensors.push_back(make_tensor("shared", {300}, key % 2));
  return tensors;
}

int rank_main(int argc, char** argv) {
  if (argc != 9) return 2;
  changes_left = std::stoll(argv[7]);
  DyingEnv env;
  const auto shard = write_shard(env, std::string(argv[2]) + "/packs", argv[3], model_of(std::stoull(argv[4])),
                                 std::stoi(argv[5]), std::stoi(argv[6]));
  if (!shard.ok()) return 1;
  return write_file_atomic(Env::posix(), argv[8], encode(*shard)).ok() ? 0 : 1;
}

int victim_main(int argc, char** argv) {
  if (argc != 6) return 2;
  auto files = std::make_shared<FaultyFileSystem>();
  files->on_change(maybe_die);
  set_index_file_system_for_tests(files);
  changes_left = std::stoll(argv[5]);
  const Status status = Victim(argv[2], std::stoull(argv[3])).run(std::stoll(argv[4]));
  if (status.ok()) return 0;
  say("failed " + status.to_string());
  return 1;
}

}  // namespace tephra::storage
