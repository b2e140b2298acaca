// An Env for tests that does what disks do. It wraps another Env and keeps what it needs to undo what was not made
// durable.
//
// Must be survived by the code under test: any operation failing once or for good; a crash that drops everything not
// synced (file contents, and names whose folder was not synced); a torn append; a full disk. Must be reported, never
// read as good: a flipped bit. Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"

namespace tephra {

class FaultyEnv : public Env {
 public:
  explicit FaultyEnv(Env& target) : target_(target) {}

  // --- what goes wrong ---
  struct Fault {
    Status status{Code::kIo, "injected fault"};
    bool sticky = false;  // every later operation fails too, as after a crash
    bool tear = false;    // a failing append leaves the first half of its bytes
  };
  // Operation number `n` from now on (0: the next) fails. Counted: create, append, sync, close, make_directories,
  // sync_directory, rename, remove; with count_reads also open, list and read_at.
  void fail_nth(int64_t n, Fault fault, bool count_reads = false);
  void disarm();
  bool fired() const;                                   // the armed fault has happened
  int64_t operation_count() const;                      // since the last fail_nth or disarm
  void set_space_bytes(std::optional<uint64_t> bytes);  // appends beyond it write what fits and fail with kNoSpace

  // Power loss: drops appended bytes since each file's last sync (`torn`: keeps half of them), then undoes creations,
  // renames and removals in folders that were not synced since. Open files become useless. Disarms.
  Status crash(bool torn = false);
  // Damages a file at rest.
  Status flip_bit(const std::string& path, uint64_t offset, int bit);
  Status truncate(const std::string& path, uint64_t size_bytes);

  // --- Env ---
  Result<std::unique_ptr<WritableFile>> create(const std::string& path) override;
  Result<std::unique_ptr<WritableFile>> create_large(const std::string& path) override;
  Result<std::unique_ptr<ReadableFile>> open(const std::string& path) override;
  Status make_directories(const std::string& path) override;
  Status sync_directory(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Result<std::vector<std::string>> list(const std::string& directory) override;
  bool exists(const std::string& path) override;
  Result<uint64_t> free_bytes(const std::string& path) override;

 private:
  friend class FaultyWritableFile;
  friend class FaultyReadableFile;
  struct Undo {  // one not yet durable change of a folder; undone in reverse order
    enum class Kind { kCreate, kRename, kRemove } kind;
    std::string path;                        // created, renamed to, or removed
    std::string from;                        // kRename
    std::optional<std::string> overwritten;  // bytes of what was at `path`
  };

  Status before_operation(bool is_read);
  std::unique_ptr<WritableFile> created(const std::string& path, std::unique_ptr<WritableFile> file);
  bool tears();
  Status before_append(const std::string& path, size_t wanted, size_t* allowed);
  Status rewrite(const std::string& path, std::string_view bytes);
  Status undo(const Undo& change);

  Env& target_;
  mutable std::mutex mutex_;
  Fault fault_;
  int64_t fail_at_ = -1;
  bool count_reads_ = false;
  bool fired_ = false;
  int64_t operations_ = 0;
  int64_t generation_ = 0;  // grows at each crash; files of an earlier one fail
  std::optional<uint64_t> space_bytes_;
  std::map<std::string, uint64_t> written_, synced_;  // bytes per file that this Env created
  std::vector<Undo> undo_;
};

}  // namespace tephra
