#include "cli/kubernetes_manifest.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <sstream>

namespace tephra::cli {
namespace {

using nlohmann::json;

constexpr size_t kNameMax = 40;  // the operator appends "-worker-12" and the whole has to be a label of DNS
constexpr char kRecipeFolder[] = "/etc/tephra";

// "LLaVA 1.5_7b" -> "llava-1-5-7b".
std::string dns_label(const std::string& text) {
  std::string label;
  for (const unsigned char c : text) {
    if (std::isalnum(c)) {
      label += static_cast<char>(std::tolower(c));
    } else if (!label.empty() && label.back() != '-') {
      label += '-';
    }
  }
  label.resize(std::min(label.size(), kNameMax));
  while (!label.empty() && label.back() == '-') label.pop_back();
  if (label.empty() || std::isdigit(static_cast<unsigned char>(label.front()))) label = "tephra-" + label;
  return label;
}

bool is_dns_label(const std::string& text) {
  return !text.empty() && text.size() <= kNameMax && dns_label(text) == text;
}

// The first path in the recipe that does not lie below `mount`; empty: all do.
std::string path_outside(const json& value, const std::string& mount) {
  if (value.is_structured()) {
    for (const json& part : value)
      if (std::string found = path_outside(part, mount); !found.empty()) return found;
    return "";
  }
  if (!value.is_string() || !value.get_ref<const std::string&>().starts_with('/')) return "";
  const std::filesystem::path path = std::filesystem::path(value.get<std::string>()).lexically_normal();
  const std::filesystem::path root(mount);
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end()
             ? ""
             : value.get<std::string>();
}

Status check(const recipes::Recipe& recipe, const ManifestOptions& o) {
  const auto wrong = [](const std::string& words) { return Status(Code::kInvalidArgument, words); };
  if (o.image.empty()) return wrong("--image names no image");
  if (!is_dns_label(o.claim)) return wrong("--claim '" + o.claim + "' is no name of a PersistentVolumeClaim");
  if (!o.name.empty() && !is_dns_label(o.name))
    return wrong("--name '" + o.name + "': small letters, digits and '-', a letter first, at most " +
                 std::to_string(kNameMax) + " of them");
  if (!o.mount.starts_with('/') || o.mount == "/" || o.mount.ends_with('/'))
    return wrong("--mount '" + o.mount + "' is no absolute path of a folder");
  if (o.workers < 1 || recipe.gang.ranks % o.workers != 0)
    return wrong("--workers " + std::to_string(o.workers) + " does not divide the recipe's " +
                 std::to_string(recipe.gang.ranks) + " ranks (gang.ranks)");
  if (o.gpus_per_worker < 0) return wrong("--gpus-per-worker is below 0");
  const std::string outside = path_outside(json::parse(recipes::to_json(recipe)), o.mount);
  if (!outside.empty())
    return wrong("the recipe names " + outside + ", which the pods do not see: what they share is " + o.mount +
                 "; put it there and name it so (--set), or choose --mount");
  return ok_status();
}

json volumes(const std::string& name, const ManifestOptions& o, bool with_recipe) {
  json list = json::array({{{"name", "shared"}, {"persistentVolumeClaim", {{"claimName", o.claim}}}},
                           {{"name", "shm"}, {"emptyDir", {{"medium", "Memory"}}}}});
  if (with_recipe) list.push_back({{"name", "recipe"}, {"configMap", {{"name", name}}}});
  return list;
}

json mounts(const ManifestOptions& o, bool with_recipe) {
  // Ranks of one pod exchange through shared memory, of which a container has 64 MiB by default.
  json list = json::array({{{"name", "shared"}, {"mountPath", o.mount}}, {{"name", "shm"}, {"mountPath", "/dev/shm"}}});
  if (with_recipe) list.push_back({{"name", "recipe"}, {"mountPath", kRecipeFolder}, {"readOnly", true}});
  return list;
}

json worker(const std::string& name, const ManifestOptions& o, int64_t slots) {
  json resources = {{"cpu", std::to_string(slots)}};
  if (!o.memory.empty()) resources["memory"] = o.memory;
  if (o.gpus_per_worker > 0) resources["nvidia.com/gpu"] = std::to_string(o.gpus_per_worker);
  const json container = {{"name", "worker"},
                          {"image", o.image},
                          {"command", {"/usr/sbin/sshd", "-De"}},
                          {"resources", {{"requests", resources}, {"limits", resources}}},
                          {"volumeMounts", mounts(o, false)}};
  return {{"replicas", o.workers},
          {"restartPolicy", "OnFailure"},
          {"template", {{"spec", {{"containers", {container}}, {"volumes", volumes(name, o, false)}}}}}};
}

// The pods' host keys are made with the image or at their start: nobody knows them before.
constexpr char kShell[] =
    "ssh -x -o BatchMode=yes -o ConnectTimeout=10 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null";

json launcher(const std::string& name, const ManifestOptions& o) {
  const json container = {
      {"name", "launcher"},
      {"image", o.image},
      {"command",
       {"tephra", "run", std::string(kRecipeFolder) + "/recipe.yaml", "--store", o.mount + "/store", "--launcher",
        "hosts", "--hosts-file", "/etc/mpi/hostfile", "--network", o.network, "--remote-shell", kShell}},
      {"resources", {{"requests", {{"cpu", "1"}, {"memory", "2Gi"}}}}},
      {"volumeMounts", mounts(o, true)}};
  // Started again, `tephra run` goes on from the last checkpoint.
  return {{"replicas", 1},
          {"restartPolicy", "OnFailure"},
          {"template", {{"spec", {{"containers", {container}}, {"volumes", volumes(name, o, true)}}}}}};
}

void write_yaml(const json& value, int indent, bool in_list, std::string* out);

// A text of several lines as it is, in a literal block; others as JSON writes them, which is YAML.
void write_scalar(const json& value, int indent, std::string* out) {
  const std::string* text = value.get_ptr<const std::string*>();
  if (text == nullptr || text->find('\n') == std::string::npos) {
    *out += " " + value.dump() + "\n";
    return;
  }
  *out += " |\n";
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) *out += std::string(indent + 2, ' ') + line + "\n";
}

void write_entry(const json& value, int indent, std::string* out) {
  if (value.is_structured() && !value.empty()) {
    *out += "\n";
    write_yaml(value, indent + 2, false, out);
  } else {
    write_scalar(value, indent, out);
  }
}

// `in_list`: the first line's place is behind "- " already.
void write_yaml(const json& value, int indent, bool in_list, std::string* out) {
  if (value.is_object()) {
    for (const auto& [key, part] : value.items()) {
      if (!in_list) *out += std::string(indent, ' ');
      in_list = false;
      *out += key + ":";  // the objects' own, which are plain
      write_entry(part, indent, out);
    }
    return;
  }
  for (const json& part : value) {
    *out += std::string(indent, ' ') + "-";
    if (part.is_object() && !part.empty()) {
      *out += " ";
      write_yaml(part, indent + 2, true, out);
    } else {
      write_entry(part, indent, out);
    }
  }
}

}  // namespace

Result<std::vector<json>> kubernetes_manifest(const recipes::Recipe& recipe, const ManifestOptions& o) {
  TEPHRA_RETURN_IF_ERROR(check(recipe, o));
  const std::string name = o.name.empty() ? dns_label(recipe.name) : o.name;
  json metadata = {{"name", name}, {"labels", {{"app.kubernetes.io/name", "tephra"}}}};
  if (!o.name_space.empty()) metadata["namespace"] = o.name_space;
  const json config = {{"apiVersion", "v1"},
                       {"kind", "ConfigMap"},
                       {"metadata", metadata},
                       {"data", {{"recipe.yaml", recipes::to_json(recipe)}}}};
  const int64_t slots = recipe.gang.ranks / o.workers * recipe.gang.threads_per_rank;
  const json job = {{"apiVersion", "kubeflow.org/v2beta1"},
                    {"kind", "MPIJob"},
                    {"metadata", metadata},
                    {"spec",
                     {{"slotsPerWorker", slots},
                      {"launcherCreationPolicy", "WaitForWorkersReady"},
                      {"runPolicy", {{"cleanPodPolicy", "Running"}, {"backoffLimit", 6}}},
                      {"mpiReplicaSpecs", {{"Launcher", launcher(name, o)}, {"Worker", worker(name, o, slots)}}}}}};
  return std::vector<json>{config, job};
}

std::string to_yaml(const std::vector<json>& documents) {
  std::string text;
  for (const json& document : documents) {
    text += "---\n";
    write_yaml(document, 0, false, &text);
  }
  return text;
}

}  // namespace tephra::cli
