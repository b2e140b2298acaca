// What is proved: the text format, escapes included, and that Prometheus' own checker takes what a coordinator serves.
#include "coordinator/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>

#include "base/env.h"
#include "tests/base/temp_dir.h"
#include "tests/cluster/http/http_client.h"
#include "victim.h"

namespace tephra::coordinator {
namespace {

TEST(PrometheusText, WritesSamplesAndHistograms) {
  PrometheusText text;
  text.begin("a_total", "counter", "Things.");
  text.sample({}, 3);
  text.sample({{"x", "a\"b\\c\nd"}, {"y", "2"}}, 0.5);
  Histogram histogram({0.1, 1});
  for (const double value : {0.05, 0.1, 0.5, 7.0}) histogram.add(value);
  text.begin("b_seconds", "histogram", "Times.");
  text.sample({{"z", "1"}}, histogram);
  EXPECT_EQ(text.text(),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\na_total{x=\"a\\\"b\\\\c\\nd\",y=\"2\"} 0.5\n"
            "# HELP b_seconds Times.\n# TYPE b_seconds histogram\n"
            "b_seconds_bucket{z=\"1\",le=\"0.1\"} 2\nb_seconds_bucket{z=\"1\",le=\"1\"} 3\n"
            "b_seconds_bucket{z=\"1\",le=\"+Inf\"} 4\nb_seconds_sum{z=\"1\"} 7.65\nb_seconds_count{z=\"1\"} 4\n");
  PrometheusText odd;
  odd.begin("c", "gauge", "Odd.");
  odd.sample({}, NAN);
  odd.sample({}, -INFINITY);
  EXPECT_NE(odd.text().find("c NaN\nc -Inf\n"), std::string::npos);
}

class MetricsOfAJob : public ::testing::Test {
 protected:
  // Of a coordinator that has run one job to its end.
  std::string served() {
    Options options = make_options(dir_ / "store");
    options.http_port = 0;
    auto coordinator = Coordinator::start(options);
    EXPECT_TRUE(coordinator.ok()) << coordinator.status().to_string();
    const auto id = (*coordinator)->submit(make_recipe(dir_.path(), 2, 4), "x");
    EXPECT_TRUE((*coordinator)->wait(*id, Deadline::after(std::chrono::seconds(60))).ok());
    return cluster::request((*coordinator)->http_port(), "GET", "/metrics").body;
  }
  TempDir dir_;
};

TEST_F(MetricsOfAJob, CountWhatHappened) {
  const std::string text = served();
  for (const char* line :
       {"\ntephra_jobs{phase=\"done\"} 1\n", "\ntephra_jobs{phase=\"queued\"} 0\n", "\ntephra_slots 2\n",
        "\ntephra_slots_used 0\n", "\ntephra_steps_total 8\n", "\ntephra_checkpoints_total 4\n",
        "\ntephra_jobs_finished_total{phase=\"done\"} 1\n", "\ntephra_job_queue_seconds_count 1\n",
        "\ntephra_checkpoint_commit_seconds_count 4\n", "\ntephra_store_checkpoints 4\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << text;
}

TEST_F(MetricsOfAJob, PromtoolTakesThem) {
  if (std::system("command -v promtool > /dev/null") != 0)
    GTEST_SKIP() << "NOT RUN: no promtool; apt-get install prometheus";
  const std::string file = dir_ / "metrics.txt", log = dir_ / "promtool.log";
  std::ofstream(file) << served();
  const int code = std::system(("promtool check metrics < '" + file + "' > '" + log + "' 2>&1").c_str());
  EXPECT_EQ(code, 0) << *read_file(Env::posix(), log);
}

}  // namespace
}  // namespace tephra::coordinator
