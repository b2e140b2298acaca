// What the planner, the executor and the store know of a model: an ordered list of units, each a list of named tensors
// laid out in one flat float32 buffer that is gathered and freed as a whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"

namespace tephra::sharding {

// Every unit is padded to a multiple of kShardQuantum elements, so that any world size up to kMaxWorldSize cuts it into
// equal shards whose edges fall on multiples of kShardQuantum / kMaxWorldSize = 64 elements. Tensors start on multiples
// of 16 elements (64 bytes), so that kernels see the same alignment at every world size and so give the same bits.
inline constexpr int64_t kMaxWorldSize = 64;
inline constexpr int64_t kShardQuantum = 4096;
inline constexpr int64_t kTensorAlignment = 16;

struct TensorSpec {
  std::string name;  // canonical (base/tensor_source.h)
  Shape shape{};
  int64_t offset = 0;  // of its first element in the unit's flat buffer; set by layout()
};

// Which tokens of a micro-batch a unit works on.
enum class TokenKind {
  kAll,
  kImage,  // places of pictures: the vision tower and the connector
  kText,   // all others: the head, where every one of them may be supervised
};

struct UnitSpec {
  std::string name;   // "vision.embed", "vision.block.0", "connector", "llm.embed", "llm.block.0", "llm.head"
  std::string group;  // "vision", "connector" or "llm": what recipes train and give learning rates to
  std::vector<TensorSpec> tensors{};
  bool trainable = false;
  // Set by layout(): true when this unit or one before it is trainable, so that backward has to pass through it.
  bool needs_backward = false;
  int64_t flat_numel = 0;  // padded; set by layout()
  // What its parameters are gathered as and its module computes in: kFloat32 or kBFloat16. What ranks keep of a trainable unit
  // (parameters, moments) and what they add (gradients) is float32 all the same; of a frozen one they keep this.
  DType compute_dtype = DType::kFloat32;
  // For the cost model; a token is one of `tokens`, and activations are counted in elements.
  TokenKind tokens = TokenKind::kAll;
  double macs_per_token = 0;        // multiply-adds of forward, but for
  double attention_macs = 0;        // those of attention: per token and token of its sample's length
  double activation_per_token = 0;  // kept for backward
  double working_per_token = 0;     // beside what is kept, at the worst moment of the unit's backward
  double working_most = 0;          // elements of it at most; 0: no limit
  double activation_fixed = 0;      // kept for a micro-batch of any size, until the unit's backward
  double output_per_token = 0;      // handed to the next unit: what recomputation keeps
};

// Sets offsets, padded sizes and needs_backward over the whole chain. Tensors keep their order; the gaps between them
// and the padding are zero in every buffer (parameters, gradients, moments). A unit without tensors has flat_numel 0.
void layout(std::vector<UnitSpec>& units);

// Bytes of the whole unit as it is gathered.
inline int64_t gathered_bytes(const UnitSpec& unit) { return unit.flat_numel * size_bytes(unit.compute_dtype); }

// Elements of `unit` that each rank owns: rank r has flat elements [r * n, (r + 1) * n). world_size: a power of two up
// to kMaxWorldSize.
inline int64_t shard_numel(const UnitSpec& unit, int world_size) { return unit.flat_numel / world_size; }

// A contiguous run of one tensor's elements (row-major) inside a unit's flat buffer.
struct TensorRange {
  const TensorSpec* tensor;  // points into the unit
  int64_t begin;             // first element, in the tensor
  int64_t count;             // elements, at least 1
  int64_t flat_offset;       // of the first element, in the unit's flat buffer
};
// The part of `unit`'s flat range [begin, end) that belongs to tensors, in flat order. Gaps and padding are left out.
std::vector<TensorRange> tensor_ranges(const UnitSpec& unit, int64_t begin, int64_t end);

}  // namespace tephra::sharding
