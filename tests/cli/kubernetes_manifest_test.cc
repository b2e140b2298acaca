// The manifest against schemas: tests/cli/mpijob_schema.json always; Kubernetes' own for its pods where there is the Python of
// scripts/api_venv.sh; the operator's own CustomResourceDefinition where TEPHRA_MPIJOB_CRD names its file
// (manifests/base/kubeflow.org_mpijobs.yaml of kubeflow/mpi-operator, 0.5 or later).
#include "cli/kubernetes_manifest.h"

#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>

#include "tests/base/api_python.h"
#include "tests/base/temp_dir.h"

namespace tephra::cli {
namespace {
using nlohmann::json;

json from_yaml(const YAML::Node& node) {
  if (node.IsMap()) {
    json out = json::object();
    for (const auto& entry : node) out[entry.first.as<std::string>()] = from_yaml(entry.second);
    return out;
  }
  if (node.IsSequence()) {
    json out = json::array();
    for (const auto& part : node) out.push_back(from_yaml(part));
    return out;
  }
  if (node.Tag() == "!") return node.Scalar();  // quoted or a block: text whatever it looks like
  const json plain = json::parse(node.Scalar(), nullptr, false);
  return plain.is_discarded() ? json(node.Scalar()) : plain;
}

std::vector<json> documents_of(const std::string& yaml) {
  std::vector<json> documents;
  for (const YAML::Node& node : YAML::LoadAll(yaml)) documents.push_back(from_yaml(node));
  return documents;
}

bool is_of_type(const json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number_integer();
  return type == "number" && value.is_number();
}

// What is wrong, a line each, by the part of JSON Schema that CustomResourceDefinitions use. Unknown fields are wrong.
void validate(const json& value, const json& schema, const std::string& at, std::string* wrong) {
  const auto say = [&](const std::string& words) { *wrong += at + ": " + words + "\n"; };
  const bool int_or_string = schema.value("x-kubernetes-int-or-string", false);
  if (int_or_string ? !value.is_string() && !value.is_number_integer()
                    : schema.contains("type") && !is_of_type(value, schema["type"]))
    return say("is of the wrong type: " + value.dump());
  if (schema.contains("enum") && std::find(schema["enum"].begin(), schema["enum"].end(), value) == schema["enum"].end())
    say(value.dump() + " is none of " + schema["enum"].dump());
  if (schema.contains("pattern") && value.is_string() &&
      !std::regex_match(value.get<std::string>(), std::regex(schema["pattern"].get<std::string>())))
    say(value.dump() + " does not look like " + schema["pattern"].dump());
  if (schema.contains("minimum") && value.is_number() && value < schema["minimum"]) say("is too small");
  if (schema.contains("maximum") && value.is_number() && value > schema["maximum"]) say("is too large");
  if (value.is_array() && value.size() < schema.value("minItems", size_t{0})) say("has too few entries");
  for (const json& name : schema.value("required", json::array()))
    if (!value.contains(name)) say("lacks " + name.dump());
  if (value.is_array())
    for (size_t i = 0; i < value.size(); ++i)
      validate(value[i], schema.value("items", json::object()), at + "[" + std::to_string(i) + "]", wrong);
  if (!value.is_object()) return;
  const json properties = schema.value("properties", json::object());
  const bool anything = !schema.contains("properties") && !schema.contains("additionalProperties");
  for (const auto& [name, part] : value.items()) {
    if (properties.contains(name)) {
      validate(part, properties[name], at + "." + name, wrong);
    } else if (schema.contains("additionalProperties") && schema["additionalProperties"].is_object()) {
      validate(part, schema["additionalProperties"], at + "." + name, wrong);
    } else if (!anything) {
      say("has an unknown field " + name);
    }
  }
}

std::string wrong_with(const json& job, const json& schema) {
  std::string wrong;
  validate(job, schema, "MPIJob", &wrong);
  return wrong;
}

json own_schema() {
  std::ifstream in(TEPHRA_SOURCE_DIR "/tests/cli/mpijob_schema.json");
  return json::parse(in);
}

recipes::Recipe recipe() {
  recipes::Recipe recipe;
  recipe.name = "1-5-llava-tiny";
  recipe.gang.ranks = 8;
  recipe.gang.threads_per_rank = 2;
  recipe.model.llava = "/tephra/models/llava";
  recipe.datasets.push_back({"talk", "llava", {{"conversations", "/tephra/data/c.json"}, {"images", "/tephra/data"}}});
  return recipe;
}

ManifestOptions options() {
  ManifestOptions options;
  options.image = "registry/tephra:1";
  options.claim = "training";
  options.workers = 4;
  return options;
}

TEST(KubernetesManifest, FitsTheSchemaOfTheMpiOperator) {
  ManifestOptions o = options();
  for (const bool everything : {false, true}) {
    if (everything) {
      o.name = "mine";
      o.name_space = "research";
      o.memory = "64Gi";
      o.gpus_per_worker = 2;
    }
    const auto made = kubernetes_manifest(recipe(), o);
    ASSERT_TRUE(made.ok()) << made.status().to_string();
    const std::vector<json> read = documents_of(to_yaml(*made));
    ASSERT_EQ(read.size(), 2u);
    EXPECT_EQ(read[1], (*made)[1]) << "what YAML says is what was meant:\n" << to_yaml(*made);
    EXPECT_EQ(read[0], (*made)[0]);
    EXPECT_EQ(wrong_with(read[1], own_schema()), "");
  }
}

TEST(KubernetesManifest, FitsTheOperatorsOwnDefinition) {
  const char* path = std::getenv("TEPHRA_MPIJOB_CRD");
  if (path == nullptr) GTEST_SKIP() << "NOT RUN: name the MPI operator's CustomResourceDefinition in TEPHRA_MPIJOB_CRD";
  const json definition = from_yaml(YAML::LoadFile(path));
  json schema;
  for (const json& version : definition["spec"]["versions"])
    if (version["name"] == "v2beta1") schema = version["schema"]["openAPIV3Schema"];
  ASSERT_TRUE(schema.is_object());
  ManifestOptions o = options();
  o.memory = "64Gi";
  o.gpus_per_worker = 2;
  EXPECT_EQ(wrong_with((*kubernetes_manifest(recipe(), o))[1], schema), "");
}

TEST(KubernetesManifest, ItsPodsFitKubernetesOwnSchemas) {
  TEPHRA_REQUIRE_API_PYTHON("kubernetes-validate");
  TempDir dir;
  const auto validated = [&](const std::vector<json>& manifest) {
    std::ofstream(dir / "manifest.yaml") << to_yaml(manifest);
    return run_python(api_python(),
                      "'" TEPHRA_SOURCE_DIR "/tests/cli/validate_manifest.py' '" + (dir / "manifest.yaml") + "'",
                      dir / "said");
  };
  ManifestOptions o = options();
  EXPECT_TRUE(validated(*kubernetes_manifest(recipe(), o)));
  o.name_space = "research";
  o.memory = "64Gi";
  o.gpus_per_worker = 2;
  std::vector<json> manifest = *kubernetes_manifest(recipe(), o);
  EXPECT_TRUE(validated(manifest));
  // It sees what is wrong.
  json& pod = manifest[1]["spec"]["mpiReplicaSpecs"]["Worker"]["template"]["spec"];
  pod["containers"][0]["imagePullPolicies"] = "Always";
  const auto unknown = validated(manifest);
  EXPECT_NE(std::string(unknown.message()).find("imagePullPolicies"), std::string::npos) << unknown.message();
  pod["containers"][0].erase("imagePullPolicies");
  pod["containers"][0]["command"] = "sshd";
  const auto no_list = validated(manifest);
  EXPECT_NE(std::string(no_list.message()).find("Worker: "), std::string::npos) << no_list.message();
}

// The schema and its reader see what is wrong.
TEST(KubernetesManifest, TheSchemaRefusesWhatTheOperatorWould) {
  const json good = (*kubernetes_manifest(recipe(), options()))[1];
  const struct {
    const char* where;
    json value;  // null: taken away
    const char* words;
  } cases[] = {
      {"/apiVersion", "kubeflow.org/v1", "is none of"},
      {"/spec/slotsPerWorker", "4", "wrong type"},
      {"/spec/slotsPerWorker", -1, "too small"},
      {"/spec/slotsPerWorker", int64_t{1} << 31, "too large"},
      {"/spec/waitForWorkers", true, "unknown field waitForWorkers"},
      {"/spec/launcherCreationPolicy", "WaitForWorkers", "is none of"},
      {"/spec/mpiImplementation", "MVAPICH", "is none of"},
      {"/spec/runPolicy/cleanPodPolicy", "Never", "is none of"},
      {"/spec/mpiReplicaSpecs/Launcher", nullptr, "lacks \"Launcher\""},
      {"/spec/mpiReplicaSpecs/Launcher/replicas", 2, "is none of"},
      {"/spec/mpiReplicaSpecs/Worker/replicas", 0, "too small"},
      {"/spec/mpiReplicaSpecs/Worker/template/spec/containers", json::array(), "too few"},
      {"/spec/mpiReplicaSpecs/Worker/template/spec/containers/0/image", nullptr, "lacks \"image\""},
      {"/spec/mpiReplicaSpecs/Worker/restartPolicy", "Always", "is none of"},
      {"/spec/slots", 4, "unknown field slots"},
      {"/spec/mpiReplicaSpecs/Launcher/template/spec/containers/0/resources/requests/cpu", "many",
       "does not look like"},
      {"/metadata/name", "Not-A-Label", "does not look like"},
  };
  for (const auto& c : cases) {
    json job = good;
    const json::json_pointer at(c.where);
    if (c.value.is_null()) {
      job[at.parent_pointer()].erase(at.back());
    } else {
      job[at] = c.value;
    }
    EXPECT_NE(wrong_with(job, own_schema()).find(c.words), std::string::npos)
        << c.where << wrong_with(job, own_schema());
  }
}

TEST(KubernetesManifest, SpreadsTheRanksAndRunsTheRecipeOverTheOperatorsHosts) {
  const auto made = kubernetes_manifest(recipe(), options());
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const json &config = (*made)[0], &job = (*made)[1];
  EXPECT_EQ(job["metadata"]["name"], "tephra-1-5-llava-tiny");
  EXPECT_EQ(job["spec"]["slotsPerWorker"], 4);  // two ranks of two threads
  const json& replicas = job["spec"]["mpiReplicaSpecs"];
  EXPECT_EQ(replicas["Worker"]["replicas"], 4);
  EXPECT_EQ(replicas["Worker"]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"], "4");
  const json& launcher = replicas["Launcher"]["template"]["spec"];
  const std::string command = launcher["containers"][0]["command"].dump();
  EXPECT_NE(command.find(R"("run","/etc/tephra/recipe.yaml","--store","/tephra/store","--launcher","hosts")"),
            std::string::npos)
      << command;
  EXPECT_NE(command.find(R"("--hosts-file","/etc/mpi/hostfile")"), std::string::npos) << command;
  // The launcher's pod alone sees the recipe.
  EXPECT_EQ(launcher["volumes"].back()["configMap"]["name"], config["metadata"]["name"]);
  EXPECT_EQ(replicas["Worker"]["template"]["spec"]["volumes"].dump().find("configMap"), std::string::npos);
}

TEST(KubernetesManifest, TheRecipeInItIsTheRecipe) {
  const auto shipped = recipes::load_recipe(TEPHRA_SOURCE_DIR "/recipes/demo.yaml", {});
  ASSERT_TRUE(shipped.ok());
  ManifestOptions o = options();
  o.mount = TEPHRA_SOURCE_DIR;
  o.workers = 1;
  const auto made = kubernetes_manifest(shipped.recipe, o);
  ASSERT_TRUE(made.ok()) << made.status().to_string();
  const std::string path = ::testing::TempDir() + "/tephra_manifest_recipe_" + std::to_string(getpid()) + ".yaml";
  std::ofstream(path) << documents_of(to_yaml(*made))[0]["data"]["recipe.yaml"].get<std::string>();
  const auto read = recipes::load_recipe(path, {});
  EXPECT_TRUE(read.ok()) << tephra::to_string(read.diagnostics);
  EXPECT_EQ(recipes::to_json(read.recipe), recipes::to_json(shipped.recipe));
  std::filesystem::remove(path);
}

TEST(KubernetesManifest, WhatCannotRunIsRefusedWithWhatToDo) {
  const auto refused = [](const recipes::Recipe& recipe, const ManifestOptions& options) {
    const auto made = kubernetes_manifest(recipe, options);
    EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
    return made.status().message();
  };
  ManifestOptions o = options();
  o.workers = 3;
  EXPECT_EQ(refused(recipe(), o), "--workers 3 does not divide the recipe's 8 ranks (gang.ranks)");
  o = options();
  o.name = "Big Job";
  EXPECT_NE(refused(recipe(), o).find("small letters"), std::string::npos);
  o = options();
  o.mount = "tephra/";
  EXPECT_NE(refused(recipe(), o).find("no absolute path"), std::string::npos);
  recipes::Recipe elsewhere = recipe();
  elsewhere.model.llava = "/tephra/../home/me/llava";
  EXPECT_NE(refused(elsewhere, options()).find("/tephra/../home/me/llava, which the pods do not see"),
            std::string::npos);
}

}  // namespace
}  // namespace tephra::cli
