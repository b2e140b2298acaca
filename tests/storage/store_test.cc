// The store as a user of it sees it: what was committed comes back whatever the world sizes, names resolve, owners
// exclude each other, imports and frozen tensors cost their bytes once.
#include "storage/index/store.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class StoreTest : public StoreFixture {};

TEST_F(StoreTest, GivesBackWhatWasCommitted) {
  auto model = small_model(1);
  auto committed = save("j", "align", 10, model);
  TEPHRA_ASSERT_OK(committed);
  EXPECT_EQ(committed->name(), "j/align@10");
  EXPECT_GT(committed->created_unix_ms, 0);
  uint64_t bytes = 0;
  for (const auto& t : model) bytes += t.bytes.size();
  EXPECT_EQ(committed->logical_bytes, bytes);
  EXPECT_EQ(committed->new_bytes, bytes);
  expect_holds("j/align@10", model);
}

TEST_F(StoreTest, ContentHashDoesNotDependOnTheWorldSize) {
  auto model = small_model(1);
  std::vector<Hash128> hashes;
  for (int world : {1, 2, 4}) {
    auto committed = save("w" + std::to_string(world), "s", 1, model, world);
    TEPHRA_ASSERT_OK(committed);
    hashes.push_back(committed->content_hash);
    expect_holds(committed->name(), model);
  }
  EXPECT_EQ(hashes[0], hashes[1]);
  EXPECT_EQ(hashes[0], hashes[2]);
  auto other = save("other", "s", 1, small_model(2));
  TEPHRA_ASSERT_OK(other);
  EXPECT_NE(other->content_hash, hashes[0]);
}

TEST_F(StoreTest, AnyWorldSizeReadsWhatAnyWrote) {
  const std::vector<TestTensor> model{make_tensor("big", {1500, 1001}, 5),  // cut at 4 MiB, and elsewhere between ranks
                                      make_tensor("big", {1500, 1001}, 5, DType::kFloat32, StateKind::kFirstMoment),
                                      make_tensor("big", {1500, 1001}, 5, DType::kFloat32, StateKind::kSecondMoment),
                                      make_tensor("half", {999, 77}, 5, DType::kBFloat16), make_tensor("few", {3}, 5)};
  std::optional<Hash128> content;
  for (const int wrote : {1, 2, 3, 4, 8}) {
    auto manifest = save("j", "w" + std::to_string(wrote), 1, model, wrote);
    TEPHRA_ASSERT_OK(manifest);
    if (!content) content = manifest->content_hash;
    EXPECT_EQ(manifest->content_hash, *content) << wrote;
    auto located = store_->locate(*manifest);
    TEPHRA_ASSERT_OK(located);
    auto sent = decode_located_manifest(encode(*located));  // as a rank gets it
    TEPHRA_ASSERT_OK(sent);
    for (const int reads : {1, 2, 3, 4, 8}) {
      for (int rank = 0; rank < reads; ++rank) {
        CheckpointReader reader(env_, store_->packs_dir(), *sent);
        for (const TestTensor& t : model) {
          const int64_t n = numel(t.shape), begin = n * rank / reads, count = n * (rank + 1) / reads - begin;
          const int64_t element = size_bytes(t.dtype);
          std::vector<std::byte> bytes(static_cast<size_t>(count * element));
          TEPHRA_ASSERT_OK(reader.read_state_bytes(t.name, t.kind, begin, count, bytes.data()));
          EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), t.bytes.begin() + begin * element))
              << t.name << " rank " << rank << " of " << reads << ", written by " << wrote;
        }
      }
    }
  }
}

// What is asked for is read and nothing else: the packs of the rest may be gone.
TEST_F(StoreTest, ASubsetNeedsOnlyItsOwnPacks) {
  auto parent = save("base", "b", 0, {make_tensor("language", {5000}, 1)});
  TEPHRA_ASSERT_OK(parent);
  const TestTensor connector = make_tensor("connector", {50}, 2);
  TEPHRA_ASSERT_OK(save("j", "s", 1, {connector}, 1, &*parent));
  TEPHRA_ASSERT_OK(env_.remove(dir_ / ("store/packs/" + pack_name("base", 0, "b", 0, 0) + ".pack")));
  expect_holds("j/s@1", {connector});
  auto reader = store_->reader("j/s@1");
  TEPHRA_ASSERT_OK(reader);
  float value = 0;
  EXPECT_EQ((*reader)->read_float32("language", 0, 1, &value).code(), Code::kNotFound);
}

TEST_F(StoreTest, ReaderShowsParametersAndChecksItsArguments) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, small_model(1)));
  auto reader = store_->reader("j/s@1");
  TEPHRA_ASSERT_OK(reader);
  EXPECT_EQ((*reader)->tensors().size(), 5u);
  ASSERT_NE((*reader)->find("e.half"), nullptr);
  EXPECT_EQ((*reader)->find("e.half")->dtype, DType::kBFloat16);
  EXPECT_TRUE((*reader)->has_state("a.weight", StateKind::kSecondMoment));
  EXPECT_FALSE((*reader)->has_state("b.bias", StateKind::kSecondMoment));
  float out[8];
  EXPECT_EQ((*reader)->read_float32("nothing", 0, 1, out).code(), Code::kNotFound);
  EXPECT_EQ((*reader)->read_float32("b.bias", 5, 3, out).code(), Code::kInvalidArgument);
  EXPECT_EQ((*reader)->read_float32("b.bias", -1, 1, out).code(), Code::kInvalidArgument);
  TEPHRA_ASSERT_OK((*reader)->read_float32("b.bias", 7, 0, out));
}

TEST_F(StoreTest, ReaderIsUsedByManyThreads) {
  std::vector<TestTensor> model{make_tensor("big", {3 << 20}, 5)};
  TEPHRA_ASSERT_OK(save("j", "s", 1, model, 2));
  auto reader = store_->reader("j/s@1");
  TEPHRA_ASSERT_OK(reader);
  std::atomic<int> wrong{0};
  std::vector<std::jthread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t begin = t * 1000; begin + 5000 < (3 << 20); begin += 300'000) {
        std::vector<std::byte> out(20000);
        bool ok = (*reader)->read_bytes("big", begin, 5000, out.data()).ok();
        if (!ok || std::memcmp(out.data(), model[0].bytes.data() + begin * 4, out.size()) != 0) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST_F(StoreTest, SurvivesReopening) {
  auto model = small_model(1);
  TEPHRA_ASSERT_OK(save("j", "s", 1, model));
  TEPHRA_ASSERT_OK(store_->tag("gold", "j/s@1"));
  open();
  expect_holds("gold", model);
  EXPECT_EQ(store_->list()->size(), 1u);
}

TEST_F(StoreTest, NamesResolve) {
  for (int64_t step : {9, 10, 100})
    TEPHRA_ASSERT_OK(save("j", "s", step, {make_tensor("w", {4}, static_cast<uint64_t>(step))}));
  TEPHRA_ASSERT_OK(save("j2", "s", 7, {make_tensor("w", {4}, 1)}));
  EXPECT_EQ(*store_->resolve("j/s@latest"), "j/s@100");
  EXPECT_EQ(*store_->resolve("j/s@9"), "j/s@9");
  TEPHRA_ASSERT_OK(store_->tag("j/s@best", "j/s@10"));
  TEPHRA_ASSERT_OK(store_->tag("gold", "j/s@latest"));
  EXPECT_EQ(*store_->resolve("j/s@best"), "j/s@10");
  EXPECT_EQ(*store_->resolve("gold"), "j/s@100");
  auto infos = store_->list("j");
  TEPHRA_ASSERT_OK(infos);
  ASSERT_EQ(infos->size(), 3u);
  EXPECT_EQ((*infos)[0].name, "j/s@9");
  EXPECT_EQ((*infos)[2].name, "j/s@100");
  EXPECT_EQ((*infos)[2].tags, std::vector<std::string>{"gold"});
  EXPECT_TRUE((*infos)[2].header.tensors.empty());
  EXPECT_EQ(store_->list()->size(), 4u);
}

TEST_F(StoreTest, UnknownNamesSayWhatIsThere) {
  EXPECT_NE(store_->get("a/b@1").status().message().find("it is empty"), std::string::npos);
  TEPHRA_ASSERT_OK(save("job", "align", 100, {make_tensor("w", {4}, 1)}));
  Status status = store_->get("job/alin@100").status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_NE(status.message().find("did you mean 'job/align@100'"), std::string::npos) << status.message();
  EXPECT_EQ(store_->get("job/align@x").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->get("job/align@latst").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->get("no tag").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->tag("job/align@5", "job/align@100").code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->tag("t", "job/align@5").code(), Code::kNotFound);
}

TEST_F(StoreTest, CommittingAgainIsOkForTheSameContentOnly) {
  auto model = small_model(1);
  auto first = save("j", "s", 1, model, 1, nullptr, 0);
  TEPHRA_ASSERT_OK(first);
  auto again = save("j", "s", 1, model, 2, nullptr, 1, {{ColumnFamily::kJobs, "j", "done"}});
  TEPHRA_ASSERT_OK(again);
  EXPECT_EQ(again->created_unix_ms, first->created_unix_ms);
  EXPECT_EQ(*store_->read(ColumnFamily::kJobs, "j"), std::optional<std::string>("done"));
  auto other = save("j", "s", 1, small_model(2), 1, nullptr, 2, {{ColumnFamily::kJobs, "j", "never"}});
  EXPECT_EQ(other.status().code(), Code::kAlreadyExists);
  EXPECT_EQ(*store_->read(ColumnFamily::kJobs, "j"), std::optional<std::string>("done"));
  expect_holds("j/s@1", model);
}

TEST_F(StoreTest, AStageOneCheckpointWritesOnlyWhatLearned) {
  std::vector<TestTensor> base{make_tensor("llm.weight", {990, 100}, 1), make_tensor("vision.weight", {100, 100}, 1)};
  auto imported = store_->import_tensors(MemorySource(base), {});
  TEPHRA_ASSERT_OK(imported);
  std::vector<TestTensor> connector{
      make_tensor("connector.weight", {1090}, 2),
      make_tensor("connector.weight", {1090}, 2, DType::kFloat32, StateKind::kFirstMoment)};
  auto committed = save("j", "align", 1, connector, 2, &*imported);
  TEPHRA_ASSERT_OK(committed);
  EXPECT_EQ(committed->new_bytes, 2u * 4 * 1090);
  EXPECT_LT(committed->new_bytes * 40, committed->logical_bytes);
  expect_holds("j/align@1", connector);
  expect_holds("j/align@1", base);
  EXPECT_TRUE(committed->find("llm.weight", StateKind::kParameter)->frozen);
  // The hash of a tensor is its bytes', however it came to be in the checkpoint.
  auto whole = base;
  whole.insert(whole.end(), connector.begin(), connector.end());
  auto rewritten = save("k", "align", 1, whole, 4);
  TEPHRA_ASSERT_OK(rewritten);
  EXPECT_EQ(rewritten->content_hash, committed->content_hash);
}

TEST_F(StoreTest, ImportingTwiceAddsNothing) {
  std::vector<TestTensor> model{make_tensor("big", {3, 1 << 20}, 1, DType::kBFloat16), make_tensor("w", {10}, 1)};
  MemorySource source(model);
  ImportOptions options{.import_key = "model@1", .handover = {{"llm", "x"}}, .recipe_json = "{}"};
  uint64_t progressed = 0;
  options.progress = [&](uint64_t done, uint64_t total) { progressed = done == total ? done : progressed; };
  auto first = store_->import_tensors(source, options);
  TEPHRA_ASSERT_OK(first);
  EXPECT_EQ(first->name(), "base/" + first->content_hash.hex().substr(0, 16) + "@0");
  EXPECT_EQ(progressed, first->logical_bytes);
  EXPECT_LE(source.largest_read, 4 << 20);
  EXPECT_EQ(first->find("big", StateKind::kParameter)->dtype, DType::kBFloat16);
  expect_holds(first->name(), model);
  uint64_t before = store_->stat()->physical_bytes;
  auto files = pack_files();

  options.import_key.clear();
  auto second = store_->import_tensors(source, options);
  TEPHRA_ASSERT_OK(second);
  EXPECT_EQ(second->name(), first->name());
  EXPECT_EQ(store_->stat()->physical_bytes, before);
  EXPECT_EQ(pack_files(), files);

  options.import_key = "model@1";
  int64_t reads = source.reads;
  TEPHRA_ASSERT_OK(store_->import_tensors(source, options));
  EXPECT_EQ(source.reads, reads) << "a known key reads nothing";
  TEPHRA_ASSERT_OK(store_->remove(first->name()));
  TEPHRA_ASSERT_OK(store_->import_tensors(source, options));
  EXPECT_GT(source.reads, reads) << "unless the checkpoint is gone";
}

TEST_F(StoreTest, AFailedImportLeavesNoCheckpoint) {
  MemorySource source({make_tensor("a", {1000}, 1), make_tensor("b", {1000}, 1)});
  source.fail_at = "b";
  EXPECT_EQ(store_->import_tensors(source, {}).status().message(), "source: b is damaged");
  EXPECT_TRUE(store_->list()->empty());
  EXPECT_TRUE(pack_files().empty());
}

TEST_F(StoreTest, ImportingAgainRepairsADamagedBase) {
  std::vector<TestTensor> model{make_tensor("w", {1000}, 1), make_tensor("v", {1000}, 1)};
  auto first = store_->import_tensors(MemorySource(model), {});
  TEPHRA_ASSERT_OK(first);
  TEPHRA_ASSERT_OK(env_.flip_bit(dir_ / ("store/packs/" + pack_files().at(0)), 100, 3));
  EXPECT_EQ(store_->verify(first->name())->problems.size(), 1u);
  TEPHRA_ASSERT_OK(store_->import_tensors(MemorySource(model), {}));
  EXPECT_TRUE(store_->verify(first->name())->ok());
  expect_holds(first->name(), model);
}

TEST_F(StoreTest, DamageIsFoundAndNamed) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, {make_tensor("u", {500}, 1), make_tensor("w", {500}, 1)}));
  auto report = store_->verify("j/s@1");
  TEPHRA_ASSERT_OK(report);
  EXPECT_TRUE(report->ok());
  EXPECT_EQ(report->tensor_count, 2);
  EXPECT_EQ(report->bytes_read, 4000u);
  const std::string file = pack_files().at(0), pack = dir_ / ("store/packs/" + file);
  TEPHRA_ASSERT_OK(env_.flip_bit(pack, 64 + 2048 + 10, 0));  // in w: u fills bytes 64 to 2064
  report = store_->verify("j/s@1");
  TEPHRA_ASSERT_OK(report);
  ASSERT_EQ(report->problems.size(), 1u);
  EXPECT_EQ(report->problems[0].tensor, "w");
  EXPECT_EQ(report->problems[0].pack + ".pack", file);
  auto reader = store_->reader("j/s@1");
  TEPHRA_ASSERT_OK(reader);
  std::vector<float> out(500);
  TEPHRA_ASSERT_OK((*reader)->read_float32("u", 0, 500, out.data()));
  Status status = (*reader)->read_float32("w", 400, 10, out.data());
  EXPECT_EQ(status.code(), Code::kCorruption);
  for (const std::string& part : {std::string("tensor w"), std::string("j/s@1"), file, std::string("chunk")})
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  TEPHRA_ASSERT_OK(env_.truncate(pack, 200));
  EXPECT_EQ(store_->verify("j/s@1")->problems.size(), 2u);
  TEPHRA_ASSERT_OK(env_.remove(pack));
  EXPECT_EQ(store_->verify("j/s@1")->problems.size(), 2u);
}

TEST_F(StoreTest, CommitRefusesDamagedAndMissingChunks) {
  auto shard = write_shard(env_, store_->packs_dir(), "p", {make_tensor("w", {500}, 1)}, 0, 1);
  TEPHRA_ASSERT_OK(shard);
  Manifest manifest;
  manifest.job = "j";
  manifest.stage = "s";
  manifest.tensors = *merge({*shard});
  EXPECT_EQ(store_->commit(manifest, {}).status().code(), Code::kNotFound) << "no pack given";
  PackSummary lie = shard->pack;
  lie.chunks[0].second += 64;
  EXPECT_EQ(store_->commit(manifest, {lie}).status().code(), Code::kMismatch);
  Manifest announced = manifest;
  announced.tensors[0].content = {1, 1};
  EXPECT_EQ(store_->commit(announced, {shard->pack}).status().code(), Code::kMismatch);
  const std::string pack = dir_ / "store/packs/p.pack";
  TEPHRA_ASSERT_OK(env_.flip_bit(pack, Env::posix().open(pack).value()->size_bytes() - 90, 0));
  Status status = store_->commit(manifest, {shard->pack}).status();
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_NE(status.message().find(pack), std::string::npos) << status.message();
  EXPECT_TRUE(store_->list()->empty());
}

TEST_F(StoreTest, CommitReadsBackOnlyBlocksThatRanksShare) {
  const std::vector<TestTensor> whole{make_tensor("w", {2, 1 << 20}, 2)};
  std::vector<ShardSummary> shards;
  for (int rank = 0; rank < 2; ++rank) {
    auto shard = write_shard(env_, store_->packs_dir(), pack_name("j", 0, "s", 2, rank), whole, rank, 2);
    TEPHRA_ASSERT_OK(shard);
    shards.push_back(*shard);
  }
  // Damage that happens between seal and commit is seen only where bytes are read back; every later read sees it.
  TEPHRA_ASSERT_OK(env_.flip_bit(dir_ / ("store/packs/" + pack_name("j", 0, "s", 2, 0) + ".pack"), 100, 0));
  Manifest manifest;
  manifest.job = "j";
  manifest.stage = "s";
  manifest.step = 2;
  manifest.tensors = *merge(shards);
  TEPHRA_ASSERT_OK(store_->commit(manifest, {shards[0].pack, shards[1].pack}));
  EXPECT_FALSE(store_->verify("j/s@2")->ok());

  // Three ranks meet inside of blocks: each of those two blocks is shared.
  const std::vector<TestTensor> shared{make_tensor("w", {2, 1 << 20}, 3)};
  manifest.step = 3;
  shards.clear();
  for (int rank = 0; rank < 3; ++rank) {
    auto shard = write_shard(env_, store_->packs_dir(), pack_name("j", 0, "s", 3, rank), shared, rank, 3);
    TEPHRA_ASSERT_OK(shard);
    shards.push_back(*shard);
  }
  const uint64_t end = 4 * ((2 << 20) / 3);  // of rank 0's range, in bytes
  ASSERT_NE(end % kBlockBytes, 0u);
  TEPHRA_ASSERT_OK(env_.flip_bit(dir_ / ("store/packs/" + pack_name("j", 0, "s", 3, 0) + ".pack"), 64 + end - 1, 0));
  manifest.tensors = *merge(shards);
  Status status = store_->commit(manifest, {shards[0].pack, shards[1].pack, shards[2].pack}).status();
  EXPECT_EQ(status.code(), Code::kCorruption);
  EXPECT_NE(status.message().find("tensor w"), std::string::npos) << status.message();
}

TEST_F(StoreTest, ASecondHandleIsRefused) {
  auto second = Store::open(env_, dir_ / "store", OpenMode::kReadWrite);
  EXPECT_EQ(second.status().code(), Code::kBusy);
  EXPECT_EQ(second.status().message(), "store " + (dir_ / "store") + " is in use by another process (pid " +
                                           std::to_string(::getpid()) + "); stop it, or talk to it with --server");
}

TEST_F(StoreTest, ASecondProcessIsRefusedAndToldWhereTheOwnerIs) {
  store_.reset();
  int ready[2], stop[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(stop), 0);
  pid_t child = ::fork();
  if (child == 0) {
    ::close(stop[1]);
    char ok = 0;
    {
      auto store = Store::open(Env::posix(), dir_ / "store", OpenMode::kReadWrite, "http://127.0.0.1:4040");
      ok = store.ok();
      (void)!::write(ready[1], &ok, 1);
      (void)!::read(stop[0], &ok, 1);  // ends when the parent closes its end, also by dying
    }
    ::_exit(0);
  }
  char ok = 0;
  ASSERT_EQ(::read(ready[0], &ok, 1), 1);
  EXPECT_EQ(ok, 1);
  auto refused = Store::open(env_, dir_ / "store", OpenMode::kReadWrite);
  auto reader = Store::open(env_, dir_ / "store", OpenMode::kReadOnly);
  ::close(stop[1]);
  int state = 0;
  ::waitpid(child, &state, 0);
  for (int fd : {ready[0], ready[1], stop[0]}) ::close(fd);
  EXPECT_EQ(refused.status().code(), Code::kBusy);
  EXPECT_NE(refused.status().message().find("(pid " + std::to_string(child) + ")"), std::string::npos);
  EXPECT_NE(refused.status().message().find("--server http://127.0.0.1:4040"), std::string::npos)
      << refused.status().message();
  TEPHRA_ASSERT_OK(reader);
  open();
}

TEST_F(StoreTest, ReadOnlySeesCommitsWhileTheOwnerWorksAndWritesNothing) {
  auto model = small_model(1);
  TEPHRA_ASSERT_OK(save("j", "s", 1, model));
  auto reader = Store::open(env_, dir_ / "store", OpenMode::kReadOnly);
  TEPHRA_ASSERT_OK(reader);
  EXPECT_TRUE((*reader)->read_only());
  TEPHRA_ASSERT_OK(save("j", "s", 2, model));
  EXPECT_EQ((*reader)->list()->size(), 1u);
  EXPECT_TRUE((*reader)->verify("j/s@1")->ok());
  EXPECT_EQ((*reader)->tag("t", "j/s@1").code(), Code::kPermission);
  EXPECT_EQ((*reader)->remove("j/s@1").code(), Code::kPermission);
  EXPECT_EQ((*reader)->gc(true).status().code(), Code::kPermission);
  EXPECT_EQ((*reader)->write({}).code(), Code::kPermission);
  auto later = Store::open(env_, dir_ / "store", OpenMode::kReadOnly);
  TEPHRA_ASSERT_OK(later);
  EXPECT_EQ((*later)->list()->size(), 2u);
  reader->reset();
  TEPHRA_ASSERT_OK(save("j", "s", 3, model));  // closing a reader does not take the owner's lock or owner file
  EXPECT_TRUE(env_.exists(dir_ / "store/owner"));
}

TEST_F(StoreTest, ReadOnlyOfNothingIsNotFound) {
  EXPECT_EQ(Store::open(env_, dir_ / "elsewhere", OpenMode::kReadOnly).status().code(), Code::kNotFound);
  EXPECT_FALSE(env_.exists(dir_ / "elsewhere"));
}

TEST_F(StoreTest, JournalReadsBackInOrderAndKeepsOutOfTheStoresKeys) {
  TEPHRA_ASSERT_OK(store_->write({{ColumnFamily::kEvents, "j/2", "b"},
                                  {ColumnFamily::kEvents, "j/1", "a"},
                                  {ColumnFamily::kEvents, "k/1", "c"},
                                  {ColumnFamily::kJobs, "j", "x"}}));
  std::string seen;
  auto collect = [&](std::string_view key, std::string_view value) {
    seen += std::string(key) + "=" + std::string(value) + " ";
    return true;
  };
  TEPHRA_ASSERT_OK(store_->scan(ColumnFamily::kEvents, "j/", collect));
  EXPECT_EQ(seen, "j/1=a j/2=b ");
  seen.clear();
  TEPHRA_ASSERT_OK(store_->scan(ColumnFamily::kEvents, "j/", collect, "j/2"));
  EXPECT_EQ(seen, "j/2=b ");
  seen.clear();
  TEPHRA_ASSERT_OK(
      store_->scan(ColumnFamily::kEvents, "", [&](auto key, auto value) { return collect(key, value) && false; }));
  EXPECT_EQ(seen, "j/1=a ");
  TEPHRA_ASSERT_OK(store_->write({{ColumnFamily::kJobs, "j", "", true}}));
  EXPECT_EQ(*store_->read(ColumnFamily::kJobs, "j"), std::nullopt);
  EXPECT_EQ(store_->write({{ColumnFamily::kChunks, "c", "x"}}).code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->write({{ColumnFamily::kMeta, "pack/p", "x"}}).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace tephra::storage
