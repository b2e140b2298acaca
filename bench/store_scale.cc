// How the store's index grows: checkpoints of 1,000 small tensors each are committed as they are in training (a pack, a manifest file, a
// synced batch); at each size the times to list them, to commit one more and to open the store. store_scale [--dir DIR] [--most 10000]
// [--tensors 1000]. One JSON line a size.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/peer_shape.h"
#include "storage/index/store.h"

namespace {

using namespace tephra;
using namespace tephra::storage;

double ms_since(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count();
}
std::chrono::steady_clock::time_point now() { return std::chrono::steady_clock::now(); }

// Every tensor is its own chunk, and another in every step. Milliseconds of the commit alone.
Result<double> add_checkpoint(Store& store, int64_t step, int tensors) {
  TEPHRA_ASSIGN_OR_RETURN(auto writer,
                          TensorWriter::create(Env::posix(), store.packs_dir(), pack_name("scale", 1, "s", step, 0)));
  for (int t = 0; t < tensors; ++t) {
    const float values[2] = {static_cast<float>(step), static_cast<float>(t)};
    TEPHRA_RETURN_IF_ERROR(writer->add("language_model.model.layers." + std::to_string(t) + ".weight",
                                       StateKind::kParameter, DType::kFloat32, {2}, 0, 2,
                                       reinterpret_cast<const std::byte*>(values)));
  }
  TEPHRA_ASSIGN_OR_RETURN(const ShardSummary shard, writer->finish());
  Manifest manifest;
  manifest.job = "scale", manifest.stage = "s", manifest.step = step;
  manifest.recipe_json = std::string(5000, 'r');  // as long as the demo's
  manifest.metrics["loss"] = 1.0 / static_cast<double>(step);
  TEPHRA_ASSIGN_OR_RETURN(manifest.tensors, merge({shard}));
  const auto start = now();
  TEPHRA_RETURN_IF_ERROR(store.commit(std::move(manifest), {shard.pack}).status());
  return ms_since(start);
}

// What two syncs of files and one of a folder cost here, of which a commit has as many.
Result<double> syncs_ms(const std::string& dir) {
  const auto start = now();
  for (int i = 0; i < 20; ++i) {
    TEPHRA_RETURN_IF_ERROR(write_file_atomic(Env::posix(), dir + "/probe", "x"));
    TEPHRA_RETURN_IF_ERROR(write_file_atomic(Env::posix(), dir + "/probe2", "x"));
  }
  return ms_since(start) / 20 * 3 / 4;
}

Status run(const std::string& dir, int64_t most, int tensors) {
  std::filesystem::remove_all(dir);
  TEPHRA_ASSIGN_OR_RETURN(auto store, Store::open(Env::posix(), dir, OpenMode::kReadWrite));
  int64_t step = 0;
  for (int64_t size = 10; size <= most; size *= 10) {
    std::vector<double> commits;
    while (step < size) {
      TEPHRA_ASSIGN_OR_RETURN(const double ms, add_checkpoint(*store, ++step, tensors));
      if (size - step < 50) commits.push_back(ms);
    }
    TEPHRA_ASSIGN_OR_RETURN(const double syncs, syncs_ms(dir));
    auto start = now();
    TEPHRA_ASSIGN_OR_RETURN(const auto infos, store->list());
    const double list = ms_since(start);
    store.reset();
    start = now();
    TEPHRA_ASSIGN_OR_RETURN(store, Store::open(Env::posix(), dir, OpenMode::kReadWrite));
    const double open = ms_since(start);
    start = now();
    TEPHRA_RETURN_IF_ERROR(store->gc(true).status());
    const double gc = ms_since(start);
    std::printf(
        "{\"bench\": \"store_scale\", \"checkpoints\": %zu, \"tensors_each\": %d, \"list_ms\": %.1f, \"commit_ms\": %.2f, "
        "\"of_it_syncs_ms\": %.2f, \"open_ms\": %.1f, \"gc_dry_run_ms\": %.0f}\n",
        infos.size(), tensors, list, bench::median(commits), syncs, open, gc);
    std::fflush(stdout);
  }
  store.reset();
  std::filesystem::remove_all(dir);
  return ok_status();
}

}  // namespace

int main(int argc, char** argv) {
  std::string dir = "store-scale";
  int64_t most = 10000;
  int tensors = 1000;
  CLI::App app("Growth of the store's index");
  app.add_option("--dir", dir, "scratch folder; removed at the end");
  app.add_option("--most", most, "checkpoints of the last size");
  app.add_option("--tensors", tensors);
  CLI11_PARSE(app, argc, argv);
  const Status status = run(dir, most, tensors);
  if (!status.ok()) std::fprintf(stderr, "store_scale: %s\n", status.to_string().c_str());
  return status.ok() ? 0 : 1;
}
