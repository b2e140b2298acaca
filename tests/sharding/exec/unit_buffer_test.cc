// A unit's tensors see its memory come and go, the tape's saved tensors included; blocks come back to their pool.
#include "sharding/exec/unit_buffer.h"

#include <gtest/gtest.h>

#include "sharding/exec/gradient_tree.h"

namespace tephra::sharding {
namespace {

UnitSpec two_tensors() {
  std::vector<UnitSpec> units{{.name = "u", .group = "llm", .tensors = {{"a", {3, 5}}, {"b", {7}}}, .trainable = true}};
  layout(units);
  return units[0];
}

Block ramp(BlockPool& pool, int64_t count, float first) {
  Block block = pool.acquire(count);
  for (int64_t i = 0; i < count; ++i) block.data()[i] = first + static_cast<float>(i);
  return block;
}

TEST(UnitBuffer, TensorsAreViewsAtTheirOffsets) {
  BlockPool pool;
  const UnitSpec unit = two_tensors();
  UnitBuffer buffer(unit);
  EXPECT_FALSE(buffer.attached());
  buffer.attach(ramp(pool, unit.flat_numel, 0));
  ASSERT_EQ(buffer.parameters().size(), 2u);
  EXPECT_EQ(buffer.parameters()[0].sizes(), at::IntArrayRef({3, 5}));
  EXPECT_EQ(buffer.parameters()[0][1][2].item<float>(), 7);
  EXPECT_EQ(buffer.parameters()[1][3].item<float>(), 16 + 3);
  EXPECT_TRUE(buffer.parameters()[1].requires_grad());
  EXPECT_TRUE(buffer.owns(buffer.parameters()[0].t()));
}

TEST(UnitBuffer, WhatTheTapeSavedSeesTheNextGather) {
  BlockPool pool;
  const UnitSpec unit = two_tensors();
  UnitBuffer buffer(unit);
  buffer.attach(ramp(pool, unit.flat_numel, 0));
  at::Tensor x = at::ones({2, 3});
  x.set_requires_grad(true);
  const at::Tensor y = x.matmul(buffer.parameters()[0]).sum();
  const at::Tensor expected = buffer.parameters()[0].detach().clone().sum(1);
  buffer.detach();
  Block elsewhere =
      pool.acquire(unit.flat_numel);  // takes the freed block, so that the next gather lands at another address
  elsewhere.fill_zero();
  buffer.attach(ramp(pool, unit.flat_numel, 0));
  y.backward();
  EXPECT_TRUE(x.grad()[0].equal(expected));
}

TEST(BlockPool, HandsFreedBlocksOutAgain) {
  BlockPool pool;
  float* first = nullptr;
  {
    const Block block = pool.acquire(100);
    first = block.data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
  }
  const Block again = pool.acquire(100);
  EXPECT_EQ(again.data(), first);
  const int64_t bytes = pool.allocated_bytes();
  Block more = pool.acquire(100);
  EXPECT_GT(pool.allocated_bytes(), bytes);
  Block moved = std::move(more);
  EXPECT_FALSE(more);
  EXPECT_EQ(moved.count(), 100);
}

TEST(BlockPool, ABlockMayOutliveItsPool) {
  Block block;
  {
    BlockPool pool;
    block = pool.acquire(10);
  }
  block.fill_zero();
  EXPECT_EQ(block.data()[9], 0);
}

TEST(GradientTree, SumsInTheTreesOrderAndCountsUndefinedAsZero) {
  BlockPool pool;
  const UnitSpec unit = two_tensors();
  GradientTree tree(&unit, &pool, 3);
  // In float32 (1e8 + 3) + 3 is 1e8 and 1e8 + (3 + 3) is not: the order shows.
  const std::vector<float> leaves{1e8f, 3.0f, 3.0f};
  for (float leaf : leaves) tree.add(tree.make_leaf(), {at::full({3, 5}, leaf), at::Tensor()});
  Block sum = tree.take();
  EXPECT_EQ(sum.data()[0], (leaves[0] + leaves[1]) + leaves[2]);
  for (int64_t i = 15; i < unit.flat_numel; ++i) ASSERT_EQ(sum.data()[i], 0) << i;
  // A transposed gradient is read by its values, and an old sum leaves nothing behind.
  sum = Block();
  const at::Tensor g = at::arange(15).to(at::kFloat).view({5, 3}).t();
  for (int i = 0; i < 3; ++i) tree.add(tree.make_leaf(), {g, at::ones({7})});
  sum = tree.take();
  EXPECT_EQ(sum.data()[1], 3 * 3);
  EXPECT_EQ(sum.data()[16], 3);
}

TEST(GradientTree, TakesGradientsThatLieInTheLeaf) {
  BlockPool pool;
  const UnitSpec unit = two_tensors();
  UnitBuffer buffer(unit);
  GradientTree tree(&unit, &pool, 2);
  for (int i = 0; i < 2; ++i) {
    Block leaf = tree.make_leaf();
    buffer.place_gradients(leaf.data());
    at::Tensor place = buffer.parameters()[0].grad();
    place.fill_(5.0f);
    tree.add(std::move(leaf), {place, at::ones({7})});
  }
  buffer.place_gradients(nullptr);
  EXPECT_FALSE(buffer.parameters()[0].grad().defined());
  const Block sum = tree.take();
  EXPECT_EQ(sum.data()[14], 10);
  EXPECT_EQ(sum.data()[15], 0);  // the gap
  EXPECT_EQ(sum.data()[16], 2);
}

}  // namespace
}  // namespace tephra::sharding
