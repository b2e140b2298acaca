// How sure a number is: intervals, a guessing level and a paired test. Pure and deterministic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tephra::eval {

struct Interval {
  double low = 0;
  double high = 0;
};

// Wilson's score interval at 95 % for `correct` of `count` (Wilson 1927). count 0: [0, 1].
Interval wilson_interval(int64_t correct, int64_t count);

// Percentile bootstrap at 95 % of the mean of `values`, `rounds` resamples keyed by `seed`. Empty: [0, 0].
Interval bootstrap_interval(const std::vector<double>& values, uint64_t seed, int64_t rounds = 2000);
// The same of sum(above) / sum(below), question i adding above[i] and below[i]. Sizes must be equal.
Interval bootstrap_quotient_interval(const std::vector<double>& above, const std::vector<double>& below, uint64_t seed,
                                     int64_t rounds = 2000);

// The share of questions answered right by always naming the reference most frequent among `references` (ties: the
// first in alphabetical order). Empty: 0.
struct MajorityBaseline {
  std::string answer;
  int64_t correct = 0;
  int64_t count = 0;
};
MajorityBaseline majority_baseline(const std::vector<std::string>& references);

// Expected accuracy of a uniform guess: the mean of 1 / choices. Empty: 0.
double chance_level(const std::vector<int>& choice_counts);

// Two-sided exact McNemar test on paired outcomes of the same questions: the probability, if both were equally good, of
// a split of the discordant pairs at least this uneven. No discordant pair: 1. Sizes must be equal (our bug otherwise).
double mcnemar_p_value(const std::vector<bool>& first_correct, const std::vector<bool>& second_correct);

}  // namespace tephra::eval
