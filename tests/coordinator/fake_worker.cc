#include "fake_worker.h"

#include <signal.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "cluster/rpc.h"
#include "eval/score/questions.h"
#include "recipes/recipe.h"
#include "storage/checkpoint_reader.h"
#include "storage/tensor_writer.h"

namespace tephra::coordinator {
namespace {

using nlohmann::json;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class FakeRank {
 public:
  Status run(int argc, char** argv) {
    std::string host;
    uint16_t port = 0;
    for (int i = 2; i + 1 < argc; i += 2) {
      const std::string name = argv[i], value = argv[i + 1];
      if (name == "--coordinator") {
        host = value.substr(0, value.rfind(':'));
        port = static_cast<uint16_t>(std::stoi(value.substr(value.rfind(':') + 1)));
      }
      if (name == "--job") job_ = value;
      if (name == "--attempt") attempt_ = static_cast<uint32_t>(std::stoul(value));
    }
    rank_ = std::stoi(environment("OMPI_COMM_WORLD_RANK"));
    world_ = std::stoi(environment("OMPI_COMM_WORLD_SIZE"));
    plan_ = json::parse(environment("TEPHRA_FAKE_PLAN"), nullptr, false);
    std::printf("fake rank %d of %d, attempt %u\n", rank_, world_, attempt_);
    std::fflush(stdout);
    cluster::RpcClient::Handlers handlers;
    handlers.on_message = [this](cluster::CoordinatorMessage message) { receive(std::move(message)); };
    handlers.on_closed = [](const Status&) { _exit(3); };
    TEPHRA_ASSIGN_OR_RETURN(
        client_, cluster::RpcClient::connect(host, port, handlers, Deadline::after(std::chrono::seconds(20))));
    TEPHRA_RETURN_IF_ERROR(client_->send(
        cluster::Hello{job_, attempt_, rank_, world_, environment("TEPHRA_GANG_TOKEN"), getpid(), build()}));
    while (std::optional<cluster::Task> task = next_task()) {
      TEPHRA_RETURN_IF_ERROR(client_->send(cluster::Heartbeat{"load", "", 0, 0, 0, 0}));
      const Status status = task->kind == "train" ? train(*task) : evaluate(*task);
      cluster::Finished finished;
      if (!status.ok()) finished = {status.code(), status.retry_class(), status.message(), ""};
      TEPHRA_RETURN_IF_ERROR(client_->send(finished));
      TEPHRA_RETURN_IF_ERROR(client_->flush(Deadline::after(std::chrono::seconds(10))));
    }
    client_->close();
    return ok_status();
  }

 private:
  void receive(cluster::CoordinatorMessage message) {
    std::lock_guard lock(mutex_);
    if (auto* task = std::get_if<cluster::Task>(&message)) tasks_.push_back(*task);
    if (auto* committed = std::get_if<cluster::Committed>(&message)) commits_.push_back(*committed);
    if (std::holds_alternative<cluster::Stop>(message)) stop_ = true;
    const auto* asked = std::get_if<cluster::FlightRequest>(&message);
    if (asked != nullptr && (!plan_.is_object() || plan_.value("mute", -1) != rank_))
      (void)client_->send(cluster::FlightReport{asked->request, flight()});
    if (std::holds_alternative<cluster::Refused>(message)) _exit(4);
    changed_.notify_all();
  }

  std::optional<cluster::Task> next_task() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
    if (tasks_.empty()) return std::nullopt;
    cluster::Task task = tasks_.front();
    tasks_.pop_front();
    return task;
  }

  // {"builds": ["a", "b"]}: by rank.
  std::string build() const {
    if (!plan_.is_object() || !plan_.contains("builds")) return "fake 1";
    return plan_["builds"].at(static_cast<size_t>(rank_));
  }

  // Always in the same collective, having done a step in which rank 1 computed longest.
  Flight flight() const {
    Flight flight{.zero_unix_us = 1, .now_ns = 9'000'000'000, .step = 2, .sequence = 5, .units = {"w"}};
    flight.records = {{.op = FlightOp::kForward, .unit = 0, .step = 1, .begin_ns = 10, .end_ns = 20},
                      {.track = FlightTrack::kComm,
                       .op = FlightOp::kCommAllGather,
                       .unit = 0,
                       .step = 2,
                       .bytes = 4000,
                       .sequence = 5,
                       .submitted_ns = 30,
                       .begin_ns = 8'000'000'000}};
    flight.steps = {{.step = 1, .begin_ns = 5, .end_ns = 25, .waited_ns = rank_ == 1 ? 0 : 8}};
    return flight;
  }

  // Whether the plan wants `what` here.
  bool planned(const char* what, const std::string& stage, int64_t step) const {
    if (!plan_.is_object() || !plan_.contains(what)) return false;
    const json& at = plan_[what];
    return at.value("attempt", attempt_) == attempt_ && at.value("rank", rank_) == rank_ &&
           at.value("stage", "") == stage && at.value("step", int64_t{-1}) == step;
  }

  Status train(const cluster::Task& task) {
    const json options = json::parse(task.options_json);
    TEPHRA_ASSIGN_OR_RETURN(const recipes::Recipe recipe, recipes::from_json(task.recipe_json));
    const recipes::StageRecipe& stage = recipe.stages[options.at("stage_index").get<size_t>()];
    std::vector<float> w(kFakeElements, 0);
    if (!task.located_manifest.empty()) {
      TEPHRA_ASSIGN_OR_RETURN(auto located, storage::decode_located_manifest(task.located_manifest));
      const storage::CheckpointReader reader(Env::posix(), options.at("packs_dir"), std::move(located));
      TEPHRA_RETURN_IF_ERROR(reader.read_float32("w", 0, kFakeElements, w.data()));
      if (options.at("resume").get<bool>() && reader.manifest().step != static_cast<int64_t>(task.start_step))
        return {Code::kInternal, "resume at another step than the checkpoint's"};
    }
    for (int64_t step = static_cast<int64_t>(task.start_step) + 1; step <= stage.steps; ++step) {
      if (planned("die", stage.name, step)) raise(SIGKILL);
      if (planned("fail", stage.name, step)) return {Code::kInvalidArgument, "a step that cannot work"};
      if (planned("differ", stage.name, step)) return {Code::kMismatch, RetryClass::kPermanent, "ranks 0 and 1 differ"};
      if (planned("hold", stage.name, step)) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return stop_ && !plan_.value("deaf", false); });
        lock.unlock();
        if (plan_.value("last_words", false))
          TEPHRA_RETURN_IF_ERROR(checkpoint(options.at("packs_dir"), stage, step - 1, false, w, true));
        return {Code::kCancelled, "stopped"};
      }
      if (planned("flood", stage.name, step))
        for (int64_t i = 0; i < 100; ++i)
          TEPHRA_RETURN_IF_ERROR(client_->send(cluster::ShardWritten{stage.name, 1000 + i, "", "{}"}));
      for (float& x : w) x += 1;
      if (rank_ == 0) {
        cluster::StepProgress progress;
        progress.stage = stage.name;
        progress.step = step;
        progress.total_steps = stage.steps;
        progress.loss = 1.0 / static_cast<double>(step);
        progress.step_seconds = 0.01;
        TEPHRA_RETURN_IF_ERROR(client_->send(progress));
      }
      const bool last = step == stage.steps;
      if (last || (stage.checkpoint.every_steps > 0 && step % stage.checkpoint.every_steps == 0))
        TEPHRA_RETURN_IF_ERROR(checkpoint(options.at("packs_dir"), stage, step, last, w));
    }
    return ok_status();
  }

  Status checkpoint(const std::string& packs_dir, const recipes::StageRecipe& stage, int64_t step, bool last,
                    const std::vector<float>& w, bool despite_stop = false) {
    TEPHRA_ASSIGN_OR_RETURN(auto writer,
                            storage::TensorWriter::create(Env::posix(), packs_dir,
                                                          storage::pack_name(job_, attempt_, stage.name, step, rank_)));
    const int64_t begin = kFakeElements * rank_ / world_, end = kFakeElements * (rank_ + 1) / world_;
    const auto* bytes = reinterpret_cast<const std::byte*>(w.data() + begin);
    for (const auto kind : {storage::StateKind::kParameter, storage::StateKind::kFirstMoment})
      TEPHRA_RETURN_IF_ERROR(writer->add("w", kind, DType::kFloat32, {kFakeElements}, begin, end - begin, bytes));
    TEPHRA_ASSIGN_OR_RETURN(storage::ShardSummary summary, writer->finish());
    if (planned("forge", stage.name, step)) summary.pack.pack = plan_["forge"].at("pack");
    cluster::ShardWritten written;
    written.stage = stage.name;
    written.step = step;
    written.shard_summary = storage::encode(summary);
    if (rank_ == 0)
      written.metadata_json = json{{"sampler_position", step * 8},
                                   {"seed", 17},
                                   {"stage_complete", last},
                                   {"gave_way", {1}},
                                   {"metrics", {{"loss", 1.0 / step}}}}
                                  .dump();
    TEPHRA_RETURN_IF_ERROR(client_->send(written));
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return (stop_ && !despite_stop) || !commits_.empty(); });
    if (commits_.empty()) return {Code::kCancelled, "stopped"};
    const cluster::Committed committed = commits_.front();
    commits_.pop_front();
    return committed.ok ? ok_status() : Status(Code::kIo, committed.message);
  }

  Status evaluate(const cluster::Task& task) {
    const json options = json::parse(task.options_json);
    TEPHRA_ASSIGN_OR_RETURN(const recipes::Recipe recipe, recipes::from_json(task.recipe_json));
    const recipes::BenchRecipe* bench = recipe.find_bench(options.at("bench"));
    const json& at = options.at("datasets").at(bench->dataset);
    data::PreparedDataset dataset{at.at("kind"), at.at("dir"),
                                  at.at("options").get<std::map<std::string, std::string>>()};
    eval::BenchSpec spec;
    spec.name = bench->name;
    spec.kind = bench->kind;
    spec.split = bench->split;
    spec.limit = bench->limit;
    TEPHRA_ASSIGN_OR_RETURN(const eval::QuestionSet set, eval::load_questions(spec, dataset));
    std::set<std::string> answered;
    std::ifstream in(options.at("answers_file").get<std::string>());
    for (std::string line; std::getline(in, line);) answered.insert(json::parse(line).at("id"));
    std::printf("%zu answered before\n", answered.size());
    std::fflush(stdout);
    int64_t said = 0;
    for (size_t i = 0; i < set.questions.size(); ++i) {
      if (static_cast<int>(i % static_cast<size_t>(world_)) != rank_ || answered.contains(set.questions[i].id))
        continue;
      TEPHRA_RETURN_IF_ERROR(client_->send(
          cluster::Answers{bench->name,
                           {{set.questions[i].id, "The answer is " + set.questions[i].reference + ".", ""}},
                           static_cast<int64_t>(set.questions.size())}));
      ++said;
      const json die = plan_.is_object() ? plan_.value("die", json::object()) : json::object();
      if (die.value("bench", "") == bench->name && die.value("attempt", 0u) == attempt_ &&
          die.value("rank", -1) == rank_ && die.value("answers", int64_t{0}) == said) {
        TEPHRA_RETURN_IF_ERROR(client_->flush(Deadline::after(std::chrono::seconds(10))));
        raise(SIGKILL);
      }
    }
    return ok_status();
  }

  std::string job_;
  uint32_t attempt_ = 0;
  int rank_ = 0, world_ = 1;
  json plan_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<cluster::Task> tasks_;
  std::deque<cluster::Committed> commits_;
  bool stop_ = false;
  std::unique_ptr<cluster::RpcClient> client_;  // last: its thread calls receive()
};

}  // namespace

int fake_worker_main(int argc, char** argv) {
  const Status status = FakeRank().run(argc, argv);
  if (status.ok()) return 0;
  std::fprintf(stderr, "fake rank: %s\n", status.to_string().c_str());
  return 1;
}

}  // namespace tephra::coordinator
