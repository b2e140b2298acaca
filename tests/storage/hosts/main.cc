// The test, or what it starts on the second host:
//   rank STORE PACK KEY RANK WORLD KILL_AT SUMMARY   tests/storage/kill/victim.h
//   read STORE LOCATED KEY                           reads a checkpoint as a rank does, by the encoded LocatedManifest in a file
//   verify STORE NAME                                verifies one through the index, which is open elsewhere
//   own STORE READY                                  opens the store for writing, says its process id in the file READY, and waits
#include <unistd.h>

#include "tests/storage/kill/victim.h"

namespace tephra::storage {
namespace {

int fail(const Status& status) {
  std::printf("%s\n", status.message().c_str());
  return 1;
}

int read_main(char** argv) {
  const auto text = read_file(Env::posix(), argv[3]);
  if (!text.ok()) return fail(text.status());
  auto located = decode_located_manifest(*text);
  if (!located.ok()) return fail(located.status());
  const CheckpointReader reader(Env::posix(), std::string(argv[2]) + "/packs", std::move(*located));
  for (const TestTensor& tensor : model_of(std::stoull(argv[4]))) {
    std::vector<std::byte> bytes(tensor.bytes.size());
    const Status read = reader.read_state_bytes(tensor.name, tensor.kind, 0, numel(tensor.shape), bytes.data());
    if (!read.ok()) return fail(read);
    if (bytes != tensor.bytes) return fail(Status(Code::kMismatch, tensor.name + " has other bytes"));
  }
  return 0;
}

int verify_main(char** argv) {
  const auto store = Store::open(Env::posix(), argv[2], OpenMode::kReadOnly);
  if (!store.ok()) return fail(store.status());
  const auto verified = (*store)->verify(argv[3]);
  if (!verified.ok()) return fail(verified.status());
  return verified->ok() ? 0 : fail(Status(Code::kCorruption, verified->problems[0].message));
}

int own_main(char** argv) {
  const auto store = Store::open(Env::posix(), argv[2], OpenMode::kReadWrite);
  if (!store.ok()) return fail(store.status());
  const Status said = write_file_atomic(Env::posix(), argv[3], std::to_string(::getpid()));
  if (!said.ok()) return fail(said);
  for (;;) ::pause();
}

}  // namespace
}  // namespace tephra::storage

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "rank") return tephra::storage::rank_main(argc, argv);
  if (what == "read" && argc == 5) return tephra::storage::read_main(argv);
  if (what == "verify" && argc == 4) return tephra::storage::verify_main(argv);
  if (what == "own" && argc == 4) return tephra::storage::own_main(argv);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
