// A recipe as Kubernetes objects for the MPI operator (kubeflow.org/v2beta1): a ConfigMap with the recipe, and an MPIJob whose
// launcher pod is `tephra run` over the operator's host file. docs/launchers.md. Pure functions.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"
#include "recipes/recipe.h"

namespace tephra::cli {

struct ManifestOptions {
  std::string image;              // has tephra, tephra-worker and an SSH server; required
  std::string name;               // of the objects; empty: from the recipe's name
  std::string name_space;         // empty: kubectl's
  std::string claim;              // PersistentVolumeClaim that all pods can write; required
  std::string mount = "/tephra";  // where it is mounted: the store, data and models lie below it
  std::string network = "eth0";   // the pods' interface
  std::string memory;             // of a worker pod, "64Gi"; empty: not asked for
  int64_t workers = 1;            // pods that ranks run on
  int64_t gpus_per_worker = 0;    // nvidia.com/gpu
};

// The two objects, the ConfigMap first. kInvalidArgument: options or a recipe that such a job cannot run, with what to do.
Result<std::vector<nlohmann::json>> kubernetes_manifest(const recipes::Recipe& recipe, const ManifestOptions& options);

// YAML documents, one after another, as kubectl apply -f takes them.
std::string to_yaml(const std::vector<nlohmann::json>& documents);

}  // namespace tephra::cli
