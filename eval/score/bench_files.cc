#include "eval/score/bench_files.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <set>
#include <sstream>

#include "base/env.h"
#include "base/hash.h"
#include "data/image.h"
#include "eval/score/json_lines.h"
#include "eval/score/yes_no.h"

namespace tephra::eval {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

const char* const kPopeFormat =
    "POPE's questions, {\"question_id\", \"image\", \"text\", \"label\": \"yes\" or \"no\"}";
const char* const kMmeFormat = "MME's lines, picture <tab> question <tab> Yes or No, in a file TASK.txt for each task";
const char* const kAnswerFormat = "answers, {\"question_id\", \"text\" or \"answer\"}";

Status invalid(const std::string& path, const std::string& what, const std::string& format) {
  return {Code::kInvalidArgument, path + ": " + what + "; it should hold " + format};
}

Result<Json> read_json(const std::string& path, const std::string& format) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return invalid(path, "is not JSON", format);
  return json;
}

// Files of a folder that end in one of `extensions`, sorted; the path itself when it is a file.
Result<std::vector<std::string>> files_of(const std::string& path, const std::set<std::string>& extensions) {
  if (!fs::is_directory(path)) return std::vector<std::string>{path};
  TEPHRA_ASSIGN_OR_RETURN(const auto names, Env::posix().list(path));
  std::vector<std::string> out;
  for (const std::string& name : names)
    if (extensions.contains(fs::path(name).extension().string())) out.push_back((fs::path(path) / name).string());
  if (out.empty()) return Status(Code::kNotFound, path + ": the folder has no " + *extensions.begin() + " file");
  return out;
}

Status add_hash(const std::string& path, std::string* hashes) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string bytes, read_file(Env::posix(), path));
  *hashes += hash_text(bytes).hex();
  return ok_status();
}

// Full path of a picture below `root`; "" without a root. One outside of it is refused, as reports show pictures.
Result<std::string> picture(const std::string& root, const std::string& relative, const std::string& where) {
  if (root.empty() || relative.empty()) return std::string();
  const Status inside = data::resolve_image_path(root, relative).status();
  if (inside.code() == Code::kInvalidArgument) return Status(Code::kInvalidArgument, where + ": " + inside.message());
  return (fs::path(root) / relative).string();
}

Question ask(std::string id, const std::string& text, std::string image, const std::string& instruction) {
  Question q;
  q.id = std::move(id);
  q.image = std::move(image);
  q.turns = {{"human", (q.image.empty() ? "" : "<image>\n") + text + (instruction.empty() ? "" : "\n" + instruction)}};
  return q;
}

Result<QuestionSet> pope_questions(const BenchFiles& files, const std::string& instruction) {
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(const auto paths, files_of(files.questions, {".json", ".jsonl"}));
  std::string hashes;
  for (const std::string& path : paths) {
    TEPHRA_RETURN_IF_ERROR(add_hash(path, &hashes));
    // coco_pope_random.json: the file's name says how the absent objects were drawn.
    const std::string stem = fs::path(path).stem().string();
    const size_t last = stem.rfind('_');
    const std::string kind = last == std::string::npos ? stem : stem.substr(last + 1);
    TEPHRA_ASSIGN_OR_RETURN(const auto objects, read_json_objects(path, kPopeFormat));
    for (const Json& object : objects) {
      const std::string id = id_of(object, "question_id"), text = text_of(object, "text"),
                        label = text_of(object, "label");
      if (id.empty() || text.empty() || (label != "yes" && label != "no"))
        return invalid(path, "question '" + id + "' lacks a text, or a label yes or no", kPopeFormat);
      TEPHRA_ASSIGN_OR_RETURN(std::string image, picture(files.images, text_of(object, "image"), path));
      Question q = ask(paths.size() > 1 ? kind + "/" + id : id, text, std::move(image), instruction);
      q.reference = label;
      q.category = object.contains("category") ? text_of(object, "category") : kind;
      set.questions.push_back(std::move(q));
    }
  }
  set.data_hash = hash_text(hashes).hex();
  return set;
}

struct MmeLine {
  std::string image, question, label, answer;
};

Result<std::vector<MmeLine>> read_mme(const std::string& path) {
  TEPHRA_ASSIGN_OR_RETURN(const std::string text, read_file(Env::posix(), path));
  std::vector<MmeLine> out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    std::vector<std::string> cells;
    std::istringstream row(line);
    for (std::string cell; std::getline(row, cell, '\t');) cells.push_back(cell);
    if (cells.size() < 3)
      return invalid(path, "line " + std::to_string(out.size() + 1) + " has fewer than three columns", kMmeFormat);
    for (char& c : cells[2]) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (cells[2] != "yes" && cells[2] != "no")
      return invalid(path, "line " + std::to_string(out.size() + 1) + " has the answer '" + cells[2] + "'", kMmeFormat);
    out.push_back({cells[0], cells[1], cells[2], cells.size() > 3 ? cells[3] : ""});
  }
  return out;
}

// "existence/000000006040.jpg#0": task, picture, and which of its questions.
class MmeIds {
 public:
  std::string next(const std::string& task_and_image) {
    return task_and_image + "#" + std::to_string(seen_[task_and_image]++);
  }

 private:
  std::map<std::string, int> seen_;
};

Result<QuestionSet> mme_questions(const BenchFiles& files, const std::string& instruction) {
  QuestionSet set;
  TEPHRA_ASSIGN_OR_RETURN(const auto paths, files_of(files.questions, {".txt"}));
  std::string hashes;
  for (const std::string& path : paths) {
    const std::string task = fs::path(path).stem().string();
    if (mme_group(task).empty()) return invalid(path, "'" + task + "' is no task of MME", kMmeFormat);
    TEPHRA_ASSIGN_OR_RETURN(const auto lines, read_mme(path));
    MmeIds ids;
    for (const MmeLine& line : lines) {
      // Not the answers: a file of predictions holds the same questions.
      hashes += task + line.image + line.question + line.label;
      // Pictures lie in TASK/ or, in some copies, in TASK/images/.
      std::string relative = task + "/" + line.image;
      if (!files.images.empty() && !Env::posix().exists(files.images + "/" + relative)) {
        const std::string deeper = task + "/images/" + line.image;
        if (Env::posix().exists(files.images + "/" + deeper)) relative = deeper;
      }
      TEPHRA_ASSIGN_OR_RETURN(std::string image, picture(files.images, relative, path));
      Question q = ask(ids.next(task + "/" + line.image), line.question, std::move(image), instruction);
      q.reference = line.label;
      q.category = task;
      q.group = task + "/" + line.image;
      set.questions.push_back(std::move(q));
    }
  }
  set.data_hash = hash_text(hashes).hex();
  return set;
}

Result<QuestionSet> vqav2_questions(const BenchFiles& files, const std::string& instruction) {
  const std::string format = "VQA's questions, {\"questions\": [{\"question_id\", \"image_id\", \"question\"}]}";
  const std::string answers =
      "VQA's annotations, {\"annotations\": [{\"question_id\", \"answers\": [{\"answer\"}, ...]}]}";
  TEPHRA_ASSIGN_OR_RETURN(const Json json, read_json(files.questions, format));
  TEPHRA_ASSIGN_OR_RETURN(const Json people, read_json(files.annotations, answers));
  if (!json.is_object() || !json.contains("questions")) return invalid(files.questions, "has no \"questions\"", format);
  if (!people.is_object() || !people.contains("annotations"))
    return invalid(files.annotations, "has no \"annotations\"", answers);
  std::map<std::string, const Json*> by_id;
  for (const Json& entry : people["annotations"]) by_id[id_of(entry, "question_id")] = &entry;
  QuestionSet set;
  const std::string subset = text_of(json, "data_subtype");
  for (const Json& entry : json["questions"]) {
    const std::string id = id_of(entry, "question_id");
    const auto found = by_id.find(id);
    if (id.empty() || found == by_id.end() || !found->second->contains("answers"))
      return invalid(files.annotations, "has no answers to question '" + id + "' of " + files.questions, answers);
    char name[64];
    std::snprintf(name, sizeof name, "COCO_%s_%012lld.jpg", subset.c_str(),
                  std::atoll(id_of(entry, "image_id").c_str()));
    TEPHRA_ASSIGN_OR_RETURN(std::string image, picture(files.images, name, files.questions));
    Question q = ask(id, text_of(entry, "question"), std::move(image), instruction);
    for (const Json& answer : (*found->second)["answers"]) q.references.push_back(text_of(answer, "answer"));
    q.reference = text_of(*found->second, "multiple_choice_answer");
    q.category = text_of(*found->second, "answer_type");
    set.questions.push_back(std::move(q));
  }
  std::string hashes;
  TEPHRA_RETURN_IF_ERROR(add_hash(files.questions, &hashes));
  TEPHRA_RETURN_IF_ERROR(add_hash(files.annotations, &hashes));
  set.data_hash = hash_text(hashes).hex();
  return set;
}

// The answer that most people gave; of equally frequent ones the first.
std::string most_frequent(const std::vector<std::string>& answers) {
  std::string best;
  long most = 0;
  for (const std::string& answer : answers)
    if (const auto n = std::count(answers.begin(), answers.end(), answer); n > most) most = n, best = answer;
  return best;
}

Result<QuestionSet> textvqa_questions(const BenchFiles& files, const std::string& instruction) {
  const std::string format =
      "TextVQA's data, {\"data\": [{\"question_id\", \"image_id\", \"question\", \"answers\": [ten texts]}]}";
  TEPHRA_ASSIGN_OR_RETURN(const Json json, read_json(files.questions, format));
  if (!json.is_object() || !json.contains("data")) return invalid(files.questions, "has no \"data\"", format);
  QuestionSet set;
  for (const Json& entry : json["data"]) {
    const std::string id = id_of(entry, "question_id");
    if (id.empty() || !entry.contains("answers") || !entry["answers"].is_array())
      return invalid(files.questions, "question '" + id + "' has no answers", format);
    TEPHRA_ASSIGN_OR_RETURN(std::string image,
                            picture(files.images, id_of(entry, "image_id") + ".jpg", files.questions));
    Question q = ask(id, text_of(entry, "question"), std::move(image), instruction);
    for (const Json& answer : entry["answers"])
      if (answer.is_string()) q.references.push_back(answer);
    q.reference = most_frequent(q.references);
    q.group = id_of(entry, "image_id");
    set.questions.push_back(std::move(q));
  }
  TEPHRA_RETURN_IF_ERROR(add_hash(files.questions, &set.data_hash));
  return set;
}

Result<QuestionSet> caption_questions(const BenchFiles& files, const std::string& instruction) {
  const std::string format =
      "COCO's captions, {\"images\": [{\"id\", \"file_name\"}], \"annotations\": [{\"image_id\", \"caption\"}]}";
  TEPHRA_ASSIGN_OR_RETURN(const Json json, read_json(files.questions, format));
  if (!json.is_object() || !json.contains("images") || !json.contains("annotations"))
    return invalid(files.questions, "has no \"images\" or no \"annotations\"", format);
  std::map<std::string, std::vector<std::string>> captions;
  for (const Json& entry : json["annotations"]) captions[id_of(entry, "image_id")].push_back(text_of(entry, "caption"));
  QuestionSet set;
  for (const Json& entry : json["images"]) {
    const std::string id = id_of(entry, "id");
    if (!captions.contains(id)) return invalid(files.questions, "picture '" + id + "' has no caption", format);
    TEPHRA_ASSIGN_OR_RETURN(std::string image, picture(files.images, text_of(entry, "file_name"), files.questions));
    Question q = ask(id, instruction, std::move(image), "");
    q.references = captions[id];
    q.reference = q.references.front();
    set.questions.push_back(std::move(q));
  }
  TEPHRA_RETURN_IF_ERROR(add_hash(files.questions, &set.data_hash));
  return set;
}

// What a picture shows, for a judge that cannot see it: captions, then "what: [left, top, right, bottom]" a line. In-the-Wild's have
// one "caption".
std::string context_of(const Json& object) {
  std::string out = text_of(object, "caption");
  if (object.contains("captions"))
    for (const Json& caption : object["captions"])
      if (caption.is_string()) out += (out.empty() ? "" : "\n") + caption.get<std::string>();
  if (object.contains("instances"))
    for (const Json& thing : object["instances"])
      out += "\n" + text_of(thing, "category") + ": " + (thing.contains("bbox") ? thing["bbox"].dump() : "");
  return out;
}

Result<QuestionSet> llava_bench_questions(const BenchFiles& files) {
  const std::string format = "LLaVA-Bench's questions, {\"question_id\", \"image\", \"text\", \"category\"}";
  TEPHRA_ASSIGN_OR_RETURN(const auto questions, read_json_objects(files.questions, format));
  TEPHRA_ASSIGN_OR_RETURN(const auto references, read_json_objects(files.reference, kAnswerFormat));
  std::vector<Json> contexts;
  if (!files.context.empty()) {
    TEPHRA_ASSIGN_OR_RETURN(
        contexts, read_json_objects(files.context, "{\"image\", \"caption\" or \"captions\", \"instances\"?}"));
  }
  std::map<std::string, std::string> reference_of, context_by_image;
  for (const Json& object : references) reference_of[id_of(object, "question_id")] = text_of(object, "text");
  // The COCO files name a picture with and without its split ("COCO_val2014_" in front, or not); the number is what counts.
  const auto image_key = [](std::string name) {
    return name.substr(name.rfind('_') == std::string::npos ? 0 : name.rfind('_') + 1);
  };
  for (const Json& object : contexts) context_by_image[image_key(text_of(object, "image"))] = context_of(object);
  QuestionSet set;
  for (const Json& object : questions) {
    const std::string id = id_of(object, "question_id"), image = text_of(object, "image");
    if (id.empty() || text_of(object, "text").empty())
      return invalid(files.questions, "question '" + id + "' has no text", format);
    if (!reference_of.contains(id))
      return invalid(files.reference, "has no answer to question '" + id + "' of " + files.questions, kAnswerFormat);
    TEPHRA_ASSIGN_OR_RETURN(std::string file, picture(files.images, image, files.questions));
    Question q = ask(id, text_of(object, "text"), std::move(file), "");
    q.reference = reference_of[id];
    q.category = text_of(object, "category");
    if (const auto found = context_by_image.find(image_key(image)); found != context_by_image.end())
      q.context = found->second;
    if (!contexts.empty() && q.context.empty())
      return invalid(files.context, "says nothing of picture '" + image + "' of question '" + id + "'",
                     "a line for each picture");
    set.questions.push_back(std::move(q));
  }
  std::string hashes;
  for (const std::string& path : {files.questions, files.reference, files.context})
    if (!path.empty()) TEPHRA_RETURN_IF_ERROR(add_hash(path, &hashes));
  set.data_hash = hash_text(hashes).hex();
  return set;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// TextVQA's answers by LLaVA name the picture and hold the question within the prompt.
std::string textvqa_id(const Json& object, const QuestionSet& set) {
  const std::string id = id_of(object, "question_id"), prompt = lower(text_of(object, "prompt"));
  if (prompt.empty()) return id;
  for (const Question& q : set.questions) {
    const std::string text = question_text(q);  // the question, then the instruction on a line of its own
    if (q.group == id && prompt.find(lower(text.substr(0, text.find('\n')))) != std::string::npos) return q.id;
  }
  return id;
}

}  // namespace

BenchFiles bench_files(const std::map<std::string, std::string>& options) {
  const auto option = [&](const char* key) { return options.contains(key) ? options.at(key) : std::string(); };
  return {option("questions"), option("annotations"), option("images"), option("reference"), option("context")};
}

const std::vector<std::string>& file_bench_kinds() {
  static const std::vector<std::string> kinds = {"pope", "mme", "vqav2", "textvqa", "captions", "llava_bench"};
  return kinds;
}

std::string default_instruction(const std::string& kind) {
  if (kind == "captions") return "Describe the picture in one sentence.";
  if (kind == "llava_bench") return "";
  return "Answer the question using a single word or phrase.";
}

Result<QuestionSet> load_bench_files(const std::string& kind, const BenchFiles& files, const std::string& instruction) {
  if (files.questions.empty()) return Status(Code::kInvalidArgument, "bench " + kind + " needs its questions");
  if (kind == "pope") return pope_questions(files, instruction);
  if (kind == "mme") return mme_questions(files, instruction);
  if (kind == "textvqa") return textvqa_questions(files, instruction);
  if (kind == "captions") return caption_questions(files, instruction);
  if (kind == "vqav2") {
    if (files.annotations.empty()) return Status(Code::kInvalidArgument, "bench vqav2 needs its annotations");
    return vqav2_questions(files, instruction);
  }
  if (kind == "llava_bench") {
    if (files.reference.empty())
      return Status(Code::kInvalidArgument, "bench llava_bench needs the reference's answers");
    return llava_bench_questions(files);
  }
  return Status(Code::kUnsupported, "no bench of kind '" + kind + "' is read from files of its own");
}

Result<std::map<std::string, std::string>> load_bench_answers(const std::string& kind, const std::string& path,
                                                              const QuestionSet& set, int64_t* unknown) {
  std::set<std::string> known;
  for (const Question& q : set.questions) known.insert(q.id);
  std::map<std::string, std::string> answers;
  *unknown = 0;
  const auto add = [&](const std::string& id, const std::string& text) {
    if (known.contains(id))
      answers[id] = text;
    else
      ++*unknown;
  };
  if (kind == "mme" && fs::is_directory(path)) {
    TEPHRA_ASSIGN_OR_RETURN(const auto paths, files_of(path, {".txt"}));
    for (const std::string& file : paths) {
      const std::string task = fs::path(file).stem().string();
      TEPHRA_ASSIGN_OR_RETURN(const auto lines, read_mme(file));
      MmeIds ids;
      for (const MmeLine& line : lines) add(ids.next(task + "/" + line.image), line.answer);
    }
  } else {
    TEPHRA_ASSIGN_OR_RETURN(const auto paths, files_of(path, {".json", ".jsonl"}));
    for (const std::string& file : paths) {
      TEPHRA_ASSIGN_OR_RETURN(const auto objects, read_json_objects(file, kAnswerFormat));
      const std::string stem = fs::path(file).stem().string();
      const std::string prefix =
          paths.size() > 1 ? stem.substr(stem.rfind('_') == std::string::npos ? 0 : stem.rfind('_') + 1) + "/" : "";
      MmeIds ids;
      size_t index = 0;
      for (const Json& object : objects) {
        std::string id = id_of(object, kind == "captions" ? "image_id" : "question_id");
        if (kind == "mme") id = ids.next(id);
        if (kind == "textvqa") id = textvqa_id(object, set);
        // POPE's own script goes by the order of the questions.
        if (id.empty() && kind == "pope" && index < set.questions.size()) id = set.questions[index].id;
        const char* key = kind == "captions" ? "caption" : object.contains("answer") ? "answer" : "text";
        if (id.empty() || !object.contains(key) || !object[key].is_string())
          return invalid(file, "entry " + std::to_string(index) + " lacks an id or a text",
                         kind == "captions" ? "captions, {\"image_id\", \"caption\"}" : kAnswerFormat);
        add(known.contains(id) ? id : prefix + id, object[key]);
        ++index;
      }
    }
  }
  if (answers.empty())
    return Status(Code::kInvalidArgument,
                  path + ": answers none of the bench's " + std::to_string(known.size()) + " questions");
  return answers;
}

}  // namespace tephra::eval
