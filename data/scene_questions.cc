#include "data/scene_questions.h"

#include <algorithm>

#include "base/check.h"
#include "base/random.h"

namespace tephra::data {
namespace {

constexpr uint64_t kQuestionKey = 0x7175657374;
constexpr int kChoices = 4;

struct KindFacts {
  std::string_view subject, topic, category, skill, grade;
};

const KindFacts& facts(SceneQuestionKind kind) {
  static constexpr KindFacts kFacts[kSceneQuestionKinds] = {
      {"natural science", "physics", "Light", "Identify the color of a shape", "grade3"},
      {"natural science", "physics", "Light", "Identify the color at a place", "grade2"},
      {"language science", "vocabulary", "Shape words", "Name the shape of a colored object", "grade8"},
      {"language science", "vocabulary", "Shape words", "Name the shape at a place", "grade7"},
      {"social science", "geography", "Maps", "Find an object on a map", "grade4"},
      {"natural science", "units-and-measurement", "Counting", "Count objects", "grade1"},
  };
  return kFacts[static_cast<size_t>(kind)];
}

// The word of answer number `answer` of a kind: a color, a shape, a place or a number.
std::string answer_word(SceneQuestionKind kind, int answer) {
  switch (kind) {
    case SceneQuestionKind::kColorOfShape:
    case SceneQuestionKind::kColorAtPlace: return std::string(word(static_cast<SceneColor>(answer)));
    case SceneQuestionKind::kShapeOfColor:
    case SceneQuestionKind::kShapeAtPlace: return std::string(word(static_cast<SceneShape>(answer)));
    case SceneQuestionKind::kPlaceOfColor: return std::string(word(static_cast<ScenePlace>(answer)));
    case SceneQuestionKind::kCount: return std::string(number_word(answer + 1));
  }
  return "";
}

// The question on `scene` whose answer is `answer`, with its solution, if the scene has one; `asked` picks among several.
struct Asked {
  std::string question, solution;
};

template <typename Match>
const SceneObject* choose(const Scene& scene, uint64_t asked, Match match) {
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const SceneObject& o = scene.objects[(i + asked) % scene.objects.size()];
    if (match(o)) return &o;
  }
  return nullptr;
}

std::string text(std::string_view a, std::string_view b, std::string_view c = "", std::string_view d = "",
                 std::string_view e = "") {
  std::string out;
  for (std::string_view part : {a, b, c, d, e}) out += part;
  return out;
}

bool ask(const Scene& scene, SceneQuestionKind kind, int answer, uint64_t asked, Asked& out) {
  const SceneObject* o = nullptr;
  switch (kind) {
    case SceneQuestionKind::kColorOfShape:
      o = choose(scene, asked, [&](const SceneObject& x) {
        return static_cast<int>(x.color) == answer && only_object_of(scene, x.shape) == &x;
      });
      if (o)
        out = {text("What color is the ", word(o->shape), "?"),
               text("The ", word(o->shape), " is ", word(o->color), ".")};
      break;
    case SceneQuestionKind::kColorAtPlace:
      o = choose(scene, asked, [&](const SceneObject& x) { return static_cast<int>(x.color) == answer; });
      if (o) {
        out = {text("What color is the object in the ", word(o->place), "?"),
               text("The object in the ", word(o->place), " is ", word(o->color), ".")};
      }
      break;
    case SceneQuestionKind::kShapeOfColor:
      o = choose(scene, asked, [&](const SceneObject& x) { return static_cast<int>(x.shape) == answer; });
      if (o) {
        out = {text("What shape is the ", word(o->color), " object?"),
               text("The ", word(o->color), " object is a ", word(o->shape), ".")};
      }
      break;
    case SceneQuestionKind::kShapeAtPlace:
      o = choose(scene, asked, [&](const SceneObject& x) { return static_cast<int>(x.shape) == answer; });
      if (o) {
        out = {text("What shape is in the ", word(o->place), "?"),
               text("In the ", word(o->place), " is a ", word(o->shape), ".")};
      }
      break;
    case SceneQuestionKind::kPlaceOfColor:
      o = choose(scene, asked, [&](const SceneObject& x) { return static_cast<int>(x.place) == answer; });
      if (o) {
        out = {text("Where is the ", word(o->color), " object?"),
               text("The ", word(o->color), " object is in the ", word(o->place), ".")};
      }
      break;
    case SceneQuestionKind::kCount:
      if (static_cast<int>(scene.objects.size()) != answer + 1) return false;
      out = {"How many objects are there?",
             answer == 0 ? "There is one object." : text("There are ", number_word(answer + 1), " objects.")};
      return true;
  }
  return o != nullptr;
}

SceneQuestion assemble(Scene scene, SceneQuestionKind kind, Asked asked, int answer) {
  const KindFacts& of_kind = facts(kind);
  SceneQuestion out;
  out.scene = std::move(scene);
  out.kind = kind;
  out.problem.question = std::move(asked.question);
  out.problem.solution = std::move(asked.solution);
  out.problem.lecture = "Look at the color, the shape and the place of every object.";
  for (int i = 0; i < kChoices; ++i) out.problem.choices.push_back(answer_word(kind, i));
  out.problem.answer = answer;
  out.problem.task = "closed choice";
  out.problem.grade = of_kind.grade;
  out.problem.subject = of_kind.subject;
  out.problem.topic = of_kind.topic;
  out.problem.category = of_kind.category;
  out.problem.skill = of_kind.skill;
  return out;
}

}  // namespace

SceneQuestion scene_question(uint64_t seed, SceneSplit split, uint64_t index) {
  const auto kind = static_cast<SceneQuestionKind>(index % kSceneQuestionKinds);
  const int answer = static_cast<int>(index / kSceneQuestionKinds % kChoices);
  const uint64_t key = random_bits({kQuestionKey, seed, static_cast<uint64_t>(split), index});
  for (uint64_t attempt = 0;; ++attempt) {  // about one scene in four has a given answer
    const int objects = kind == SceneQuestionKind::kCount
                            ? answer + 1
                            : 1 + static_cast<int>(random_below(kScenePlaces, {key, 1, attempt}));
    Scene scene = scene_with(key, split, attempt, objects);
    Asked asked;
    if (ask(scene, kind, answer, random_below(kScenePlaces, {key, 2}), asked)) {
      return assemble(std::move(scene), kind, std::move(asked), answer);
    }
    TEPHRA_CHECK(attempt < 100000, "no scene has this answer");
  }
}

std::vector<SceneQuestion> questions_about(const Scene& scene, uint64_t key, int count,
                                           std::span<const SceneQuestionKind> always) {
  // Kinds in a drawn order behind those that are wanted, again from the front when there are not enough. Only kColorOfShape may
  // have no question (every shape twice), so few turns are in vain.
  std::vector<SceneQuestionKind> kinds(always.begin(), always.end());
  for (uint64_t i = 0; i < kSceneQuestionKinds; ++i) {
    const auto kind = static_cast<SceneQuestionKind>(permute(i, kSceneQuestionKinds, {key, 1}));
    if (std::find(always.begin(), always.end(), kind) == always.end()) kinds.push_back(kind);
  }
  std::vector<SceneQuestion> drawn;
  for (uint64_t i = 0; static_cast<int>(drawn.size()) < count; ++i) {
    const SceneQuestionKind kind = kinds[i % kinds.size()];
    for (uint64_t k = 0; k < kChoices; ++k) {
      const int answer = static_cast<int>(permute(k, kChoices, {key, 2, i}));
      Asked asked;
      if (!ask(scene, kind, answer, random_below(kScenePlaces, {key, 3, i}), asked)) continue;
      drawn.push_back(assemble(scene, kind, std::move(asked), answer));
      break;
    }
  }
  if (always.empty()) return drawn;
  std::vector<SceneQuestion> out;  // so that the wanted ones do not always stand first
  for (uint64_t i = 0; i < drawn.size(); ++i) out.push_back(drawn[permute(i, drawn.size(), {key, 4})]);
  return out;
}

int true_choice(const Scene& scene, SceneQuestionKind kind, const ScienceQaProblem& problem) {
  // Deliberately another path than ask(): a predicate over objects for each word in the question, and the words of the
  // answers of whatever objects remain.
  const auto mentions = [&](std::string_view w) { return problem.question.find(w) != std::string::npos; };
  std::vector<std::string> truths;
  for (const SceneObject& o : scene.objects) {
    switch (kind) {
      case SceneQuestionKind::kColorOfShape:
        if (mentions(word(o.shape))) truths.emplace_back(word(o.color));
        break;
      case SceneQuestionKind::kColorAtPlace:
        if (mentions(word(o.place))) truths.emplace_back(word(o.color));
        break;
      case SceneQuestionKind::kShapeOfColor:
        if (mentions(word(o.color))) truths.emplace_back(word(o.shape));
        break;
      case SceneQuestionKind::kShapeAtPlace:
        if (mentions(word(o.place))) truths.emplace_back(word(o.shape));
        break;
      case SceneQuestionKind::kPlaceOfColor:
        if (mentions(word(o.color))) truths.emplace_back(word(o.place));
        break;
      case SceneQuestionKind::kCount:
        truths.assign(1, std::string(number_word(static_cast<int>(scene.objects.size()))));
        break;
    }
  }
  if (truths.size() != 1) return -1;
  const auto found = std::find(problem.choices.begin(), problem.choices.end(), truths[0]);
  return found == problem.choices.end() ? -1 : static_cast<int>(found - problem.choices.begin());
}

}  // namespace tephra::data
