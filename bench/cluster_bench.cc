// Collectives of cluster/mpi beside Open MPI's own, in one run: 64 MiB of float32 per rank, best of 15.
// Run: mpirun --bind-to none -n 2 build/bin/cluster_bench
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "cluster/mpi/mpi_communicator.h"

namespace {
double best_ms(const std::function<void()>& run) {
  double best = 1e30;
  for (int i = 0; i < 15; ++i) {
    MPI_Barrier(MPI_COMM_WORLD);
    auto start = std::chrono::steady_clock::now();
    run();
    MPI_Barrier(MPI_COMM_WORLD);
    best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}
}  // namespace

int main() {
  if (!tephra::cluster::mpi_init().ok()) return 3;
  int code = 0;
  {
    auto made = tephra::cluster::make_mpi_communicator();
    if (!made.ok()) return 3;
    tephra::cluster::Communicator& comm = **made;
    const int64_t n = (64 << 20) / 4, shard = n / comm.world_size();
    std::vector<float> full(n, 1.0f), part(shard);
    auto check = [&](const tephra::Status& status) {
      if (!status.ok()) code = 1;
    };
    using tephra::Deadline;
    double tree = best_ms([&] {
      check(comm.reduce_scatter_tree({full.data(), n}, {part.data(), shard}, Deadline::never()));
    });
    double fast = best_ms([&] {
      check(comm.reduce_scatter_fast({full.data(), n}, {part.data(), shard}, Deadline::never()));
    });
    double block = best_ms([&] {
      MPI_Reduce_scatter_block(full.data(), part.data(), static_cast<int>(shard), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    });
    double gather = best_ms([&] { check(comm.all_gather({part.data(), shard}, {full.data(), n}, Deadline::never())); });
    double mpi_gather = best_ms([&] {
      MPI_Allgather(part.data(), static_cast<int>(shard), MPI_FLOAT, full.data(), static_cast<int>(shard), MPI_FLOAT,
                    MPI_COMM_WORLD);
    });
    if (comm.rank() == 0)
      std::printf(
          "{\"bench\": \"collectives\", \"ranks\": %d, \"reduce_scatter_tree_ms\": %.1f, \"reduce_scatter_fast_ms\": %.1f, \"MPI_Reduce_scatter_block_ms\": %.1f, "
          "\"ratio\": %.2f, \"all_gather_ms\": %.1f, \"MPI_Allgather_ms\": %.1f}\n",
          comm.world_size(), tree, fast, block, tree / block, gather, mpi_gather);
  }
  tephra::cluster::mpi_finalize();
  return code;
}
