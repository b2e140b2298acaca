#include "eval/score/statistics.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.h"
#include "base/random.h"

namespace tephra::eval {

Interval wilson_interval(int64_t correct, int64_t count) {
  if (count == 0) return {0, 1};
  constexpr double z = 1.959963984540054;  // the normal distribution's 97.5 % point
  const auto n = static_cast<double>(count);
  const double p = static_cast<double>(correct) / n;
  const double scale = 1 + z * z / n;
  const double centre = (p + z * z / (2 * n)) / scale;
  const double half = z / scale * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  // At 0 and n correct the formula gives the end points up to rounding; make them exact.
  return {correct == 0 ? 0.0 : std::max(0.0, centre - half), correct == count ? 1.0 : std::min(1.0, centre + half)};
}

Interval bootstrap_interval(const std::vector<double>& values, uint64_t seed, int64_t rounds) {
  return bootstrap_quotient_interval(values, std::vector<double>(values.size(), 1.0), seed, rounds);
}

Interval bootstrap_quotient_interval(const std::vector<double>& above, const std::vector<double>& below, uint64_t seed,
                                     int64_t rounds) {
  TEPHRA_CHECK(above.size() == below.size(), "each question adds to both sums");
  if (above.empty()) return {};
  std::vector<double> means;
  for (size_t round = 0; round < static_cast<size_t>(rounds); ++round) {
    double a = 0, b = 0;
    for (size_t i = 0; i < above.size(); ++i) {
      const size_t drawn = random_below(above.size(), {seed, round, i});
      a += above[drawn], b += below[drawn];
    }
    if (b != 0) means.push_back(a / b);  // a draw of nothing but zeros below the line has no quotient
  }
  if (means.empty()) return {};
  std::sort(means.begin(), means.end());
  const auto at = [&](double share) {
    return means[static_cast<size_t>(std::floor(share * static_cast<double>(means.size() - 1)))];
  };
  return {at(0.025), at(0.975)};
}

MajorityBaseline majority_baseline(const std::vector<std::string>& references) {
  std::map<std::string, int64_t> counts;
  for (const auto& reference : references) ++counts[reference];
  MajorityBaseline best;
  best.count = static_cast<int64_t>(references.size());
  for (const auto& [answer, count] : counts)
    if (count > best.correct) best.answer = answer, best.correct = count;
  return best;
}

double chance_level(const std::vector<int>& choice_counts) {
  if (choice_counts.empty()) return 0;
  double sum = 0;
  for (int choices : choice_counts) sum += 1.0 / choices;
  return sum / static_cast<double>(choice_counts.size());
}

double mcnemar_p_value(const std::vector<bool>& first_correct, const std::vector<bool>& second_correct) {
  TEPHRA_CHECK(first_correct.size() == second_correct.size(), "McNemar's test needs the same questions");
  int64_t only_first = 0, only_second = 0;
  for (size_t i = 0; i < first_correct.size(); ++i) {
    only_first += first_correct[i] && !second_correct[i];
    only_second += !first_correct[i] && second_correct[i];
  }
  const int64_t n = only_first + only_second, k = std::min(only_first, only_second);
  double tail = 0;  // P(X <= k), X binomial(n, 1/2); through logarithms, as 2^-n underflows for n in the thousands
  for (int64_t i = 0; i <= k; ++i) {
    const auto a = static_cast<double>(n), b = static_cast<double>(i);
    tail += std::exp(std::lgamma(a + 1) - std::lgamma(b + 1) - std::lgamma(a - b + 1) - a * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

}  // namespace tephra::eval
