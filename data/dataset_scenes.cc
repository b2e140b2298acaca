#include "data/dataset_scenes.h"

#include <nlohmann/json.hpp>

#include "base/random.h"
#include "data/conversation.h"
#include "data/dataset_folder.h"
#include "data/scene_questions.h"
#include "data/scene_text.h"
#include "data/scene_world.h"
#include "data/template.h"

namespace tephra::data {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFormatVersion =
    3;  // of the words and pixels below; raise it when either changes, so that old folders are redone
constexpr uint64_t kTextKey = 0x74657874;
constexpr std::string_view kPromptFormat = "CQM-A";
constexpr int kQuestionsPerPicture = 3;

Json options_json(const SceneDatasetOptions& o) {
  return {{"format", kFormatVersion},
          {"seed", o.seed},
          {"image_size", o.image_size},
          {"train_scenes", o.train_scenes},
          {"validation_questions", o.validation_questions},
          {"test_questions", o.test_questions},
          {"heldout_conversations", o.heldout_conversations},
          {"text_questions", o.text_questions},
          {"corpus_scenes", o.corpus_scenes}};
}

// Several questions on one scene, as turns of one conversation: the picture and the system text are paid for once.
Result<std::vector<SceneExchange>> choices_about(const Scene& scene, uint64_t key, int count,
                                                 std::span<const SceneQuestionKind> always = {}) {
  std::vector<SceneExchange> out;
  for (const SceneQuestion& question : questions_about(scene, key, count, always)) {
    TEPHRA_ASSIGN_OR_RETURN(SceneExchange exchange, scienceqa_exchange(question.problem, kPromptFormat));
    out.push_back(std::move(exchange));
  }
  return out;
}

// LLaVA's three kinds of instruction data, by the word that sample ids have for each.
struct Talk {
  const char* name;
  std::vector<SceneExchange> (*about)(const Scene& scene, uint64_t key);
};
constexpr Talk kConversation = {"talk", conversation};
constexpr Talk kDetail = {
    "detail", [](const Scene& scene, uint64_t key) { return std::vector{detailed_description(scene, key)}; }};
constexpr Talk kReasoning = {
    "reason", [](const Scene& scene, uint64_t key) { return std::vector{complex_reasoning(scene, key)}; }};

// What a language model learns late, so its corpus asks for it more often: a color by shape in every conversation, a shape by place in
// every second one.
constexpr SceneQuestionKind kLearntLate[] = {SceneQuestionKind::kColorOfShape, SceneQuestionKind::kShapeAtPlace};

// Multiple-choice questions and one of the other kinds of talk in one conversation, either of them first.
Result<std::vector<SceneExchange>> talk_of_all_kinds(const Scene& scene, uint64_t key) {
  static constexpr Talk kKinds[] = {kDetail, kReasoning, kConversation, kConversation};
  TEPHRA_ASSIGN_OR_RETURN(
      std::vector<SceneExchange> turns,
      choices_about(scene, key, kQuestionsPerPicture + 1, std::span(kLearntLate).first(1 + random_below(2, {key, 5}))));
  const std::vector<SceneExchange> talk = kKinds[random_below(4, {key, 3})].about(scene, key);
  turns.insert(random_below(2, {key, 4}) == 0 ? turns.begin() : turns.end(), talk.begin(), talk.end());
  return turns;
}

// The same question with its scene told in the hint instead of shown.
ScienceQaProblem told(const SceneQuestion& question) {
  ScienceQaProblem problem = question.problem;
  problem.hint = chart(question.scene);
  return problem;
}

Json problem_json(const ScienceQaProblem& p, std::string_view split) {
  return {{"question", p.question},
          {"choices", p.choices},
          {"answer", p.answer},
          {"hint", p.hint},
          {"image", p.image.empty() ? Json(nullptr) : Json(p.image)},
          {"task", p.task},
          {"grade", p.grade},
          {"subject", p.subject},
          {"topic", p.topic},
          {"category", p.category},
          {"skill", p.skill},
          {"lecture", p.lecture},
          {"solution", p.solution},
          {"split", split}};
}

Json scene_json(const Scene& scene, const std::string& image, int size) {
  Json objects = Json::array();
  const std::vector<SceneBox> all = boxes(scene, size);
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const SceneObject& o = scene.objects[i];
    objects.push_back({{"shape", word(o.shape)},
                       {"color", word(o.color)},
                       {"size", o.large ? "large" : "small"},
                       {"place", word(o.place)},
                       {"box", {all[i].x0, all[i].y0, all[i].x1, all[i].y1}}});
  }
  return {{"image", image},
          {"width", size},
          {"height", size},
          {"caption", caption(scene)},
          {"split", name(split_of(scene))},
          {"objects", std::move(objects)}};
}

// A document of corpus.json as the plain text that a tokenizer is trained on: conversations in template v1.
Result<std::string> words_of(const Json& document) {
  if (document.contains("text")) return document["text"].get<std::string>();
  std::vector<Turn> turns;
  for (const Json& t : document["conversations"])
    turns.push_back({t["from"].get<std::string>(), t["value"].get<std::string>()});
  return render_prompt("v1", turns, /*for_generation=*/false);
}

class Writer {
 public:
  Writer(Env& env, const SceneDatasetOptions& options)
      : options_(options), folder_(env, options.out_dir, options_json(options)) {}

  Status write_all();

 private:
  Status write_picture(const std::string& relative, const Scene& scene) {
    return folder_.write_picture(relative, draw(scene, options_.image_size));
  }
  Status write_train();
  Status write_heldout();
  Status write_scienceqa();
  Status add_problems(SceneSplit split, int count, int told_count, Json& problems, Json& pids);
  Status write_corpus();
  Status add_instruct(int index, const Scene& scene, const std::string& image);

  const SceneDatasetOptions& options_;
  DatasetFolder folder_;
  Json captions_ = Json::array(), instruct_ = Json::array(), scenes_ = Json::array();
};

// Every picture gives one sample of several multiple-choice questions, and in turn one of the other kinds; each fourth adds a
// sample without a picture, about another scene that is told in words.
Status Writer::add_instruct(int index, const Scene& scene, const std::string& image) {
  const std::string id = numbered(index);
  const uint64_t key = random_bits({kTextKey, options_.seed, static_cast<uint64_t>(index)});
  TEPHRA_ASSIGN_OR_RETURN(std::vector<SceneExchange> choices, choices_about(scene, key, kQuestionsPerPicture));
  instruct_.push_back(sample_json("choice-" + id, image, choices));
  static constexpr Talk kKinds[] = {kConversation, kConversation, kDetail, kReasoning};
  const Talk& talk = kKinds[key % 4];
  instruct_.push_back(sample_json(std::string(talk.name) + "-" + id, image, talk.about(scene, key)));
  if (index % 4 == 0) {
    const SceneQuestion other = scene_question(options_.seed, SceneSplit::kTrain, static_cast<uint64_t>(index / 4));
    TEPHRA_ASSIGN_OR_RETURN(SceneExchange in_words, scienceqa_exchange(told(other), kPromptFormat));
    instruct_.push_back(sample_json("text-" + id, "", {std::move(in_words)}));
  }
  return ok_status();
}

Status Writer::write_train() {
  TEPHRA_RETURN_IF_ERROR(folder_.make_directories("images/train"));
  for (int i = 0; i < options_.train_scenes; ++i) {
    const Scene scene = scene_at(options_.seed, SceneSplit::kTrain, static_cast<uint64_t>(i));
    const std::string image = "train/" + numbered(i) + ".png";
    TEPHRA_RETURN_IF_ERROR(write_picture("images/" + image, scene));
    captions_.push_back(sample_json("caption-" + numbered(i), image, {{kDescribePrompts[i % 2], caption(scene)}}));
    scenes_.push_back(scene_json(scene, image, options_.image_size));
    TEPHRA_RETURN_IF_ERROR(add_instruct(i, scene, image));
  }
  TEPHRA_RETURN_IF_ERROR(folder_.write("captions.json", json_lines(captions_)));
  return folder_.write("instruct.json", json_lines(instruct_));
}

Status Writer::write_heldout() {
  TEPHRA_RETURN_IF_ERROR(folder_.make_directories("images/heldout"));
  Json samples = Json::array();
  for (int i = 0; i < options_.heldout_conversations; ++i) {
    const Scene scene = scene_at(options_.seed, SceneSplit::kTest, static_cast<uint64_t>(i));
    const std::string image = "heldout/" + numbered(i) + ".png", id = "heldout-" + numbered(i);
    const uint64_t key = random_bits({kTextKey, options_.seed, static_cast<uint64_t>(i), 1});
    TEPHRA_RETURN_IF_ERROR(write_picture("images/" + image, scene));
    scenes_.push_back(scene_json(scene, image, options_.image_size));
    // scene_at turns through the number of objects, so each kind sees all of them.
    static constexpr Talk kKinds[] = {kConversation, kDetail, kReasoning};
    samples.push_back(sample_json(id, image, kKinds[i / kScenePlaces % 3].about(scene, key)));
  }
  TEPHRA_RETURN_IF_ERROR(folder_.write("heldout.json", json_lines(samples)));
  return folder_.write("scenes.json", json_lines(scenes_));
}

Status Writer::add_problems(SceneSplit split, int count, int told_count, Json& problems, Json& pids) {
  for (int i = 0; i < count + told_count; ++i) {
    const std::string pid = std::to_string(problems.size() + 1);
    const SceneQuestion question = scene_question(options_.seed, split, static_cast<uint64_t>(i));
    ScienceQaProblem problem = i < count ? question.problem : told(question);
    if (i < count) {
      problem.image = "image.png";
      const std::string folder = "scienceqa/images/" + std::string(name(split)) + "/" + pid;
      TEPHRA_RETURN_IF_ERROR(folder_.make_directories(folder));
      TEPHRA_RETURN_IF_ERROR(write_picture(folder + "/image.png", question.scene));
    }
    problems[pid] = problem_json(problem, name(split));
    pids.push_back(pid);
  }
  return ok_status();
}

Status Writer::write_scienceqa() {
  TEPHRA_RETURN_IF_ERROR(folder_.make_directories("scienceqa"));
  Json problems = Json::object();
  Json splits = {{"train", Json::array()}, {"val", Json::array()}, {"test", Json::array()}};
  TEPHRA_RETURN_IF_ERROR(
      add_problems(SceneSplit::kValidation, options_.validation_questions, 0, problems, splits["val"]));
  TEPHRA_RETURN_IF_ERROR(
      add_problems(SceneSplit::kTest, options_.test_questions, options_.text_questions, problems, splits["test"]));
  TEPHRA_RETURN_IF_ERROR(folder_.write("scienceqa/problems.json", problems.dump(1) + "\n"));
  return folder_.write("scienceqa/pid_splits.json", splits.dump() + "\n");
}

// What a language model can learn of this world without seeing it, of scenes told where a picture would stand (as a chart, or in
// words): a few documents put it into words as stage 1 does, most ask about it, then have it described. Train layouts only.
Status Writer::write_corpus() {
  if (options_.corpus_scenes == 0) return ok_status();
  Json documents = Json::array();
  const uint64_t seed = random_bits({kTextKey, options_.seed, 2});
  for (int i = 0; i < options_.corpus_scenes; ++i) {
    const auto index = static_cast<uint64_t>(i);
    const uint64_t key = random_bits({seed, index});
    const Scene scene = scene_at(seed, SceneSplit::kTrain, index);
    const std::string id = "text-" + numbered(i),
                      told_as = random_below(8, {key, 1}) == 0 ? caption_variant(scene, key) : chart(scene);
    const uint64_t form = random_below(12, {key, 2});
    if (form == 0) {
      documents.push_back({{"id", id}, {"text", told_as + " " + caption(scene) + "\n"}});
    } else if (form == 1) {
      TEPHRA_ASSIGN_OR_RETURN(SceneExchange in_hint,
                              scienceqa_exchange(told(scene_question(seed, SceneSplit::kTrain, index)), kPromptFormat));
      documents.push_back(sample_json(id, "", {std::move(in_hint)}));
    } else {
      TEPHRA_ASSIGN_OR_RETURN(std::vector<SceneExchange> turns, talk_of_all_kinds(scene, key));
      // Last, so that the questions have to be answered from the chart and not from the caption.
      turns.push_back({kDescribePrompts[key % 2], caption(scene)});
      documents.push_back(sample_json(id, "", turns, told_as + "\n"));
    }
  }
  TEPHRA_RETURN_IF_ERROR(folder_.write("corpus.json", json_lines(documents)));
  std::string text;
  for (const Json& document : documents) {
    TEPHRA_ASSIGN_OR_RETURN(const std::string words, words_of(document));
    text += words + (words.ends_with('\n') ? "" : "\n");
  }
  return folder_.write("corpus.txt", text);
}

Status Writer::write_all() {
  TEPHRA_ASSIGN_OR_RETURN(const bool complete, folder_.begin());
  if (complete) return ok_status();
  TEPHRA_RETURN_IF_ERROR(write_train());
  TEPHRA_RETURN_IF_ERROR(write_heldout());
  TEPHRA_RETURN_IF_ERROR(write_scienceqa());
  TEPHRA_RETURN_IF_ERROR(write_corpus());
  return folder_.finish();
}

Status check_options(const SceneDatasetOptions& o) {
  const auto bad = [](const std::string& what) { return Status(Code::kInvalidArgument, "scene dataset: " + what); };
  if (o.out_dir.empty()) return bad("out_dir is empty; name a folder");
  if (o.image_size < 16 || o.image_size > 1024 || o.image_size % 2 != 0) {
    return bad("image_size " + std::to_string(o.image_size) + " is not an even number from 16 to 1024");
  }
  const int counts[] = {o.train_scenes,          o.validation_questions, o.test_questions,
                        o.heldout_conversations, o.text_questions,       o.corpus_scenes};
  for (int count : counts) {
    if (count < 0 || count > 999999) return bad("a count of " + std::to_string(count) + " is not from 0 to 999999");
  }
  return ok_status();
}

}  // namespace

Status write_scene_dataset(Env& env, const SceneDatasetOptions& options) {
  TEPHRA_RETURN_IF_ERROR(check_options(options));
  return Writer(env, options).write_all().with_context("scene dataset " + options.out_dir);
}

Status write_scene_dataset(const SceneDatasetOptions& options) { return write_scene_dataset(Env::posix(), options); }

}  // namespace tephra::data
