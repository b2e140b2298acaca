// Communicator over MPI_COMM_WORLD. Call init once in main before any thread uses it, finalize after the last one has
// ended. Between the two only the communicator's methods call MPI; it serialises them, so abort() may come from any
// thread.
//
// After a failure no MPI call but abort()'s goodbye is made: transfers that were under way stay where they are (keep
// their buffers), and the process is to end.
#pragma once

#include <memory>

#include "cluster/communicator.h"

namespace tephra::cluster {

// Starts MPI with MPI_THREAD_SERIALIZED or more; kUnsupported when the library gives less.
Status mpi_init();
// Ends MPI. After a failed collective it returns at once without MPI_Finalize, which would wait for the lost peers; the
// process then ends and mpirun ends the rest of the gang.
void mpi_finalize();
// Collective over the world: every rank calls it, as often as the others.
Result<std::unique_ptr<Communicator>> make_mpi_communicator();

}  // namespace tephra::cluster
