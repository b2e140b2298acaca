// Steps on plain memory equal those through LibTorch: numbers, caches, whatever the shapes; a row's bits are its own.
#include "model/nn/thin_decode.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "model/nn/lanes.h"
#include "model/nn/thin_linear.h"
#include "sharding/exec/aten.h"
#include "tests/model/spec/tiny.h"

namespace tephra::model {
namespace {

struct Shape {
  int64_t heads, groups, head_dim, inner, vocabulary;
};

LlamaConfig config_of(const Shape& shape) {
  LlamaConfig c = tiny_llama();
  c.num_heads = shape.heads, c.num_kv_heads = shape.groups, c.head_dim = shape.head_dim;
  c.hidden_size = 40, c.intermediate_size = shape.inner, c.vocab_size = shape.vocabulary;
  return c;
}

LlamaWeights weights_of(const LlamaConfig& config, at::ScalarType type) {
  const auto units = make_lm_units(config, {});
  const auto source = tiny_weights(units);
  std::vector<UnitTensors> all;
  for (const auto& unit : units) {
    all.emplace_back();
    for (const auto& spec : unit.tensors) {
      at::Tensor values = at::empty(spec.shape, at::kFloat);
      EXPECT_TRUE(source->read_float32(spec.name, 0, values.numel(), values.mutable_data_ptr<float>()).ok());
      all.back().push_back(values.to(type));
    }
  }
  return {all.front(), all.back(), {all.begin() + 1, all.end() - 1}};
}

at::Tensor random(const std::vector<int64_t>& shape, uint64_t seed) {
  at::Tensor out = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < out.numel(); ++i)
    out.mutable_data_ptr<float>()[i] = static_cast<float>(random_normal({seed, static_cast<uint64_t>(i)}));
  return out;
}

std::vector<LayerCache> caches_of(const LlamaConfig& c, int64_t rows, int64_t capacity, at::ScalarType type) {
  std::vector<LayerCache> caches;
  for (uint64_t i = 0; i < static_cast<uint64_t>(c.num_layers); ++i) {
    const std::vector<int64_t> shape = {rows, c.num_kv_heads, capacity, c.head_dim};
    caches.push_back({random(shape, 10 + i).to(type), random(shape, 20 + i).to(type)});
  }
  return caches;
}

LlamaWeights widened(const LlamaWeights& from) {
  LlamaWeights to = from;
  const auto widen = [](UnitTensors& tensors) {
    for (at::Tensor& t : tensors) t = t.to(at::kFloat);
  };
  widen(to.embed), widen(to.head);
  for (UnitTensors& block : to.blocks) widen(block);
  return to;
}

// The same step, operation by operation.
at::Tensor plain(const LlamaWeights& w, const LlamaConfig& c, const std::vector<int64_t>& ids,
                 const std::vector<int64_t>& positions, std::vector<LayerCache>& caches) {
  const auto rows = static_cast<int64_t>(ids.size()), capacity = caches[0].keys.size(2);
  const at::Tensor place = at::tensor(positions).view({rows, 1, 1});
  std::vector<int64_t> slots;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < c.num_kv_heads; ++g)
      slots.push_back((r * c.num_kv_heads + g) * capacity + positions[static_cast<size_t>(r)]);
  const at::Tensor visible = at::arange(capacity, at::kLong).view({1, 1, 1, capacity}).le(place.unsqueeze(-1));
  at::Tensor h = at::embedding(w.embed[0], at::tensor(ids).view({rows, 1}));
  for (size_t i = 0; i < caches.size(); ++i)
    h = llama_block_decode(w.blocks[i], h, rotary_tables(place, c), c, caches[i], at::tensor(slots), visible, capacity);
  return llama_logits(w.head, h.squeeze(1), c);
}

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }

TEST(ThinDecode, EqualsTheStepThroughLibTorch) {
  at::NoGradGuard no_grad;
  for (const Shape& shape : {Shape{4, 4, 8, 24, 40}, Shape{6, 2, 24, 72, 41}, Shape{3, 1, 72, 8, 7}})
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
      for (const int64_t rows : {1, 2, 3, 5, 8, 16}) {
        const LlamaConfig c = config_of(shape);
        const LlamaWeights weights = weights_of(c, type), wide = widened(weights);
        ASSERT_TRUE(fits_thin_decode(weights, c, rows));
        const int64_t capacity = 37;
        auto caches = caches_of(c, rows, capacity, type);
        std::vector<LayerCache> expected_caches;
        for (const LayerCache& cache : caches)
          expected_caches.push_back({cache.keys.to(at::kFloat).clone(), cache.values.to(at::kFloat).clone()});
        const Rotary tables = rotary_tables(at::arange(capacity, at::kLong), c);
        std::vector<int64_t> ids, positions;
        for (int64_t r = 0; r < rows; ++r) ids.push_back(r % 7), positions.push_back(r * 5 % 34);
        const double tolerance = type == at::kFloat ? 2e-5 : 2e-2;
        for (int step = 0; step < 3; ++step) {
          const at::Tensor got = thin_decode(weights, c, tables, ids, positions, caches);
          const at::Tensor expected = plain(wide, c, ids, positions, expected_caches);
          EXPECT_LT(largest(got - expected), tolerance * largest(expected))
              << "heads " << shape.heads << ", rows " << rows << ", step " << step;
          for (int64_t& position : positions) ++position;
        }
        for (size_t i = 0; i < caches.size(); ++i) {
          EXPECT_LT(largest(caches[i].keys - expected_caches[i].keys), tolerance * largest(expected_caches[i].keys));
          EXPECT_LT(largest(caches[i].values - expected_caches[i].values),
                    tolerance * largest(expected_caches[i].values));
        }
      }
}

TEST(ThinDecode, ARowsBitsAreItsOwn) {
  at::NoGradGuard no_grad;
  const LlamaConfig c = config_of({6, 2, 24, 72, 1000});
  const LlamaWeights weights = weights_of(c, at::kFloat);
  const Rotary tables = rotary_tables(at::arange(64, at::kLong), c);
  const std::vector<int64_t> ids = {3, 1, 4, 1, 5}, positions = {9, 2, 60, 5, 35};
  const int threads = at::get_num_threads();
  auto caches = caches_of(c, 5, 64, at::kFloat), again = caches_of(c, 5, 64, at::kFloat);
  const at::Tensor together = thin_decode(weights, c, tables, ids, positions, caches);
  at::set_num_threads(1);
  EXPECT_TRUE(thin_decode(weights, c, tables, ids, positions, again).equal(together));
  at::set_num_threads(threads);
  const auto fresh = caches_of(c, 5, 64, at::kFloat);
  for (int64_t r = 0; r < 5; ++r) {
    std::vector<LayerCache> own;
    for (const LayerCache& cache : fresh)
      own.push_back({cache.keys.narrow(0, r, 1).clone(), cache.values.narrow(0, r, 1).clone()});
    const auto i = static_cast<size_t>(r);
    EXPECT_TRUE(thin_decode(weights, c, tables, {&ids[i], 1}, {&positions[i], 1}, own).equal(together.narrow(0, r, 1)));
  }
}

TEST(ThinDecode, LeavesTheRestToLibTorch) {
  const LlamaConfig c = config_of({4, 4, 8, 24, 40});
  const LlamaWeights weights = weights_of(c, at::kFloat);
  EXPECT_TRUE(fits_thin_decode(weights, c, kThinRows));
  EXPECT_FALSE(fits_thin_decode(weights, c, kThinRows + 1));
  EXPECT_FALSE(fits_thin_decode(weights, tiny_llama(), 1));  // heads of 4
  EXPECT_FALSE(fits_thin_decode(weights_of(c, at::kHalf), c, 1));
}

TEST(Lanes, ExponentialOverItsRange) {
  for (float x = -90; x < 90; x += 0.013f) {
    const double expected = std::exp(std::min(88.0, std::max(-87.0, static_cast<double>(x))));
    EXPECT_NEAR(exponential(Lanes{} + x)[3] / expected, 1.0, 3e-7) << x;
  }
}

}  // namespace
}  // namespace tephra::model
