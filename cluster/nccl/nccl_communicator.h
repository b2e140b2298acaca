// Communicator over NCCL: data moves between devices, and everything that is not data goes over `control`, a host
// transport. Buffers are memory of the communicator's device. Work that writes a collective's input has completed
// before the call (the caller synchronises with its own stream); Ok means that the output is complete on the device.
//
// The reduce-scatter is the contract's tree (cluster/tree_reduce.h) by ncclSend and ncclRecv with an addition between,
// and not ncclReduceScatter, whose order of summation depends on the topology that NCCL finds.
//
// A failure aborts the NCCL communicator. As with MPI, buffers are to be kept until the process ends.
#pragma once

#include <memory>
#include <string>

#include "cluster/nccl_plugin.h"

namespace tephra::cluster {

std::string nccl_version();
NcclDevices nccl_devices();
// As NcclPlugin::make_communicator.
Result<std::unique_ptr<Communicator>> make_nccl_communicator(std::unique_ptr<Communicator> control, int device,
                                                             Deadline deadline);

}  // namespace tephra::cluster
