// Saving and loading the state that the peers are measured with (63 M parameters, two moments of the 58 M that stage 2 trains: 718 MB over
// two ranks), beside plain system calls on as many bytes. Every rank is a process; times run from a barrier to the slowest rank's end.
//   raw:   each rank writes its bytes to one file and fsyncs it; reads them back
//   save:  each rank writes its pack, hashing every byte, and seals it; this process commits
//   load:  each rank reads its ranges of the committed checkpoint, comparing every chunk with its hash; warm, and cold (the packs
//          are dropped from the page cache before)
// ckpt_bench [--dir DIR] [--ranks 2] [--reps 5] [--load-ranks 1,2,4]. Prints one JSON line: medians in milliseconds.
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

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

// One range of one tensor, and the bytes of it in this rank's memory.
struct Piece {
  const sharding::TensorSpec* tensor;
  StateKind kind;
  int64_t begin, count;
  std::vector<float> values;
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
        Piece piece{range.tensor, kind, range.begin, range.count, std::vector<float>(range.count)};
        for (int64_t i = 0; filled && i < range.count; ++i)
          piece.values[i] = static_cast<float>(i * 0.37 + static_cast<double>(kind) + static_cast<double>(range.begin));
        pieces.push_back(std::move(piece));
      }
    }
  }
  return pieces;
}

std::span<const std::byte> bytes_of(const Piece& piece) { return std::as_bytes(std::span(piece.values)); }

// Where ranks meet and leave their times.
struct Shared {
  pthread_barrier_t barrier;
  double start_ms;
  double end_ms[64];
};

Shared* make_shared_memory() {
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return static_cast<Shared*>(memory);
}

// Runs `prepare` and then `work` in `ranks` processes; from the moment that all are prepared to the end of the slowest,
// after `finish` in this process.
double timed(
    int ranks, const std::function<std::vector<Piece>(int rank)>& prepare,
    const std::function<void(int rank, std::vector<Piece>& pieces)>& work,
    const std::function<void()>& finish = [] {}) {
  Shared* shared = make_shared_memory();
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&shared->barrier, &attributes, static_cast<unsigned>(ranks) + 1);
  std::fflush(stdout);
  for (int rank = 0; rank < ranks; ++rank) {
    if (::fork() != 0) continue;
    std::vector<Piece> pieces = prepare(rank);
    pthread_barrier_wait(&shared->barrier);
    work(rank, pieces);
    shared->end_ms[rank] = now_ms();
    std::_Exit(0);
  }
  pthread_barrier_wait(&shared->barrier);
  const double start = now_ms();
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    const pid_t pid = ::wait(&status);
    if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) give_up(Status(Code::kInternal, "a rank failed"));
  }
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

std::string raw_path(const std::string& dir, int rank) { return dir + "/raw-" + std::to_string(rank); }

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

void read_raw(const std::string& path, std::vector<Piece>& pieces) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  for (Piece& piece : pieces)
    for (auto bytes = std::as_writable_bytes(std::span(piece.values)); !bytes.empty();) {
      const ssize_t n = ::read(fd, bytes.data(), bytes.size());
      if (n <= 0) give_up(Status(Code::kIo, "read " + path));
      bytes = bytes.subspan(static_cast<size_t>(n));
    }
  ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  std::string dir = "ckpt-bench";
  int ranks = 2, reps = 5;
  std::vector<int> load_ranks{1, 2, 4};
  CLI::App app("Saving and loading beside plain system calls");
  app.add_option("--dir", dir, "scratch folder on the disk to be measured; removed at the end");
  app.add_option("--ranks", ranks);
  app.add_option("--reps", reps);
  app.add_option("--load-ranks", load_ranks)->delimiter(',');
  CLI11_PARSE(app, argc, argv);

  std::vector<sharding::UnitSpec> units = model::make_units(bench::peer_shape(), {"connector", "llm"});
  sharding::layout(units);
  uint64_t state_bytes = 0;
  for (int rank = 0; rank < ranks; ++rank)
    for (const Piece& piece : pieces_of(units, rank, ranks, false)) state_bytes += bytes_of(piece).size();
  std::map<std::string, std::vector<double>> ms;
  for (int rep = 0; rep < reps; ++rep) {
    fs::remove_all(dir);
    fs::create_directories(dir);
    const auto filled = [&](int rank) { return pieces_of(units, rank, ranks, true); };
    const auto touched = [&](int of) { return [&units, of](int rank) { return pieces_of(units, rank, of, true); }; };
    const auto raw = [&] {
      ms["raw_save"].push_back(
          timed(ranks, filled, [&](int rank, std::vector<Piece>& pieces) { write_raw(raw_path(dir, rank), pieces); }));
      const auto raw_load = [&](int rank, std::vector<Piece>& pieces) { read_raw(raw_path(dir, rank), pieces); };
      ms["raw_load_warm"].push_back(timed(ranks, touched(ranks), raw_load));
      drop_from_cache(dir);
      ms["raw_load_cold"].push_back(timed(ranks, touched(ranks), raw_load));
    };
    if (rep % 2 == 0) raw();

    const std::string store_dir = dir + "/store";
    auto store = storage::Store::open(Env::posix(), store_dir, storage::OpenMode::kReadWrite);
    if (!store.ok()) give_up(store.status());
    const std::string packs_dir = (*store)->packs_dir();
    double commit_ms = 0;
    ms["save"].push_back(timed(
        ranks, filled,
        [&](int rank, std::vector<Piece>& pieces) {
          auto writer =
              storage::TensorWriter::create(Env::posix(), packs_dir, storage::pack_name("bench", 1, "s", 1, rank));
          if (!writer.ok()) give_up(writer.status());
          for (const Piece& piece : pieces)
            if (Status status = (*writer)->add(piece.tensor->name, piece.kind, DType::kFloat32, piece.tensor->shape,
                                               piece.begin, piece.count, bytes_of(piece).data());
                !status.ok())
              give_up(status);
          auto summary = (*writer)->finish();
          if (!summary.ok()) give_up(summary.status());
          // As it goes to the coordinator over a socket: not synced.
          std::ofstream(dir + "/summary-" + std::to_string(rank), std::ios::binary) << storage::encode(*summary);
        },
        [&] {
          const double start = now_ms();
          storage::Manifest manifest;
          manifest.job = "bench", manifest.stage = "s", manifest.step = 1;
          std::vector<storage::ShardSummary> shards;
          std::vector<storage::PackSummary> packs;
          for (int rank = 0; rank < ranks; ++rank) {
            shards.push_back(
                *storage::decode_shard_summary(*read_file(Env::posix(), dir + "/summary-" + std::to_string(rank))));
            packs.push_back(shards.back().pack);
          }
          auto tensors = storage::merge(shards);
          if (!tensors.ok()) give_up(tensors.status());
          manifest.tensors = std::move(*tensors);
          auto committed = (*store)->commit(std::move(manifest), packs);
          if (!committed.ok()) give_up(committed.status());
          commit_ms = now_ms() - start;
        }));
    ms["commit_of_it"].push_back(commit_ms);

    const std::string located = storage::encode(*(*store)->locate(*(*store)->get("bench/s@1")));
    for (const int of : load_ranks)
      for (const bool cold : {true, false}) {
        if (cold) drop_from_cache(packs_dir);
        ms["load_" + std::to_string(of) + (cold ? "_cold" : "_warm")].push_back(
            timed(of, touched(of), [&](int, std::vector<Piece>& pieces) {
              auto manifest = storage::decode_located_manifest(located);
              if (!manifest.ok()) give_up(manifest.status());
              const storage::CheckpointReader reader(Env::posix(), packs_dir, std::move(*manifest));
              std::atomic<size_t> next{0};
              const auto read = [&] {
                for (size_t at; (at = next++) < pieces.size();) {
                  Piece& piece = pieces[at];
                  if (Status status = reader.read_state_float32(piece.tensor->name, piece.kind, piece.begin,
                                                                piece.count, piece.values.data());
                      !status.ok())
                    give_up(status);
                }
              };
              // A rank has as many threads as cores are left to it, as in training.
              std::vector<std::thread> threads;
              for (int t = 1; t < static_cast<int>(std::thread::hardware_concurrency()) / of; ++t)
                threads.emplace_back(read);
              read();
              for (std::thread& thread : threads) thread.join();
            }));
      }
    store->reset();
    // In turn first and second: files that were just deleted cost the next writer.
    if (rep % 2 == 1) raw();
  }
  fs::remove_all(dir);
  std::printf("{\"bench\": \"ckpt\", \"ranks\": %d, \"reps\": %d, \"state_mb\": %.1f", ranks, reps,
              static_cast<double>(state_bytes) / 1e6);
  for (const auto& [name, values] : ms) std::printf(", \"%s_ms\": %.1f", name.c_str(), bench::median(values));
  std::printf("}\n");
  return 0;
}
