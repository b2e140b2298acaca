#include "victim.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "recipes/recipe.h"

namespace tephra::coordinator {

std::string make_recipe(const std::string& dir, int ranks, int steps, int max_restarts) {
  for (const char* part : {"clip", "llama"}) {
    std::filesystem::create_directories(dir + "/" + part);
    std::ofstream(dir + "/" + part + "/config.json") << "{\"model_type\": \"" << part << "\"}\n";
  }
  const std::string stage =
      ", kind: language_model, train: [llm], data: [{dataset: world, part: corpus}], steps: " + std::to_string(steps) +
      ", micro_batch: 1, global_batch: 4, checkpoint: {every_steps: 2}";
  const std::string yaml =
      "name: demo\nmodel: {vision: clip, language: llama}\n"
      "gang: {ranks: " +
      std::to_string(ranks) + ", max_restarts: " + std::to_string(max_restarts) +
      "}\n"
      "datasets:\n  world: {kind: scenes, image_size: 32, train_scenes: 24, validation_questions: 24, test_questions: "
      "24, heldout_conversations: 8, text_questions: 8, corpus_scenes: 24}\n"
      "stages:\n  - {name: lm" +
      stage +
      ", init: base, evaluate: []}\n"
      "  - {name: more" +
      stage +
      ", init: previous, evaluate: [quiz]}\n"
      "benches:\n  quiz: {kind: scienceqa, dataset: world, limit: 24}\n";
  const recipes::LoadResult loaded = recipes::parse_recipe(yaml, dir + "/recipe.yaml");
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", to_string(loaded.diagnostics).c_str());
    return "";
  }
  return recipes::to_json(loaded.recipe);
}

Options make_options(const std::string& store_dir) {
  Options options;
  options.store_dir = store_dir;
  options.worker_program = self_path();
  options.slots = 2;
  // The model folders say no sizes, which makes LLaMA 7B of it; the fake ranks hold none.
  options.memory_bytes = int64_t{1} << 50;
  return options;
}

int victim_main(int argc, char** argv) {
  if (argc < 4) return 2;
  std::ifstream in(argv[3]);
  std::stringstream recipe;
  recipe << in.rdbuf();
  auto coordinator = Coordinator::start(make_options(argv[2]));
  if (!coordinator.ok()) {
    std::fprintf(stderr, "%s\n", coordinator.status().to_string().c_str());
    return 1;
  }
  (*coordinator)->subscribe("", [](const JobEvent& event) {
    if (event.kind != JobEvent::Kind::kCheckpoint) return;
    std::printf("STEP %lld\n", static_cast<long long>(event.step.step));
    std::fflush(stdout);
  });
  const Result<std::string> id = (*coordinator)->submit(recipe.str(), "victim");
  if (!id.ok()) {
    std::fprintf(stderr, "%s\n", id.status().to_string().c_str());
    return 1;
  }
  const Result<JobState> state = (*coordinator)->wait(*id, Deadline::after(std::chrono::seconds(60)));
  std::printf("END %s\n",
              state.ok() ? std::string(phase_name(state->phase)).c_str() : state.status().to_string().c_str());
  return 0;
}

std::string self_path() {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  return length > 0 ? std::string(path, static_cast<size_t>(length)) : "";
}

bool is_running(int64_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(in, line)) return false;
  const size_t close = line.rfind(')');
  return close != std::string::npos && line.size() > close + 2 && line[close + 2] != 'Z' && line[close + 2] != 'X';
}

}  // namespace tephra::coordinator
