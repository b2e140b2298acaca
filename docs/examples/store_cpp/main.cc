// Saves a tensor of one's own as two ranks would, and reads it back as one: store_example FOLDER.
#include <cstdio>
#include <numeric>
#include <vector>

#include "storage/index/store.h"

using namespace tephra;
using namespace tephra::storage;

// What one of two ranks does: writes its half into a pack of its own. Any process that sees the folder can.
Result<ShardSummary> write_half(const std::string& packs_dir, int rank, const std::vector<float>& half) {
  TEPHRA_ASSIGN_OR_RETURN(auto writer,
                          TensorWriter::create(Env::posix(), packs_dir, pack_name("example", 1, "train", 10, rank)));
  const auto count = static_cast<int64_t>(half.size());
  TEPHRA_RETURN_IF_ERROR(writer->add("layer.weight", StateKind::kParameter, DType::kFloat32, {2, count}, rank * count,
                                     count, reinterpret_cast<const std::byte*>(half.data())));
  return writer->finish();  // durable from here
}

Status run(const std::string& folder) {
  // The one process that owns the index. A lease keeps gc from what is being written.
  TEPHRA_ASSIGN_OR_RETURN(auto store, Store::open(Env::posix(), folder, OpenMode::kReadWrite));
  TEPHRA_RETURN_IF_ERROR(store->acquire_lease({pack_prefix("example", 1), "the example", {}}));
  std::vector<ShardSummary> shards;
  std::vector<PackSummary> packs;
  for (int rank = 0; rank < 2; ++rank) {
    std::vector<float> half(1000);
    std::iota(half.begin(), half.end(), 1000.0f * static_cast<float>(rank));
    TEPHRA_ASSIGN_OR_RETURN(ShardSummary shard, write_half(store->packs_dir(), rank, half));
    packs.push_back(shard.pack);
    shards.push_back(std::move(shard));
  }
  Manifest manifest;
  manifest.job = "example", manifest.stage = "train", manifest.step = 10;
  manifest.metrics["loss"] = 0.5;
  TEPHRA_ASSIGN_OR_RETURN(manifest.tensors, merge(shards));
  TEPHRA_ASSIGN_OR_RETURN(const Manifest committed, store->commit(std::move(manifest), packs));
  TEPHRA_RETURN_IF_ERROR(store->release_lease(pack_prefix("example", 1)));

  TEPHRA_ASSIGN_OR_RETURN(auto reader, store->reader("example/train@latest"));
  std::vector<float> whole(2000);
  TEPHRA_RETURN_IF_ERROR(reader->read_float32("layer.weight", 0, 2000, whole.data()));
  for (int i = 0; i < 2000; ++i)
    if (whole[i] != static_cast<float>(i)) return {Code::kInternal, "element " + std::to_string(i) + " is another"};
  std::printf("%s %s: 2000 elements read back\n", committed.name().c_str(), committed.content_hash.hex().c_str());
  return ok_status();
}

int main(int argc, char** argv) {
  const Status status = argc == 2 ? run(argv[1]) : Status(Code::kInvalidArgument, "usage: store_example FOLDER");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.to_string().c_str());
  return status.ok() ? 0 : 1;
}
