// Saving and loading the state that the peers are measured with (63 M parameters, two moments of the 58 M that stage 2 trains: 718 MB over
// two ranks), beside plain system calls on as many bytes. Every rank is a process; times run from a barrier to the slowest rank's end.
//   raw:   each rank writes its bytes to one file and fsyncs it; as many bytes are read back, each rank its part
//   save:  each rank writes its pack, hashing every byte, and seals it; this process commits
//   load:  each rank reads its ranges of the committed checkpoint, comparing every block with its hash; warm, and cold (the files
//          are dropped from the page cache before)
// Every raw run has the other beside it, in turn first and second, because disks and shared hosts are not steady: "X_over_raw" is the
// median of the pairs' ratios.
// ckpt_bench [--dir DIR] [--ranks 2] [--reps 5] [--load-reps 5] [--load-ranks 1,2,4]. Prints one JSON line: medians in milliseconds.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "bench/peer_shape.h"
#include "model/spec/units.h"
#include "sharding/plan/unit.h"
#include "storage/index/store.h"

namespace {

using namespace tephra;
using storage::StateKind;
namespace fs = std::filesystem;

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void give_up(const Status& status) {
  std::fprintf(stderr, "ckpt_bench: %s\n", status.to_string().c_str());
  std::_Exit(1);
}

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

// One range of one tensor, and the bytes of it in this rank's memory.
struct Piece {
  const sharding::TensorSpec* tensor;
  StateKind kind;
  int64_t begin, count;
  std::unique_ptr<float, Free> memory;  // aligned as a model's is
  std::span<float> values;
};

std::vector<Piece> pieces_of(const std::vector<sharding::UnitSpec>& units, int rank, int ranks, bool filled) {
  std::vector<Piece> pieces;
  for (const sharding::UnitSpec& unit : units) {
    // Rounded up, as any number of ranks may read.
    const int64_t size = (unit.flat_numel + ranks - 1) / ranks;
    const int64_t begin = std::min(rank * size, unit.flat_numel), end = std::min(begin + size, unit.flat_numel);
    for (const StateKind kind : {StateKind::kParameter, StateKind::kFirstMoment, StateKind::kSecondMoment}) {
      if (kind != StateKind::kParameter && !unit.trainable) continue;
      for (const sharding::TensorRange& range : sharding::tensor_ranges(unit, begin, end)) {
        const size_t bytes = (static_cast<size_t>(range.count) * sizeof(float) + 63) / 64 * 64;
        Piece piece{range.tensor, kind, range.begin, range.count, {}, {}};
        piece.memory.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
        piece.values = {piece.memory.get(), static_cast<size_t>(range.count)};
        std::memset(piece.memory.get(), 0, bytes);  // so that its pages are there
        // No two alike, or the store would write equal chunks once.
        const uint64_t key = key_of(range.tensor->name) + 7 * static_cast<uint64_t>(kind);
        for (int64_t i = 0; filled && i < range.count; ++i) {
          const uint64_t bits = (key + static_cast<uint64_t>(range.begin + i)) * 0x9E3779B97F4A7C15u;
          piece.values[i] = static_cast<float>((bits ^ bits >> 29) >> 40);
        }
        pieces.push_back(std::move(piece));
      }
    }
  }
  return pieces;
}

std::span<const std::byte> bytes_of(const Piece& piece) { return std::as_bytes(piece.values); }

// Where ranks meet and leave their times.
struct Shared {
  pthread_barrier_t start, end;
  double start_ms[64], end_ms[64];
};

Shared* make_shared_memory() {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return static_cast<Shared*>(memory);
}

// Runs `prepare` and then `work` in `ranks` processes: milliseconds from the moment that all are prepared to the end of the
// slowest, and of `finish` in this process after it.
double timed(
    int ranks, const std::function<std::vector<Piece>(int rank)>& prepare,
    const std::function<void(int rank, std::vector<Piece>& pieces)>& work,
    const std::function<void()>& finish = [] {}) {
  Shared* shared = make_shared_memory();
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&shared->start, &attributes, static_cast<unsigned>(ranks));
  pthread_barrier_init(&shared->end, &attributes, static_cast<unsigned>(ranks));
  std::fflush(stdout);
  for (int rank = 0; rank < ranks; ++rank) {
    if (::fork() != 0) continue;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // one that fails would leave the others at a barrier
    std::vector<Piece> pieces = prepare(rank);
    pthread_barrier_wait(&shared->start);
    shared->start_ms[rank] = now_ms();
    work(rank, pieces);
    shared->end_ms[rank] = now_ms();
    pthread_barrier_wait(&shared->end);  // or giving its memory back would slow those that still work
    std::_Exit(0);
  }
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    const pid_t pid = ::wait(&status);
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) give_up(Status(Code::kInternal, "a rank failed"));
  }
  const double start = *std::min_element(shared->start_ms, shared->start_ms + ranks);
  double end = *std::max_element(shared->end_ms, shared->end_ms + ranks);
  const double finish_start = now_ms();
  finish();
  end += now_ms() - finish_start;
  ::munmap(shared, sizeof(Shared));
  return end - start;
}

void drop_from_cache(const std::string& dir) {
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    if (!entry.is_regular_file()) continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    ::fsync(fd);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    ::close(fd);
  }
}

void write_raw(const std::string& path, const std::vector<Piece>& pieces) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  for (const Piece& piece : pieces)
    for (auto bytes = bytes_of(piece); !bytes.empty();) {
      const ssize_t n = ::write(fd, bytes.data(), bytes.size());
      if (n <= 0) give_up(errno_status(errno, "write " + path));
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  if (::fsync(fd) != 0) give_up(errno_status(errno, "fsync " + path));
  ::close(fd);
}

// Ranks take bytes [begin, ...) of all raw files one after another.
void read_raw(const std::vector<int>& files, uint64_t begin, std::span<std::byte> out) {
  for (const int fd : files) {
    const auto size = static_cast<uint64_t>(::lseek(fd, 0, SEEK_END));
    while (begin < size && !out.empty()) {
      const ssize_t n =
          ::pread(fd, out.data(), std::min<uint64_t>(out.size(), size - begin), static_cast<off_t>(begin));
      if (n <= 0) give_up(errno_status(errno, "read a raw file"));
      begin += static_cast<uint64_t>(n);
      out = out.subspan(static_cast<size_t>(n));
    }
    if (out.empty()) return;
    begin -= size;
  }
  if (!out.empty()) give_up(Status(Code::kInternal, "the raw files are too short"));
}

// A part of a rank's memory that one of its threads reads in one go.
struct Part {
  Piece* piece;
  int64_t begin, count;   // elements, from the piece's first
  uint64_t bytes_before;  // of this rank's parts
};

// A rank has as many threads as cores are left to it, as in training; each takes the next part.
void read_parts(std::vector<Piece>& pieces, int ranks, const std::function<void(const Part&)>& read) {
  constexpr int64_t kPart = 4 << 20;  // elements; cut where the tensor's chunks are
  std::vector<Part> parts;
  uint64_t before = 0;
  for (Piece& piece : pieces)
    for (int64_t at = 0; at < piece.count;) {
      const int64_t count = std::min(piece.count - at, kPart - (piece.begin + at) % kPart);
      parts.push_back({&piece, at, count, before});
      before += static_cast<uint64_t>(count) * sizeof(float);
      at += count;
    }
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t at; (at = next++) < parts.size();) read(parts[at]);
  };
  std::vector<std::thread> threads;
  for (int t = 1; t < static_cast<int>(std::thread::hardware_concurrency()) / ranks; ++t) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
}

class Bench {
 public:
  Bench(std::string dir, int ranks) : dir_(std::move(dir)), ranks_(ranks) {
    sharding::layout(units_);
    for (int rank = 0; rank < ranks; ++rank)
      for (const Piece& piece : pieces_of(units_, rank, ranks, false)) state_bytes_ += bytes_of(piece).size();
  }
  ~Bench() { fs::remove_all(dir_); }

  // A raw save and the store's, each into an empty folder; the last ones stay to be loaded. Files that were just deleted cost the
  // next writer, hence in turn first and second.
  void save(bool raw_first) {
    store_.reset();
    fs::remove_all(dir_);
    fs::create_directories(dir_);
    if (raw_first) save_raw();
    save_store();
    if (!raw_first) save_raw();
    pair("save", "raw_save");
  }

  void load(int ranks, bool cold, bool raw_first) {
    const std::string what = std::to_string(ranks) + (cold ? "_cold" : "_warm");
    const auto raw = [&] {
      prepare_load(raw_dir(), cold);
      note("raw_load_" + what,
           timed(ranks, empty(ranks), [&](int rank, std::vector<Piece>& pieces) { load_raw(rank, ranks, pieces); }));
    };
    if (raw_first) raw();
    prepare_load((*store_)->packs_dir(), cold);
    note("load_" + what,
         timed(ranks, empty(ranks), [&](int, std::vector<Piece>& pieces) { load_store(ranks, pieces); }));
    if (!raw_first) raw();
    pair("load_" + what, "raw_load_" + what);
  }

  void print(int reps, int load_reps) const {
    std::printf("{\"bench\": \"ckpt\", \"ranks\": %d, \"reps\": %d, \"load_reps\": %d, \"state_mb\": %.1f", ranks_,
                reps, load_reps, static_cast<double>(state_bytes_) / 1e6);
    for (const auto& [name, values] : ms_) std::printf(", \"%s_ms\": %.1f", name.c_str(), bench::median(values));
    for (const auto& [name, values] : over_raw_)
      std::printf(", \"%s_over_raw\": %.2f", name.c_str(), bench::median(values));
    std::printf("}\n");
  }

 private:
  std::string raw_dir() const { return dir_ + "/raw"; }
  std::string raw_path(int rank) const { return raw_dir() + "/" + std::to_string(rank); }
  std::string summary_path(int rank) const { return dir_ + "/summary-" + std::to_string(rank); }
  std::function<std::vector<Piece>(int)> filled() const {
    return [this](int rank) { return pieces_of(units_, rank, ranks_, true); };
  }
  std::function<std::vector<Piece>(int)> empty(int ranks) const {
    return [this, ranks](int rank) { return pieces_of(units_, rank, ranks, false); };
  }

  void note(const std::string& name, double ms) { ms_[name].push_back(ms); }
  void pair(const std::string& name, const std::string& raw) {
    over_raw_[name].push_back(ms_[name].back() / ms_[raw].back());
  }

  void save_raw() {
    fs::create_directories(raw_dir());
    note("raw_save",
         timed(ranks_, filled(), [&](int rank, std::vector<Piece>& pieces) { write_raw(raw_path(rank), pieces); }));
  }

  void save_store() {
    auto store = storage::Store::open(Env::posix(), dir_ + "/store", storage::OpenMode::kReadWrite);
    if (!store.ok()) give_up(store.status());
    store_.emplace(std::move(*store));
    note("save", timed(
                     ranks_, filled(), [&](int rank, std::vector<Piece>& pieces) { write_pack(rank, pieces); },
                     [&] {
                       const double start = now_ms();
                       commit();
                       note("commit_of_it", now_ms() - start);
                     }));
    uint64_t written = 0;
    for (const auto& entry : fs::directory_iterator((*store_)->packs_dir())) written += entry.file_size();
    if (written < state_bytes_)
      give_up(Status(Code::kInternal, "the packs hold " + std::to_string(written) + " bytes only"));
    located_ = storage::encode(*(*store_)->locate(*(*store_)->get("bench/s@1")));
  }

  void write_pack(int rank, const std::vector<Piece>& pieces) const {
    auto writer = storage::TensorWriter::create(Env::posix(), (*store_)->packs_dir(),
                                                storage::pack_name("bench", 1, "s", 1, rank));
    if (!writer.ok()) give_up(writer.status());
    for (const Piece& piece : pieces)
      if (Status status = (*writer)->add(piece.tensor->name, piece.kind, DType::kFloat32, piece.tensor->shape,
                                         piece.begin, piece.count, bytes_of(piece).data());
          !status.ok())
        give_up(status);
    auto summary = (*writer)->finish();
    if (!summary.ok()) give_up(summary.status());
    // As it goes to the coordinator over a socket: not synced.
    std::ofstream(summary_path(rank), std::ios::binary) << storage::encode(*summary);
  }

  void commit() {
    storage::Manifest manifest;
    manifest.job = "bench", manifest.stage = "s", manifest.step = 1;
    std::vector<storage::ShardSummary> shards;
    std::vector<storage::PackSummary> packs;
    for (int rank = 0; rank < ranks_; ++rank) {
      shards.push_back(*storage::decode_shard_summary(*read_file(Env::posix(), summary_path(rank))));
      packs.push_back(shards.back().pack);
    }
    auto tensors = storage::merge(shards);
    if (!tensors.ok()) give_up(tensors.status());
    manifest.tensors = std::move(*tensors);
    auto committed = (*store_)->commit(std::move(manifest), packs);
    if (!committed.ok()) give_up(committed.status());
  }

  // Warm files were read once, so that they lie in the page cache as reading leaves them there, not as writing does.
  static void prepare_load(const std::string& dir, bool cold) {
    drop_from_cache(dir);
    if (cold) return;
    std::vector<char> buffer(8 << 20);
    for (const auto& entry : fs::directory_iterator(dir)) {
      const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      while (::read(fd, buffer.data(), buffer.size()) > 0) {
      }
      ::close(fd);
    }
  }

  void load_raw(int rank, int ranks, std::vector<Piece>& pieces) const {
    std::vector<int> files;
    for (int of = 0; of < ranks_; ++of) files.push_back(::open(raw_path(of).c_str(), O_RDONLY | O_CLOEXEC));
    uint64_t mine = 0;
    for (const Piece& piece : pieces) mine += bytes_of(piece).size();
    // Ranks' parts may differ by a few bytes: the last one ends where the files do.
    const uint64_t begin =
        std::min(state_bytes_ / static_cast<uint64_t>(ranks) * static_cast<uint64_t>(rank), state_bytes_ - mine);
    read_parts(pieces, ranks, [&](const Part& part) {
      read_raw(files, begin + part.bytes_before,
               std::as_writable_bytes(part.piece->values.subspan(part.begin, part.count)));
    });
    for (const int fd : files) ::close(fd);
  }

  void load_store(int ranks, std::vector<Piece>& pieces) const {
    auto manifest = storage::decode_located_manifest(located_);
    if (!manifest.ok()) give_up(manifest.status());
    const storage::CheckpointReader reader(Env::posix(), (*store_)->packs_dir(), std::move(*manifest));
    read_parts(pieces, ranks, [&](const Part& part) {
      const Piece& piece = *part.piece;
      if (Status status = reader.read_state_float32(piece.tensor->name, piece.kind, piece.begin + part.begin,
                                                    part.count, part.piece->values.data() + part.begin);
          !status.ok())
        give_up(status);
    });
  }

  const std::string dir_;
  const int ranks_;
  std::vector<sharding::UnitSpec> units_ = model::make_units(bench::peer_shape(), {"connector", "llm"});
  uint64_t state_bytes_ = 0;
  std::optional<std::unique_ptr<storage::Store>> store_;
  std::string located_;
  std::map<std::string, std::vector<double>> ms_, over_raw_;
};

}  // namespace

int main(int argc, char** argv) {
  std::string dir = "ckpt-bench";
  int ranks = 2, reps = 5, load_reps = 5;
  std::vector<int> load_ranks{1, 2, 4};
  CLI::App app("Saving and loading beside plain system calls");
  app.add_option("--dir", dir, "scratch folder on the disk to be measured; removed at the end");
  app.add_option("--ranks", ranks, "that save");
  app.add_option("--reps", reps, "of saving")->check(CLI::PositiveNumber);
  app.add_option("--load-reps", load_reps, "of loading what was saved last");
  app.add_option("--load-ranks", load_ranks)->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  Bench bench(dir, ranks);
  for (int rep = 0; rep < reps; ++rep) bench.save(rep % 2 == 0);
  for (int rep = 0; rep < load_reps; ++rep)
    for (const bool cold : {true, false})
      for (const int of : load_ranks) bench.load(of, cold, rep % 2 == 0);
  bench.print(reps, load_reps);
  return 0;
}
