#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "cli/app.h"
#include "cli/kubernetes_manifest.h"

namespace tephra::cli {
namespace {

struct Options {
  std::string recipe;
  std::vector<std::string> overrides;
  ManifestOptions manifest;
  bool json = false;
};

int run(const Options& o) {
  auto loaded = recipes::load_recipe(o.recipe, o.overrides);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", tephra::to_string(loaded.diagnostics).c_str());
    return kBadInput;
  }
  const auto documents = kubernetes_manifest(loaded.recipe, o.manifest);
  if (!documents.ok()) return fail(documents.status());
  const nlohmann::json list = {{"apiVersion", "v1"}, {"kind", "List"}, {"items", *documents}};
  std::printf("%s", o.json ? (list.dump(2) + "\n").c_str() : to_yaml(*documents).c_str());
  return kOk;
}
}  // namespace

void add_manifest(Verbs& verbs) {
  auto o = std::make_shared<Options>();
  ManifestOptions& m = o->manifest;
  auto* verb = verbs.app.add_subcommand("manifest", "A recipe as an MPIJob of Kubernetes' MPI operator");
  verb->add_option("RECIPE", o->recipe, "its data and models lie below --mount, as the pods see it")->required();
  verb->add_option("--image", m.image, "container image with tephra, tephra-worker, Open MPI and an SSH server")
      ->required();
  verb->add_option("--claim", m.claim, "PersistentVolumeClaim that all pods can write: the store, data and models")
      ->required();
  verb->add_option("--mount", m.mount, "where the claim is mounted; the store is MOUNT/store")->capture_default_str();
  verb->add_option("--workers", m.workers, "pods that the ranks are spread over evenly")->capture_default_str();
  verb->add_option("--gpus-per-worker", m.gpus_per_worker, "nvidia.com/gpu of each of them")->capture_default_str();
  verb->add_option("--memory", m.memory, "of each of them, 64Gi (default: not asked for)");
  verb->add_option("--name", m.name, "of the objects (default: from the recipe's name)");
  verb->add_option("--namespace", m.name_space, "of the objects (default: kubectl's)");
  verb->add_option("--network", m.network, "the pods' interface to each other")->capture_default_str();
  verb->add_option("--set", o->overrides, "override a field: a.b=value; may be repeated")->take_all();
  verb->add_flag("--json", o->json, "one JSON document, a List");
  verb->footer(
      "Example:\n  tephra manifest recipe.yaml --image registry/tephra:1 --claim training --workers 4 | kubectl apply -f -");
  verb->callback([&verbs, o] { verbs.chosen = [o] { return run(*o); }; });
}

}  // namespace tephra::cli
