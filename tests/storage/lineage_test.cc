// What is proved: pins hold as tags do and are no names; the history of a checkpoint, also where a parent is gone; the
// difference of two checkpoints equals a plain loop's and reads only what differs; whose bytes are whose; hand-over
// differences are all named.
#include <gtest/gtest.h>

#include <cmath>

#include "storage/checkpoint_diff.h"
#include "storage/handover.h"
#include "storage/index/history.h"
#include "tests/storage/fixture.h"

namespace tephra::storage {
namespace {

class LineageTest : public StoreFixture {};

TEST_F(LineageTest, APinHoldsACheckpointAndIsNoName) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, small_model(1)));
  TEPHRA_ASSERT_OK(save("j", "s", 2, small_model(2)));
  EXPECT_EQ(store_->unpin("j/s@1").code(), Code::kNotFound);
  TEPHRA_ASSERT_OK(store_->pin("j/s@latest"));
  TEPHRA_ASSERT_OK(store_->pin("j/s@2"));
  EXPECT_EQ(*store_->pins(), std::set<std::string>{"j/s@2"});
  EXPECT_TRUE(store_->tags()->empty());
  EXPECT_FALSE(store_->resolve("pin:j/s@2").ok());
  const auto infos = store_->list();
  EXPECT_FALSE((*infos)[0].pinned);
  EXPECT_TRUE((*infos)[1].pinned);
  const Status refused = store_->remove("j/s@2");
  EXPECT_EQ(refused.code(), Code::kBusy);
  EXPECT_EQ(refused.message(), "j/s@2 is pinned; unpin it first");
  open();
  EXPECT_EQ(store_->pins()->size(), 1u) << "durable";
  TEPHRA_ASSERT_OK(store_->unpin("j/s@2"));
  TEPHRA_ASSERT_OK(store_->remove("j/s@2"));
}

TEST_F(LineageTest, ATagMovesOnlyWhereThatIsMeant) {
  TEPHRA_ASSERT_OK(save("j", "s", 1, small_model(1)));
  TEPHRA_ASSERT_OK(save("j", "s", 2, small_model(2)));
  TEPHRA_ASSERT_OK(store_->tag("good", "j/s@1", false));
  TEPHRA_ASSERT_OK(store_->tag("good", "j/s@1", false));
  const Status refused = store_->tag("good", "j/s@2", false);
  EXPECT_EQ(refused.code(), Code::kAlreadyExists);
  EXPECT_EQ(refused.message(), "tag 'good' is on j/s@1; give --force to move it to j/s@2");
  TEPHRA_ASSERT_OK(store_->tag("good", "j/s@2"));
  EXPECT_EQ(*store_->resolve("good"), "j/s@2");
  EXPECT_EQ(
      store_->resolve("j/s@best").status().message(),
      "no checkpoint of j/s is tagged 'j/s@best'; checkpoint.best in a recipe moves that tag, or `tephra ckpt tag` "
      "sets it");
  EXPECT_NE(store_->resolve("j/t@best").status().message().find("has no checkpoint 'j/t@best'"), std::string::npos);
  TEPHRA_ASSERT_OK(store_->tag("j/s@best", "j/s@1"));
  EXPECT_EQ(*store_->resolve("j/s@best"), "j/s@1");
}

TEST_F(LineageTest, HistoryGoesBackToTheRootAndSaysWhatIsGone) {
  auto root = save("a", "s", 1, small_model(1));
  TEPHRA_ASSERT_OK(root);
  auto middle = save("a", "t", 5, small_model(2), 1, &*root);
  TEPHRA_ASSERT_OK(middle);
  TEPHRA_ASSERT_OK(save("b", "t", 9, small_model(3), 1, &*middle));
  const auto names = [&] {
    std::vector<std::string> out;
    const auto entries = history(*store_, "b/t@latest");
    EXPECT_TRUE(entries.ok());
    for (const HistoryEntry& entry : *entries) out.push_back(entry.name + (entry.header ? "" : " gone"));
    return out;
  };
  EXPECT_EQ(names(), (std::vector<std::string>{"b/t@9", "a/t@5", "a/s@1"}));
  TEPHRA_ASSERT_OK(store_->remove("a/t@5"));
  EXPECT_EQ(names(), (std::vector<std::string>{"b/t@9", "a/t@5 gone"}));
  EXPECT_EQ(history(*store_, "a/t@5").status().code(), Code::kNotFound);
  EXPECT_EQ(history(*store_, "b/t@9", 1)->size(), 1u);
}

const TensorDifference& of(const std::vector<TensorDifference>& all, const std::string& name,
                           StateKind kind = StateKind::kParameter) {
  for (const TensorDifference& d : all)
    if (d.name == name && d.kind == kind) return d;
  ADD_FAILURE() << name;
  return all.front();
}

TEST_F(LineageTest, DiffIsAPlainLoopsAndReadsOnlyWhatDiffers) {
  using How = TensorDifference::How;
  const int64_t large = (1 << 20) + 77;  // more than one block
  auto a = std::vector<TestTensor>{make_tensor("equal", {300}, 1), make_tensor("gone", {3}, 1),
                                   make_tensor("large", {large}, 1), make_tensor("shape", {4, 3}, 1),
                                   make_tensor("equal", {300}, 7, DType::kFloat32, StateKind::kFirstMoment)};
  auto b = std::vector<TestTensor>{make_tensor("equal", {300}, 1), make_tensor("large", {large}, 2),
                                   make_tensor("new", {3}, 1), make_tensor("shape", {3, 4}, 1),
                                   make_tensor("equal", {300}, 8, DType::kFloat32, StateKind::kFirstMoment)};
  TEPHRA_ASSERT_OK(save("j", "s", 1, a));
  TEPHRA_ASSERT_OK(save("j", "s", 2, b));
  auto reader_a = store_->reader("j/s@1"), reader_b = store_->reader("j/s@2");
  uint64_t done = 0, total = 0;
  DiffOptions options;
  options.progress = [&](uint64_t d, uint64_t t) {
    done = d;
    total = t;
  };
  auto found = diff(**reader_a, **reader_b, options);
  TEPHRA_ASSERT_OK(found);
  ASSERT_EQ(found->size(), 6u);
  EXPECT_EQ(of(*found, "equal").how, How::kEqual);
  EXPECT_EQ(of(*found, "gone").how, How::kOnlyInA);
  EXPECT_EQ(of(*found, "new").how, How::kOnlyInB);
  EXPECT_EQ(of(*found, "shape").how, How::kType);
  EXPECT_EQ(of(*found, "equal", StateKind::kFirstMoment).how, How::kValues);
  const TensorDifference& values = of(*found, "large");
  ASSERT_EQ(values.how, How::kValues);
  double squares = 0, squares_a = 0, largest = 0;
  const auto* left = reinterpret_cast<const float*>(a[2].bytes.data());
  const auto* right = reinterpret_cast<const float*>(b[1].bytes.data());
  for (int64_t i = 0; i < large; ++i) {
    const double change = static_cast<double>(right[i]) - left[i];
    squares += change * change;
    squares_a += static_cast<double>(left[i]) * left[i];
    largest = std::max(largest, std::abs(change));
  }
  EXPECT_DOUBLE_EQ(values.l2, std::sqrt(squares));
  EXPECT_DOUBLE_EQ(values.relative, std::sqrt(squares / squares_a));
  EXPECT_EQ(values.max_abs, largest);
  EXPECT_EQ(total, static_cast<uint64_t>(4 * (large + 300))) << "equal tensors are not read";
  EXPECT_EQ(done, total);
  options.moments = false;
  EXPECT_EQ(diff(**reader_a, **reader_b, options)->size(), 5u);
}

TEST_F(LineageTest, DiffOfWhatIsNotANumberSaysSo) {
  auto a = make_tensor("w", {4}, 1), b = a;
  reinterpret_cast<float*>(b.bytes.data())[2] = std::nanf("");
  TEPHRA_ASSERT_OK(save("j", "s", 1, {a}));
  TEPHRA_ASSERT_OK(save("j", "s", 2, {b}));
  auto found = diff(**store_->reader("j/s@1"), **store_->reader("j/s@2"));
  TEPHRA_ASSERT_OK(found);
  EXPECT_TRUE(std::isnan(found->front().max_abs));
  EXPECT_TRUE(std::isnan(found->front().l2));
}

TEST_F(LineageTest, UsageTellsOwnBytesFromShared) {
  auto base = save("j", "s", 1, {make_tensor("frozen", {1000}, 1), make_tensor("w", {10}, 1)});
  TEPHRA_ASSERT_OK(base);
  EXPECT_EQ(store_->usage("j/s@1")->own_bytes, 4040u);
  EXPECT_EQ(store_->usage("j/s@1")->shared_bytes, 0u);
  TEPHRA_ASSERT_OK(save("j", "s", 2, {make_tensor("w", {10}, 2)}, 1, &*base));
  const auto usage = store_->usage("j/s@2");
  TEPHRA_ASSERT_OK(usage);
  EXPECT_EQ(usage->own_bytes, 40u);
  EXPECT_EQ(usage->shared_bytes, 4000u);
  TEPHRA_ASSERT_OK(store_->remove("j/s@1"));
  EXPECT_EQ(store_->usage("j/s@2")->own_bytes, 4040u);
  EXPECT_EQ(store_->usage("j/s@1").status().code(), Code::kNotFound);
}

TEST(Handover, NamesEveryDifference) {
  const std::map<std::string, std::string> theirs{{"vision_config", "v1"}, {"vision_layer", "-2"},
                                                  {"connector", "linear"}, {"tokenizer", "t1"},
                                                  {"template", "plain"},   {"model_files", "x"}};
  auto ours = theirs;
  ours["model_files"] = "y";
  EXPECT_TRUE(check_handover("stage s", ours, "j/s@1", theirs, HandoverUse::kContinue).ok());
  ours["connector"] = "mlp2x_gelu";
  ours["tokenizer"] = "t2";
  ours["template"] = "v1";
  const Status start = check_handover("stage s", ours, "j/s@1", theirs, HandoverUse::kStart);
  EXPECT_EQ(start.code(), Code::kMismatch);
  EXPECT_EQ(start.retry_class(), RetryClass::kPermanent);
  EXPECT_EQ(
      start.message(),
      "stage s does not fit checkpoint j/s@1: connector kind is mlp2x_gelu, the checkpoint's is linear; tokenizer "
      "is t2, the checkpoint's is t1");
  EXPECT_EQ(handover_differences(ours, theirs, HandoverUse::kContinue).size(), 3u);
}

TEST(Handover, AbsentKeysAreOfEarlierBuildsButForLora) {
  using Map = std::map<std::string, std::string>;
  const Map none, lora{{"lora", "rank 4"}}, other{{"lora", "rank 8"}};
  EXPECT_TRUE(handover_differences({{"connector", "linear"}}, none, HandoverUse::kContinue).empty());
  EXPECT_TRUE(handover_differences(lora, none, HandoverUse::kStart).empty()) << "adapters may begin anywhere";
  EXPECT_EQ(handover_differences(lora, none, HandoverUse::kContinue).size(), 1u);
  EXPECT_EQ(handover_differences(none, lora, HandoverUse::kStart).size(), 1u);
  EXPECT_EQ(handover_differences(other, lora, HandoverUse::kStart).size(), 1u);
  EXPECT_TRUE(handover_differences(lora, lora, HandoverUse::kContinue).empty());
}

}  // namespace
}  // namespace tephra::storage
