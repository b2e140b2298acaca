// An elastic job is started on fewer ranks because another job holds slots, is given more when that one ends, and ends with
// the bits of a job that nothing disturbed.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {
using nlohmann::json;
using namespace std::chrono_literals;

TEST(Elastic, AJobGrowsIntoSlotsThatComeFreeAndEndsWithTheSameBits) {
  ASSERT_EQ(undisturbed().run.code, 0) << undisturbed().run.err;
  Scratch scratch;
  const std::string store = scratch.path("store");
  Process server(tephra_command({"serve", "--store", store, "--listen", "127.0.0.1:0", "--slots", "2"}),
                 scratch.path(""));
  ASSERT_TRUE(server.wait_until([&] { return server.output().find("(2 slots)") != std::string::npos; }, 30s));
  const auto submit = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"submit", tiny_recipe(), "--store", store});
    const Finished submitted = tephra(scratch, words);
    EXPECT_EQ(submitted.code, 0) << submitted.err;
  };
  const auto show = [&](const std::string& job) {
    return json::parse(tephra(scratch, {"show", job, "--store", store, "--json"}).out, nullptr, false);
  };
  // Of another name, so that tiny-1 is the elastic one; it trains until it is cancelled.
  submit({"--set", "name=holder", "--set", "gang.ranks=1", "--set", "stages.align.steps=100000"});
  ASSERT_TRUE(server.wait_until([&] { return show("holder-1").value("gang", "") == "up"; }, 120s));
  submit({"--set", "gang.ranks_min=1", "--set", "gang.resize_after_s=0"});
  const std::string metrics = store + "/jobs/tiny-1/metrics.jsonl";
  ASSERT_TRUE(server.wait_until([&] { return read_text(metrics).find("\"step\":2,") != std::string::npos; }, 120s));
  const json small = show("tiny-1");
  EXPECT_EQ(small.value("ranks", 0), 1) << small.dump();
  EXPECT_EQ(small.value("ranks_max", 0), 2);
  EXPECT_NE(tephra(scratch, {"show", "tiny-1", "--store", store})
                .out.find("ranks     1 of 1 to 2: no more slots were free when it was given them"),
            std::string::npos);
  EXPECT_EQ(tephra(scratch, {"cancel", "holder-1", "--store", store}).code, 0);
  json job;
  ASSERT_TRUE(server.wait_until([&] { return (job = show("tiny-1")).value("phase", "") == "done"; }, 240s))
      << job.dump();
  EXPECT_EQ(job.value("ranks", 0), 2) << job.dump();
  EXPECT_EQ(job.value("attempt", 0), 2) << job.dump();
  EXPECT_EQ(job.value("restarts", -1), 0) << "a resize is no restart";
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(60s).code, 0);
  std::map<std::string, std::string> hashes = content_hashes(scratch, store);
  for (const auto& [checkpoint, hash] : undisturbed().hashes) EXPECT_EQ(hashes[checkpoint], hash) << checkpoint;
  EXPECT_TRUE(none_left(store));
}

}  // namespace
}  // namespace tephra::e2e
