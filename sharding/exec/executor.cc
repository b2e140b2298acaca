#include "sharding/exec/executor.h"

#include <algorithm>
#include <bit>
#include <exception>

#include "sharding/exec/schedule_executor.h"

namespace tephra::sharding {
namespace {

Status invalid(std::string message) { return Status(Code::kInvalidArgument, std::move(message)); }

Status check_arguments(const std::vector<UnitSpec>& units, const std::vector<std::unique_ptr<UnitModule>>& modules,
                       const cluster::Communicator& communicator, const Policy& policy,
                       const OptimizerOptions& optimizer) {
  if (units.empty() || modules.size() != units.size() ||
      std::find(modules.begin(), modules.end(), nullptr) != modules.end()) {
    return invalid("a chain of " + std::to_string(units.size()) +
                   " units needs as many modules, and at least one; it has " + std::to_string(modules.size()));
  }
  for (const UnitSpec& unit : units) {
    if (unit.flat_numel % kShardQuantum != 0 || (unit.flat_numel == 0) != unit.tensors.empty()) {
      return invalid("unit " + unit.name + " has not been through layout()");
    }
  }
  for (const UnitSpec& unit : units) {
    if (unit.compute_dtype != DType::kFloat32 && unit.compute_dtype != DType::kBFloat16) {
      return invalid("unit " + unit.name + " is to compute in " + std::string(dtype_name(unit.compute_dtype)) +
                     "; use float32 or bfloat16");
    }
  }
  if (policy.world_size < 1 || policy.world_size > kMaxWorldSize ||
      !std::has_single_bit(static_cast<unsigned>(policy.world_size))) {
    return invalid("world size " + std::to_string(policy.world_size) + " is not a power of two up to " +
                   std::to_string(kMaxWorldSize) + "; use one");
  }
  if (policy.world_size != communicator.world_size()) {
    return invalid("the policy is for " + std::to_string(policy.world_size) + " ranks and the communicator has " +
                   std::to_string(communicator.world_size()));
  }
  if (policy.group_ranks != 0 && (policy.group_ranks < 2 || policy.world_size % policy.group_ranks != 0 ||
                                  !std::has_single_bit(static_cast<unsigned>(policy.group_ranks)))) {
    return invalid("groups of " + std::to_string(policy.group_ranks) + " ranks cannot share the state of " +
                   std::to_string(policy.world_size) + "; use a power of two from 2 that divides it, or 0");
  }
  if (policy.moments != optimizer.moments()) {
    return invalid("the policy counts " + std::to_string(policy.moments) + " moments and the optimizer keeps " +
                   std::to_string(optimizer.moments()));
  }
  if (optimizer.nesterov && optimizer.momentum == 0) return invalid("nesterov wants a momentum above 0");
  if (policy.micro_batches < 1) return invalid("a step needs at least one micro-batch a rank");
  if (offloads_parameters(policy) && policy.shard != ShardLevel::kParameters) {
    return invalid("parameters are offloaded with shard parameters only, and the policy's is " +
                   std::string(name_of(policy.shard)));
  }
  if (policy.recompute_every < 0 || policy.prefetch < 0) return invalid("recompute_every and prefetch are 0 or more");
  return ok_status();
}

}  // namespace

Result<std::unique_ptr<Executor>> Executor::create(std::vector<UnitSpec> units,
                                                   std::vector<std::unique_ptr<UnitModule>> modules,
                                                   cluster::Communicator* communicator, const Policy& policy,
                                                   const OptimizerOptions& optimizer,
                                                   std::chrono::nanoseconds collective_timeout,
                                                   FlightRecorder* flight) {
  TEPHRA_RETURN_IF_ERROR(check_arguments(units, modules, *communicator, policy, optimizer));
  TEPHRA_RETURN_IF_ERROR(check_schedule(make_schedule(units, policy), units, policy));
  TEPHRA_ASSIGN_OR_RETURN(RankGroups groups,
                          make_rank_groups(communicator, policy, Deadline::after(collective_timeout)));
  try {
    std::unique_ptr<Executor> executor = std::make_unique<ScheduleExecutor>(
        std::move(units), std::move(modules), std::move(groups), policy, optimizer, collective_timeout, flight);
    return executor;
  } catch (const std::exception& error) {
    return Status(Code::kUnavailable, RetryClass::kNeedsOperator,
                  std::string("no room for this rank's shards (") + error.what() + "); use more ranks or free memory");
  }
}

}  // namespace tephra::sharding
