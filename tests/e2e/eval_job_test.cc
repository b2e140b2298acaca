// Benches as tasks of a job: choices by likelihood, held-out loss, a judge that refuses and later answers, and gates.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <set>
#include <sstream>
#include <thread>

#include "tests/e2e/tiny_job.h"

namespace tephra::e2e {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A chat endpoint that refuses the key until it is told to answer. One connection at a time.
class Endpoint {
 public:
  Endpoint() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Endpoint() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }

  std::atomic<bool> answers = false;
  std::atomic<int> answered = 0;

 private:
  void serve() {
    for (int client; (client = ::accept(socket_, nullptr, nullptr)) >= 0; ::close(client)) {
      std::string request;
      char buffer[4096];
      size_t wanted = std::string::npos;
      while (request.size() < wanted) {
        const ssize_t n = ::read(client, buffer, sizeof buffer);
        if (n <= 0) break;
        request.append(buffer, static_cast<size_t>(n));
        const size_t head = request.find("\r\n\r\n"), length = request.find("Content-Length: ");
        if (head != std::string::npos && length != std::string::npos)
          wanted = head + 4 + static_cast<size_t>(std::atoll(request.c_str() + length + 16));
      }
      const std::string body =
          answers ? json{{"model", "judge"},
                         {"choices", {{{"message", {{"content", "8 6\nfine"}}}, {"finish_reason", "stop"}}}},
                         {"usage", {{"prompt_tokens", 10}, {"completion_tokens", 5}}}}
                        .dump()
                  : R"({"error": {"message": "the key is not known"}})";
      answered += answers;
      const std::string reply =
          std::string("HTTP/1.1 ") + (answers ? "200 OK" : "401 Unauthorized") +
          "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
          "\r\n\r\n" + body;
      for (size_t sent = 0; sent < reply.size();) {
        const ssize_t n = ::write(client, reply.data() + sent, reply.size() - sent);
        if (n <= 0) break;
        sent += static_cast<size_t>(n);
      }
    }
  }

  int socket_;
  int port_ = 0;
  std::thread thread_;
};

std::string recipe(const std::string& require, const std::string& more_datasets = "",
                   const std::string& more_benches = "") {
  const std::string base = TEPHRA_SOURCE_DIR "/recipes/base";
  const std::string stage =
      "data: [{dataset: scenes, part: instruct}], max_length: 256, steps: 1, micro_batch: 2, global_batch: 4, template: v1";
  return "name: judged\nmodel: {vision: " + base + "/vision, language: " + base +
         "/language, connector: {kind: mlp2x_gelu}}\n" +
         "gang: {ranks: 2, threads_per_rank: 1}\n"
         "datasets:\n  scenes: {kind: scenes, seed: 3, train_scenes: 16, test_questions: 8, validation_questions: 4, heldout_conversations: 3, text_questions: 2}\n" +
         more_datasets + "stages:\n  - {name: a, " + stage + ", train: [connector], require: [" + require + "]}\n" +
         "  - {name: b, " + stage + ", train: [connector]}\n" +
         "benches:\n"
         "  choice: {kind: scienceqa, dataset: scenes, answer_rule: loglik, limit: 6}\n"
         "  heldout: {kind: loss, dataset: scenes, part: heldout}\n" +
         more_benches;
}

TEST(EvalJob, AJudgeThatRefusesDoesNotStopIt) {
  const char* reference = std::getenv("TEPHRA_REFERENCE_DIR");
  if (reference == nullptr) GTEST_SKIP() << "set TEPHRA_REFERENCE_DIR for the pictures that this test asks about";
  Endpoint endpoint;
  const Scratch scratch;
  const std::string questions = scratch.write(
      "q.jsonl", R"({"question_id": 1, "image": "coffee.png", "text": "What is shown?", "category": "conv"})");
  const std::string answers = scratch.write("a.jsonl", R"({"question_id": 1, "text": "A cup of coffee."})");
  const std::string path = scratch.write(
      "judged.yaml", recipe("heldout.loss > 0, choice.avg >= 0",
                            "  wild: {kind: benchmark, questions: " + questions + ", reference: " + answers +
                                ", images: " + reference + "/images}\n",
                            "  wild: {kind: llava_bench, dataset: wild, max_new_tokens: 8, judge: {endpoint: \"" +
                                endpoint.url() + "\", model: judge, prompts: " +
                                TEPHRA_SOURCE_DIR "/recipes/judge/llava_bench.json, key_env: TEPHRA_NO_SUCH_KEY}}\n"));
  const std::string store = scratch.path("store");
  const Finished run = tephra(scratch, {"run", path, "--store", store});
  ASSERT_EQ(run.code, 0) << run.err;
  EXPECT_THAT(run.out + run.err,
              HasSubstr("bench wild is judged without a key, as $TEPHRA_NO_SUCH_KEY is not set; set it before"));
  const std::string folder = store + "/jobs/judged-1/";
  const json incomplete = json::parse(read_text(folder + "eval/a/wild.result.json"));
  EXPECT_THAT(incomplete["incomplete"].get<std::string>(), HasSubstr("2 of 2 judgments are missing"));
  EXPECT_THAT(read_text(folder + "report/report.md"), HasSubstr("the key is not known"));
  const json choice = json::parse(read_text(folder + "eval/a/choice.result.json"));
  EXPECT_EQ(choice["cases"].size(), 6u);
  EXPECT_EQ(choice["counts"]["unparsed"], 0);
  EXPECT_EQ(choice["pinned"]["answer_rule"], "loglik");
  const json loss = json::parse(read_text(folder + "eval/b/heldout.result.json"));
  EXPECT_GT(loss["metrics"]["perplexity"].get<double>(), 1);
  // Gates were passed, so the stage's best tag is on the checkpoint that passed.
  const json best =
      json::parse(tephra(scratch, {"ckpt", "show", "judged-1/a@best", "--store", store, "--json"}).out, nullptr, false);
  EXPECT_EQ(best.value("step", -1), 1) << best;

  endpoint.answers = true;
  const Finished resumed = tephra(scratch, {"eval", "--resume", "judged-1", "--store", store});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_THAT(resumed.out, HasSubstr("2 benches were incomplete, 0 are now"));
  const json complete = json::parse(read_text(folder + "eval/a/wild.result.json"));
  EXPECT_FALSE(complete.contains("incomplete"));
  EXPECT_EQ(complete["counts"]["judgments"], 2);
  EXPECT_DOUBLE_EQ(complete["metrics"]["relative_score"].get<double>(), 1);  // 8 to 6 in one order, 6 to 8 in the other
  EXPECT_EQ(read_text(folder + "report/report.md").find("is incomplete"), std::string::npos);
  const int answered = endpoint.answered;
  EXPECT_EQ(tephra(scratch, {"eval", "--resume", "judged-1", "--store", store}).code, 0);
  EXPECT_EQ(endpoint.answered, answered) << "nothing is asked twice";
  // Two reports, one page.
  const Finished compared = tephra(
      scratch, {"report", "--compare", "judged-1", folder + "report", "--store", store, "--out", scratch.path("both")});
  EXPECT_EQ(compared.code, 0) << compared.err;
  EXPECT_THAT(read_text(scratch.path("both/report.html")),
              HasSubstr("Comparison of judged-1 and " + folder + "report"));
}

// Benches every few steps, with a kill while one of them is under way: what is trained is what is trained without them.
TEST(EvalJob, BenchesOfEverySoManyStepsDoNotChangeWhatIsTrained) {
  ASSERT_EQ(undisturbed().run.code, 0) << undisturbed().run.err;
  const Scratch scratch;
  const std::string store = scratch.path("store"), folder = store + "/jobs/tiny-1/";
  const std::vector<std::string> command =
      run_tiny(store, {"--set", "benches.heldout.every_steps=4", "--set", "benches.questions.every_steps=8"});
  const std::string answers = folder + "eval/instruct/questions@8.answers.jsonl";
  Process first(command, scratch.path(""));
  ASSERT_TRUE(first.wait_until([&] { return !read_text(answers).empty(); }, std::chrono::seconds(200)));
  const std::vector<pid_t> ranks = gang_of(store, true);
  ASSERT_FALSE(ranks.empty());
  ::kill(ranks.front(), SIGKILL);
  const Finished run = first.wait();
  ASSERT_EQ(run.code, 0) << run.err;
  const auto hashes = content_hashes(scratch, store);
  for (const std::string stage : {"tiny-1/align@12", "tiny-1/instruct@12"})
    EXPECT_EQ(hashes.at(stage), undisturbed().hashes.at(stage)) << stage;

  // align is asked `questions` alone; instruct both. Each question once, the kill notwithstanding.
  for (const std::string name : {"align/questions@8", "instruct/questions@8", "instruct/heldout@4",
                                 "instruct/heldout@8", "align/questions", "instruct/questions", "instruct/heldout"}) {
    const json result = json::parse(read_text(folder + "eval/" + name + ".result.json"), nullptr, false);
    EXPECT_EQ(result["cases"].size(), name.find("heldout") == std::string::npos ? 12u : 4u) << name;
  }
  for (const std::string name : {"align/heldout@4", "instruct/questions@4", "instruct/heldout@12"})
    EXPECT_EQ(read_text(folder + "eval/" + name + ".result.json"), "") << name;
  std::set<std::string> ids;
  std::istringstream lines(read_text(answers));
  for (std::string line; std::getline(lines, line);) {
    const json row = json::parse(line, nullptr, false);
    if (!row.is_object()) continue;
    EXPECT_TRUE(ids.insert(row["id"]).second) << line;
  }
  const json asked = json::parse(read_text(folder + "eval/instruct/questions@8.result.json"), nullptr, false)["counts"];
  EXPECT_EQ(ids.size(), asked.value("total", 0u) + asked.value("count_swapped", 0u));
  // One restart, for the kill; none for the pauses.
  const json job = json::parse(tephra(scratch, {"show", "tiny-1", "--store", store, "--json"}).out, nullptr, false);
  EXPECT_EQ(job.value("restarts", -1), 1);
  EXPECT_EQ(job.value("attempt", -1), 2);
  // Every step once, in order: nothing is trained twice for a bench.
  int64_t before = 0;
  for (const json& row : metrics_of(store)) {
    if (row["stage"] != "align") continue;
    EXPECT_EQ(row["step"], ++before);
  }
  EXPECT_EQ(before, 12);
  EXPECT_THAT(read_text(folder + "report/report.html"), HasSubstr("heldout during instruct"));
  EXPECT_THAT(read_text(folder + "report/bench_curves.csv"), HasSubstr("instruct,8,questions,scienceqa,accuracy,"));
  EXPECT_THAT(read_text(folder + "tensorboard/events.out.tfevents.job"), HasSubstr("instruct/heldout/accuracy"));
}

TEST(EvalJob, AGateThatIsNotPassedStopsBeforeTheNextStage) {
  const Scratch scratch;
  const std::string store = scratch.path("store");
  const Finished run =
      tephra(scratch, {"run", scratch.write("gate.yaml", recipe("heldout.loss <= 0.001, choice.avg >= 0")), "--store",
                       store, "--json"});
  EXPECT_EQ(run.code, 1);
  EXPECT_THAT(run.out + run.err, HasSubstr("stage a did not pass its gate: heldout.loss "));
  EXPECT_THAT(run.out + run.err, HasSubstr("the report is " + store + "/jobs/judged-1/report/report.html"));
  EXPECT_EQ(read_text(store + "/jobs/judged-1/eval/b/heldout.result.json"), "") << "stage b has not begun";
  EXPECT_THAT(read_text(store + "/jobs/judged-1/report/report.md"), HasSubstr("did not pass its gate"));
  EXPECT_NE(tephra(scratch, {"ckpt", "show", "judged-1/a@best", "--store", store}).code, 0) << "no tag was moved";
}

}  // namespace
}  // namespace tephra::e2e
