#include "worker/rank.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/version.h"
#include "cluster/mpi/mpi_communicator.h"
#include "worker/agreement.h"
#include "worker/build_id.h"
#include "worker/evaluator.h"
#include "worker/link.h"
#include "worker/task_context.h"
#include "worker/trainer.h"

namespace tephra::worker {
namespace {

constexpr int kExitTaskFailed = 1, kExitEnvironment = 3;

int environment_failure(const Status& status) {
  std::fprintf(stderr, "tephra-worker: %s\n", status.message().c_str());
  return kExitEnvironment;
}

Status run_task(const cluster::Task& task, const RankOptions& options, const std::string& build,
                cluster::Communicator* communicator, Link* link, Vitals* vitals) {
  auto context = decode_task(task, Env::posix());
  if (!context.ok()) return context.status();
  context->job = options.job;
  context->communicator = communicator;
  context->link = link;
  context->vitals = vitals;
  TEPHRA_RETURN_IF_ERROR(check_same_task(*communicator, build, task, context->collective_deadline()));
  vitals->flight.begin_task({});
  at::set_num_threads(static_cast<int>(context->recipe.gang.threads_per_rank));
  try {
    if (task.kind == "train") return train_stage(*context);
    if (task.kind == "evaluate") return evaluate_bench(*context);
  } catch (const std::bad_alloc&) {
    return {Code::kNoSpace, "out of memory in task " + task.kind + " of stage " + task.stage};
  } catch (const std::exception& e) {  // LibTorch's; its first line names the operation and the shapes
    std::string what = e.what();
    return {Code::kInternal, what.substr(0, what.find('\n'))};
  }
  return {Code::kUnsupported, "unknown task kind '" + task.kind + "'"};
}

cluster::Finished finished(const Status& status) {
  cluster::Finished f;
  f.code = status.code();
  f.retry = status.retry_class();
  f.message = status.message();
  return f;
}

int serve_tasks(const RankOptions& options, const std::string& build, cluster::Communicator* communicator, Link* link,
                Vitals* vitals) {
  for (;;) {
    vitals->phase = "idle";
    auto task = link->next_task();
    if (!task.ok()) return 0;
    Status status = run_task(*task, options, build, communicator, link, vitals);
    if (!status.ok())
      log::warning("task ended", {{"kind", task->kind}, {"stage", task->stage}, {"status", status.to_string()}});
    if (task->kind == "train" || !status.ok()) link->send_flight(*vitals);
    (void)link->send(finished(status));
    if (status.ok()) continue;
    if (status.code() == Code::kCancelled) return 0;
    // The gang cannot go on: peers that wait for this rank are told, and the coordinator ends what is left.
    communicator->abort(status);
    (void)link->flush(Deadline::after(std::chrono::seconds(5)));
    return kExitTaskFailed;
  }
}
}  // namespace

int run_rank(const RankOptions& options) {
  keep_freed_memory();
  if (Status status = cluster::mpi_init(); !status.ok()) return environment_failure(status);
  auto communicator = cluster::make_mpi_communicator();
  if (!communicator.ok()) return environment_failure(communicator.status());
  const int rank = (*communicator)->rank();
  set_check_context("rank " + std::to_string(rank) + " of " + options.job + " attempt " +
                    std::to_string(options.attempt));
  log::init("", log::Level::kInfo, "rank" + std::to_string(rank));

  cluster::Hello hello;
  hello.job = options.job;
  hello.attempt = options.attempt;
  hello.rank = rank;
  hello.world_size = (*communicator)->world_size();
  hello.token = options.token;
  hello.pid = getpid();
  hello.build = build_id();
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) == 0) hello.host = host;
  Vitals vitals;
  LinkOptions link_options;
  link_options.coordinator = options.coordinator;
  link_options.coordinator_file = options.coordinator_file;
  link_options.reattach = std::chrono::milliseconds(options.reattach_ms);
  link_options.on_lost = [](const Status& reason) {
    std::fprintf(stderr, "tephra-worker: the coordinator is gone (%s); this rank ends\n", reason.message().c_str());
    std::_Exit(kExitEnvironment);
  };
  auto link = Link::connect(std::move(link_options), hello, Deadline::after(std::chrono::seconds(20)));
  if (!link.ok()) return environment_failure(link.status());
  (*link)->start_heartbeat(&vitals);
  int code = serve_tasks(options, hello.build, communicator->get(), link->get(), &vitals);
  if (code != 0) std::_Exit(code);  // peers may be stuck in a collective: mpirun ends them when this process is gone
  (void)(*link)->flush(Deadline::after(std::chrono::seconds(5)));
  link->reset();
  communicator->reset();
  cluster::mpi_finalize();
  return 0;
}

}  // namespace tephra::worker
