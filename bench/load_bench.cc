// How a coordinator bears a full queue: gangs of 64 ranks that send a heartbeat a second, a queue of many jobs behind them,
// and clients that ask its HTTP interface at a fixed rate, while --churn jobs a second come and go. Prints one JSON line.
//
//   load_bench [--jobs 10000] [--ranks 1024] [--rate 200] [--seconds 60] [--churn 10]
//   load_bench startup [--finished 100000]
//
// The second form is how long a coordinator takes to start on a store with so many finished jobs, and what it then holds.
//
// This process is the coordinator, so that its memory is measured alone; it starts itself as the ranks of each gang (in
// mpirun's place, one process with a connection for each rank) and as the clients. A request's latency counts from when it
// was due, not from when it could be sent: a stall is paid by all requests that it held up.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/env.h"
#include "cluster/rpc.h"
#include "coordinator/coordinator.h"
#include "coordinator/journal.h"
#include "recipes/recipe.h"
#include "storage/index/store.h"

namespace tephra {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Setting {
  int jobs = 10000, ranks = 1024, rate = 200, seconds = 60, churn = 10, finished = 100000;
};

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "load_bench: %s\n", why.c_str());
  std::_Exit(1);
}

constexpr int kGangRanks = 64;  // the most that a recipe may want

// --- the ranks

int option(const std::vector<std::string>& words, const std::string& name, std::string* value) {
  const auto at = std::find(words.begin(), words.end(), name);
  if (at == words.end() || at + 1 == words.end()) return 1;
  *value = at[1];
  return 0;
}

int run_ranks(const std::vector<std::string>& words) {
  std::string world_text, address, job, attempt;
  if (option(words, "-n", &world_text) + option(words, "--coordinator", &address) + option(words, "--job", &job) +
          option(words, "--attempt", &attempt) !=
      0)
    die("started as mpirun without its words");
  const int world = std::stoi(world_text);
  const std::string host = address.substr(0, address.rfind(':'));
  const auto port = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  const char* token = std::getenv("TEPHRA_GANG_TOKEN");
  std::atomic<bool> ended{false};
  cluster::RpcClient::Handlers handlers;
  handlers.on_message = [&ended](const cluster::CoordinatorMessage& message) {
    if (std::holds_alternative<cluster::Stop>(message)) ended = true;
  };
  handlers.on_closed = [&ended](const Status&) { ended = true; };
  std::vector<std::unique_ptr<cluster::RpcClient>> ranks;
  for (int rank = 0; rank < world; ++rank) {
    auto client = cluster::RpcClient::connect(host, port, handlers, Deadline::after(std::chrono::seconds(20)));
    if (!client.ok()) die(client.status().message());
    (void)(*client)->send(cluster::Hello{job, static_cast<uint32_t>(std::stoul(attempt)), rank, world,
                                         token == nullptr ? "" : token, getpid(), "load 1"});
    ranks.push_back(std::move(client).value());
  }
  // A heartbeat a second of each, spread over the second.
  const auto begin = Clock::now();
  for (int64_t i = 0; !ended; ++i) {
    std::this_thread::sleep_until(begin + std::chrono::microseconds(i * 1000000 / world));
    cluster::Heartbeat heartbeat;
    heartbeat.phase = "forward";
    heartbeat.unit = "decoder.0";
    heartbeat.step = i / world;
    (void)ranks[static_cast<size_t>(i % world)]->send(heartbeat);
  }
  std::_Exit(0);  // a thousand connections' threads: nothing is to be saved
}

// --- the clients

class Http {
 public:
  explicit Http(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    const int on = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) die("the coordinator does not answer");
  }
  ~Http() { close(fd_); }
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;

  // Reads the whole answer; its status.
  int get(const std::string& target) {
    const std::string text = "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
    if (send(fd_, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) die("sending failed");
    std::string got;
    size_t whole = std::string::npos;
    char buffer[65536];
    while (got.size() < whole) {
      const ssize_t n = recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) die("the connection ended: " + got);
      got.append(buffer, static_cast<size_t>(n));
      const size_t head = got.find("\r\n\r\n");
      if (whole != std::string::npos || head == std::string::npos) continue;
      const size_t length = got.find("Content-Length: ");
      whole = head + 4 + (length < head ? std::stoul(got.substr(length + 16)) : 0);
    }
    return std::atoi(got.c_str() + 9);
  }

 private:
  int fd_;
};

// The mix of a page that shows a list, people who look at jobs, and Prometheus once a second.
std::string target_of(int64_t i, const Setting& setting) {
  if (i % setting.rate == 0) return "/metrics";
  switch (i % 10) {
    case 0:
    case 1: return "/api/v1/jobs?limit=50&order=newest";
    case 2: return "/api/v1/jobs?phase=training,evaluating";
    case 3: return "/api/v1/checkpoints?limit=50";
    case 4: return "/api/v1/jobs/load-1";
    default: return "/api/v1/jobs/load-" + std::to_string(1 + i * 7919 % setting.jobs);
  }
}

int run_clients(int port, const Setting& setting) {
  constexpr int kClients = 8;
  const int64_t count = int64_t{setting.rate} * setting.seconds;
  std::vector<double> latency_ms(static_cast<size_t>(count));
  std::atomic<int64_t> next{0}, failed{0};
  const auto begin = Clock::now() + milliseconds(50);
  std::vector<std::thread> threads;
  for (int t = 0; t < kClients; ++t)
    threads.emplace_back([&] {
      Http http(port);
      for (int64_t i; (i = next++) < count;) {
        const auto due = begin + std::chrono::microseconds(i * 1000000 / setting.rate);
        std::this_thread::sleep_until(due);
        failed += http.get(target_of(i, setting)) == 200 ? 0 : 1;
        latency_ms[static_cast<size_t>(i)] = std::chrono::duration<double, std::milli>(Clock::now() - due).count();
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::map<std::string, std::vector<double>> by_target;
  for (int64_t i = 0; i < count; ++i) {
    std::string target = target_of(i, setting);
    if (target.starts_with("/api/v1/jobs/")) target = i % 10 == 4 ? "a job that runs" : "any job";
    by_target[target].push_back(latency_ms[static_cast<size_t>(i)]);
  }
  nlohmann::json p99 = nlohmann::json::object();
  for (auto& [target, times] : by_target) {
    std::sort(times.begin(), times.end());
    p99[target] = times[static_cast<size_t>(0.99 * static_cast<double>(times.size() - 1))];
  }
  std::sort(latency_ms.begin(), latency_ms.end());
  const auto at = [&](double share) { return latency_ms[static_cast<size_t>(share * static_cast<double>(count - 1))]; };
  std::printf("%s\n", nlohmann::json{{"requests", count},
                                     {"failed", failed.load()},
                                     {"p50_ms", at(0.5)},
                                     {"p99_ms", at(0.99)},
                                     {"p99_ms_by_target", p99},
                                     {"max_ms", at(1)}}
                          .dump()
                          .c_str());
  return 0;
}

// --- the coordinator

std::string self_path() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

double resident_mib() {
  std::ifstream in("/proc/self/statm");
  double pages = 0, resident = 0;
  in >> pages >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

std::string recipe_json(const std::string& dir, int ranks) {
  for (const char* part : {"clip", "llama"}) {
    std::filesystem::create_directories(dir + "/" + part);
    std::ofstream(dir + "/" + part + "/config.json") << "{\"model_type\": \"" << part << "\"}\n";
  }
  const std::string yaml =
      "name: load\nmodel: {vision: clip, language: llama}\n"
      "gang: {ranks: " +
      std::to_string(ranks) +
      ", oversubscribe: true}\n"
      "datasets:\n  world: {kind: scenes, image_size: 32, train_scenes: 24, validation_questions: 24, test_questions: 24, "
      "heldout_conversations: 8, text_questions: 8, corpus_scenes: 24}\n"
      "stages:\n  - {name: lm, kind: language_model, train: [llm], data: [{dataset: world, part: corpus}], steps: 1000, "
      "micro_batch: 1, global_batch: " +
      std::to_string(ranks) + ", init: base}\n";
  const recipes::LoadResult loaded = recipes::parse_recipe(yaml, dir + "/recipe.yaml");
  if (!loaded.ok()) die(to_string(loaded.diagnostics));
  return recipes::to_json(loaded.recipe);
}

void wait_until_up(const coordinator::Coordinator& coordinator, const std::string& job) {
  for (const auto limit = Clock::now() + std::chrono::seconds(60);; std::this_thread::sleep_for(milliseconds(50))) {
    const auto view = coordinator.get(job);
    if (view.ok() && view->state.gang == coordinator::GangPhase::kUp) return;
    if (Clock::now() > limit)
      die("a gang did not start: " + (view.ok() ? view->state.reason : view.status().message()));
  }
}

double submit_all(coordinator::Coordinator& coordinator, const std::string& recipe, int count) {
  const auto begin = Clock::now();
  std::atomic<int> left{count};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      while (left-- > 0)
        if (const auto id = coordinator.submit(recipe, "load"); !id.ok()) die(id.status().message());
    });
  for (std::thread& thread : threads) thread.join();
  return count / std::chrono::duration<double>(Clock::now() - begin).count();
}

// What the clients print, and this process's memory second by second while they ask.
std::string ask(const coordinator::Coordinator& coordinator, const Setting& s, std::vector<double>* memory_mib,
                std::vector<double>* decision_ms) {
  const int port = coordinator.http_port();
  const std::string command = "'" + self_path() + "' clients " + std::to_string(port) + " " + std::to_string(s.jobs) +
                              " " + std::to_string(s.rate) + " " + std::to_string(s.seconds);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) die("the clients cannot be started");
  std::atomic<bool> done{false};
  std::thread sampler([&] {
    for (int i = 0; !done; ++i) {
      if (i % 10 == 0) memory_mib->push_back(resident_mib());
      decision_ms->push_back(coordinator.workload().decision_seconds * 1000);
      std::this_thread::sleep_for(milliseconds(100));
    }
  });
  std::string text;
  char buffer[4096];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
  done = true;
  sampler.join();
  if (pclose(pipe) != 0) die("the clients failed");
  return text;
}

int run(const Setting& s) {
  std::string dir = std::filesystem::temp_directory_path() / "tephra_load_XXXXXX";
  if (mkdtemp(dir.data()) == nullptr) die("no temporary folder");
  coordinator::Options options;
  options.store_dir = dir + "/store";
  options.worker_program = options.launching.mpirun = self_path();
  options.slots = s.ranks;
  options.memory_bytes = int64_t{1} << 60;
  options.http_port = 0;
  auto started = coordinator::Coordinator::start(options);
  if (!started.ok()) die(started.status().message());
  coordinator::Coordinator& coordinator = **started;
  std::vector<std::string> gangs;
  for (int ranks = s.ranks; ranks > 0; ranks -= kGangRanks) {
    const auto id = coordinator.submit(recipe_json(dir, std::min(ranks, kGangRanks)), "load");
    if (!id.ok()) die(id.status().message());
    gangs.push_back(*id);
  }
  for (const std::string& gang : gangs) wait_until_up(coordinator, gang);
  const double submitted = submit_all(coordinator, recipe_json(dir, 1), s.jobs);
  std::vector<double> memory, decisions;
  // A queue that nothing happens to is not decided anew: jobs come and go all the while.
  int64_t ended = 0;
  std::atomic<bool> asked{false};
  std::thread restless([&, recipe = recipe_json(dir, 1)] {
    const auto begin = Clock::now();
    for (; !asked; ++ended) {
      if (const auto id = coordinator.submit(recipe, "load"); !id.ok() || !coordinator.cancel(*id, "").ok())
        die("a job was not taken");
      std::this_thread::sleep_until(begin + std::chrono::microseconds((ended + 1) * 1000000 / s.churn));
    }
  });
  nlohmann::json out = nlohmann::json::parse(ask(coordinator, s, &memory, &decisions));
  asked = true;
  restless.join();
  std::sort(decisions.begin(), decisions.end());
  int64_t oldest_ms = 0;
  for (const std::string& gang : gangs) {
    const auto view = coordinator.get(gang);
    if (!view.ok() || view->state.attempt != 1 || view->ranks.empty()) die("gang " + gang + " did not last");
    for (const auto& rank : view->ranks) oldest_ms = std::max(oldest_ms, rank.heartbeat_age_ms);
  }
  nlohmann::json every_10_s = nlohmann::json::array();
  for (size_t second = 0; second < memory.size(); second += 10)
    every_10_s.push_back(std::round(memory[second] * 10) / 10);
  out["bench"] = "coordinator_load";
  out["queued_jobs"] = s.jobs;
  out["ranks"] = s.ranks;
  out["requests_per_second"] = s.rate;
  out["submissions_per_second"] = submitted;
  out["heartbeat_age_max_ms"] = oldest_ms;
  out["decision_ms"] = decisions[decisions.size() / 2];
  out["decision_max_ms"] = decisions.back();
  out["ended_jobs"] = ended;
  out["rss_mib_every_10_s"] = every_10_s;
  out["rss_mib_end"] = memory.back();
  std::printf("%s\n", out.dump().c_str());
  coordinator.shutdown();
  started->reset();
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return out["failed"] == 0 ? 0 : 1;
}

// --- starting on many finished jobs

// As a job of some stages, checkpoints and a bench leaves it in the journal.
coordinator::JournaledJob finished_job(const std::string& recipe, uint64_t order) {
  coordinator::JournaledJob job;
  job.order = order;
  job.events = 30;
  coordinator::JobState& s = job.state;
  s.id = "load-" + std::to_string(order);
  s.user = "user-" + std::to_string(order % 20);
  s.recipe_json = recipe;
  s.recipe_name = "load";
  s.prepared_json = std::string(1500, ' ');
  s.plan = {{"align", "base", {"quiz"}}, {"tune", "align", {"quiz"}}};
  s.stages.resize(2);
  for (size_t i = 0; i < 2; ++i) {
    for (int step = 50; step <= 500; step += 50)
      s.stages[i].checkpoints.push_back(s.id + "/" + s.plan[i].name + "@" + std::to_string(step));
    s.stages[i].checkpoint = s.stages[i].checkpoints.back();
    s.stages[i].step = 500;
    s.stages[i].complete = s.stages[i].bench_done["quiz"] = true;
  }
  s.stage = 1;
  s.attempt = 1;
  s.phase = coordinator::Phase::kDone;
  s.submitted_unix_ms = s.queued_unix_ms = tephra::Clock::system().unix_ms() - static_cast<int64_t>(order) * 60'000;
  s.started_unix_ms = s.slots_unix_ms = s.submitted_unix_ms + 1000;
  s.finished_unix_ms = s.started_unix_ms + 3'600'000;
  return job;
}

void write_finished(const std::string& store_dir, const std::string& recipe, int count) {
  auto store = storage::Store::open(Env::posix(), store_dir, storage::OpenMode::kReadWrite);
  if (!store.ok()) die(store.status().message());
  std::vector<storage::Put> puts;
  for (int i = 1; i <= count; ++i) {
    const coordinator::JournaledJob job = finished_job(recipe, static_cast<uint64_t>(i));
    for (storage::Put& put : coordinator::Journal::puts(job, coordinator::ReportWritten{}, job.state.finished_unix_ms))
      puts.push_back(std::move(put));
    if (i % 1000 != 0 && i != count) continue;
    if (const Status written = (*store)->write(puts); !written.ok()) die(written.message());
    puts.clear();
  }
}

// In a process of its own, so that nothing of what wrote the jobs is in its memory.
int start_once(const std::string& store_dir) {
  coordinator::Options options;
  options.store_dir = store_dir;
  options.worker_program = self_path();
  const double before_mib = resident_mib();
  const auto begin = Clock::now();
  auto started = coordinator::Coordinator::start(options);
  if (!started.ok()) die(started.status().message());
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const auto asked = Clock::now();
  coordinator::JobQuery newest;
  newest.newest_first = true;
  const size_t listed = (*started)->page(newest)->jobs.size();
  std::printf("%s\n",
              nlohmann::json{{"start_ms", seconds * 1000},
                             {"first_list_ms", std::chrono::duration<double, std::milli>(Clock::now() - asked).count()},
                             {"listed", listed},
                             {"rss_mib", resident_mib()},
                             {"rss_before_mib", before_mib}}
                  .dump()
                  .c_str());
  return 0;
}

int run_startup(int count) {
  std::string dir = std::filesystem::temp_directory_path() / "tephra_load_XXXXXX";
  if (mkdtemp(dir.data()) == nullptr) die("no temporary folder");
  write_finished(dir + "/store", recipe_json(dir, 1), count);
  for (int i = 0; i < 3; ++i) {
    const std::string command = "'" + self_path() + "' start-once '" + dir + "/store'";
    FILE* pipe = popen(command.c_str(), "r");
    char line[1024] = {};
    if (pipe == nullptr || std::fgets(line, sizeof line, pipe) == nullptr || pclose(pipe) != 0) die("a start failed");
    nlohmann::json out = nlohmann::json::parse(line);
    out["bench"] = "coordinator_startup";
    out["finished_jobs"] = count;
    std::printf("%s\n", out.dump().c_str());
  }
  std::error_code ignored;
  std::filesystem::remove_all(dir, ignored);
  return 0;
}

}  // namespace
}  // namespace tephra

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (std::find(words.begin(), words.end(), "rank") != words.end()) return tephra::run_ranks(words);
  tephra::Setting setting;
  if (words.size() == 5 && words[0] == "clients") {
    setting.jobs = std::stoi(words[2]);
    setting.rate = std::stoi(words[3]);
    setting.seconds = std::stoi(words[4]);
    return tephra::run_clients(std::stoi(words[1]), setting);
  }
  if (words.size() == 2 && words[0] == "start-once") return tephra::start_once(words[1]);
  const bool startup = !words.empty() && words[0] == "startup";
  for (size_t i = startup ? 1 : 0; i + 1 < words.size(); i += 2) {
    int* value = words[i] == "--jobs"       ? &setting.jobs
                 : words[i] == "--ranks"    ? &setting.ranks
                 : words[i] == "--rate"     ? &setting.rate
                 : words[i] == "--seconds"  ? &setting.seconds
                 : words[i] == "--churn"    ? &setting.churn
                 : words[i] == "--finished" ? &setting.finished
                                            : nullptr;
    if (value == nullptr) tephra::die("there is no option " + words[i]);
    *value = std::stoi(words[i + 1]);
  }
  return startup ? tephra::run_startup(setting.finished) : tephra::run(setting);
}
