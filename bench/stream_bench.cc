// Reads samples of a dataset in the shuffled order of training, from any position, as the loader does: data/conversation_source.h.
// Prints one JSON line.
//
//   stream_bench --data FILE.jsonl|FOLDER [--from 0] [--samples 1000] [--seed 17]
//
// `digest` is a sum over the samples of a hash of position and content: those of two runs that share a stretch add up to that of one
// run over it, modulo 2^64, so that going on from a position can be told from going on somewhere else. bench/stream_dataset.py runs it
// in little memory.
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "base/hash.h"
#include "data/conversation_source.h"
#include "data/sampler.h"

namespace tephra {
namespace {

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "stream_bench: %s\n", why.c_str());
  std::_Exit(1);
}

std::string content_of(const data::ConversationSource& source, uint64_t index) {
  auto sample = source.sample(index);
  if (!sample.ok()) die(sample.status().message());
  std::string content = sample->id;
  for (const data::Turn& turn : sample->turns) content += "\n" + turn.from + ": " + turn.value;
  for (size_t i = 0; source.holds_pictures() && i < sample->images.size(); ++i) {
    auto picture = source.picture(index, i);
    if (!picture.ok()) die(picture.status().message());
    content += "\n" + *picture;
  }
  return content;
}

int run(const std::map<std::string, std::string>& options) {
  const auto number = [&](const char* name, uint64_t otherwise) {
    const auto found = options.find(name);
    return found == options.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 10);
  };
  if (!options.contains("--data")) die("--data is missing");
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const auto source = data::open_conversations(options.at("--data"));
  if (!source.ok()) die(source.status().message());
  const double open_s = std::chrono::duration<double>(Clock::now() - begin).count();
  const data::SampleOrder order{.seed = number("--seed", 17), .dataset_size = (*source)->size()};
  const uint64_t from = number("--from", 0), count = number("--samples", 1000);
  uint64_t digest = 0, bytes = 0;
  for (uint64_t position = from; position < from + count; ++position) {
    const std::string content = content_of(**source, order.index_at(position));
    bytes += content.size();
    digest += std::strtoull(hash_text(std::to_string(position) + "\n" + content).hex().substr(16).c_str(), nullptr, 16);
  }
  const double read_s = std::chrono::duration<double>(Clock::now() - begin).count() - open_s;
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  std::printf(
      "{\"size\": %llu, \"from\": %llu, \"samples\": %llu, \"bytes\": %llu, \"digest\": \"%llu\", \"open_s\": %.3f, "
      "\"samples_per_s\": %.0f, \"major_faults\": %ld, \"rss_max_mb\": %.0f}\n",
      static_cast<unsigned long long>(order.dataset_size), static_cast<unsigned long long>(from),
      static_cast<unsigned long long>(count), static_cast<unsigned long long>(bytes),
      static_cast<unsigned long long>(digest), open_s, static_cast<double>(count) / read_s, used.ru_majflt,
      static_cast<double>(used.ru_maxrss) / 1024);
  return 0;
}

}  // namespace
}  // namespace tephra

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 1; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  return tephra::run(options);
}
