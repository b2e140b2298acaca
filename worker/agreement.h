// What the ranks of a gang tell each other beside the executor's collectives. Threading: on the thread that calls the
// communicator; every function is collective and blocks. Failures: the communicator's own.
#pragma once

#include <string>
#include <vector>

#include "base/hash.h"
#include "cluster/communicator.h"
#include "cluster/messages.h"
#include "worker/step_loader.h"

namespace tephra::worker {

// Ok when every rank is of one build and was given one task. Otherwise kMismatch (permanent) that names rank 0 and the
// first rank that differs from it, with both builds, or both recipes' hashes, or the other part that differs.
Status check_same_task(cluster::Communicator& communicator, const std::string& build, const cluster::Task& task,
                       Deadline deadline);

// Each rank's text, in rank order, on every rank.
Result<std::vector<std::string>> gather_texts(cluster::Communicator& communicator, const std::string& mine,
                                              Deadline deadline);

// Once a step, after it.
struct StepAgreement {
  bool stop = false;  // a rank was asked to: all stop, or one would leave the others in a collective
  bool busy = false;  // a rank is still writing an earlier checkpoint: all save or skip the next one alike
  Hash128 samples;    // of the ids that the ranks computed, in the batch's order: equal at every world size
};
Result<StepAgreement> agree_on_step(cluster::Communicator& communicator, bool stop, bool busy,
                                    const StepSamples& samples, Deadline deadline);

}  // namespace tephra::worker
