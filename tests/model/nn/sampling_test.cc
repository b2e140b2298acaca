// Each filter leaves the ids that its paper says, with their probabilities; draws repeat by key.
#include "model/nn/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <vector>

namespace tephra::model {
namespace {

// Probabilities 0.1, 0.4, 0.2, 0.3 at temperature 1.
std::vector<float> logits() { return {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)}; }

constexpr int kDraws = 20000;

std::map<int32_t, double> frequencies(const Sampling& sampling, const std::vector<int32_t>& seen = {}) {
  std::map<int32_t, double> out;
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> row = logits();
    out[next_token(row, seen, sampling, 7, static_cast<uint64_t>(i))] += 1.0 / kDraws;
  }
  return out;
}

void expect_near(const std::map<int32_t, double>& got, const std::map<int32_t, double>& want) {
  ASSERT_EQ(got.size(), want.size());
  // Four standard deviations of a frequency.
  for (const auto& [id, p] : want) EXPECT_NEAR(got.at(id), p, 4 * std::sqrt(p * (1 - p) / kDraws) + 1e-9) << id;
}

TEST(Sampling, GreedyTakesTheLowestIdAmongEquals) {
  std::vector<float> row = {1, 3, 3, 2};
  EXPECT_EQ(next_token(row, {}, {}, 0, 0), 1);
}

TEST(Sampling, GreedyFindsTheHighestWhereverItStands) {
  for (size_t size = 1; size < 40; ++size)
    for (size_t place = 0; place < size; ++place) {
      std::vector<float> row(size, -std::numeric_limits<float>::infinity());
      for (size_t i = 0; i < size; i += 3) row[i] = -5;
      row[place] = -1;
      row[size - 1] = -1;
      EXPECT_EQ(next_token(row, {}, {}, 0, 0), static_cast<int32_t>(place)) << size;
    }
  std::vector<float> broken(20, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(next_token(broken, {}, {}, 0, 0), 0);
  broken[17] = 2;
  EXPECT_EQ(next_token(broken, {}, {}, 0, 0), 17);
}

TEST(Sampling, DrawsWithTheSoftmaxOfTheTemperature) {
  expect_near(frequencies({.temperature = 1}), {{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}});
  // At temperature 1/2 probabilities are squared: 0.01, 0.16, 0.04, 0.09 of 0.3.
  expect_near(frequencies({.temperature = 0.5}), {{0, 1 / 30.0}, {1, 16 / 30.0}, {2, 4 / 30.0}, {3, 9 / 30.0}});
}

TEST(Sampling, TopKKeepsTheMostProbable) {
  expect_near(frequencies({.temperature = 1, .top_k = 2}), {{1, 4 / 7.0}, {3, 3 / 7.0}});
  expect_near(frequencies({.temperature = 1, .top_k = 9}), {{0, 0.1}, {1, 0.4}, {2, 0.2}, {3, 0.3}});
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  expect_near(frequencies({.temperature = 1, .top_p = 0.69}), {{1, 4 / 7.0}, {3, 3 / 7.0}});
  expect_near(frequencies({.temperature = 1, .top_p = 0.75}), {{1, 4 / 9.0}, {2, 2 / 9.0}, {3, 3 / 9.0}});
  expect_near(frequencies({.temperature = 1, .top_p = 1e-9}), {{1, 1.0}});
  // After top-k, of what that left: 4/7 alone reaches one half.
  expect_near(frequencies({.temperature = 1, .top_k = 2, .top_p = 0.5}), {{1, 1.0}});
}

TEST(Sampling, ThePenaltyPushesDownWhatWasSeenOnce) {
  std::vector<float> row = {2, 1.9f, -1, -1.2f};
  const std::vector<int32_t> seen = {0, 0, 2, -200, 99};
  EXPECT_EQ(next_token(row, seen, {.repetition_penalty = 1.25}, 0, 0), 1);
  EXPECT_FLOAT_EQ(row[0], 1.6f);
  EXPECT_FLOAT_EQ(row[1], 1.9f);
  EXPECT_FLOAT_EQ(row[2], -1.25f);
  EXPECT_FLOAT_EQ(row[3], -1.2f);
}

TEST(Sampling, ADrawIsAFunctionOfSeedKeyAndIndex) {
  std::map<int32_t, int> other_key, other_seed;
  for (uint64_t i = 0; i < 200; ++i) {
    auto draw = [&](uint64_t seed, uint64_t key) {
      std::vector<float> row = logits();
      return next_token(row, {}, {.temperature = 1, .seed = seed}, key, i);
    };
    EXPECT_EQ(draw(5, 1), draw(5, 1));
    other_key[draw(5, 1) == draw(5, 2)]++;
    other_seed[draw(5, 1) == draw(6, 1)]++;
  }
  EXPECT_GT(other_key[0], 80);
  EXPECT_GT(other_seed[0], 80);
}

TEST(Sampling, ValuesOutOfRangeAreNamed) {
  EXPECT_TRUE(check_sampling({}).ok());
  EXPECT_TRUE(check_sampling({.temperature = 1, .top_k = 40, .top_p = 0.9, .repetition_penalty = 1.1}).ok());
  for (const auto& [wrong, name] :
       std::initializer_list<std::pair<Sampling, std::string>>{{{.temperature = -1}, "temperature"},
                                                               {{.temperature = NAN}, "temperature"},
                                                               {{.top_k = -1}, "top-k"},
                                                               {{.top_p = 0}, "top-p"},
                                                               {{.top_p = 1.01}, "top-p"},
                                                               {{.repetition_penalty = 0}, "repetition penalty"}}) {
    const Status status = check_sampling(wrong);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(name), std::string::npos) << status.message();
  }
}

}  // namespace
}  // namespace tephra::model
