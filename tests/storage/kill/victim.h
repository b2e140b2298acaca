// What a test kills: a process that saves, removes, tags, imports and collects in a store, at random but by one seed, and says on stdout
// what it is about to do and what is done.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/storage/fixture.h"

namespace tephra::storage {

// The tensors of the checkpoint with this key: known to both sides, so that the driver can tell every byte.
std::vector<TestTensor> model_of(uint64_t key);

// main of the victim: victim STORE SEED OPERATIONS KILL_AT. It kills itself at its KILL_AT-th change of a file, of the store's own or
// the index's, before or in the middle of it (-1: never). Lines: "begin WHAT NAME KEY" and "done WHAT NAME KEY".
int victim_main(int argc, char** argv);

// main of a rank: rank STORE PACK KEY RANK WORLD KILL_AT SUMMARY. Writes its share of model_of(KEY) into PACK and then its encoded
// summary to the file SUMMARY; kills itself as above.
int rank_main(int argc, char** argv);

}  // namespace tephra::storage
