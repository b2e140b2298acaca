#include "data/scene_text.h"

#include <algorithm>

#include "base/check.h"
#include "base/random.h"

namespace tephra::data {
namespace {

std::string join(const std::vector<std::string>& parts) {  // "a, b and c"
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += i + 1 == parts.size() ? " and " : ", ";
    out += parts[i];
  }
  return out;
}

std::string capital(std::string text) {
  if (!text.empty() && text[0] >= 'a' && text[0] <= 'z') text[0] = static_cast<char>(text[0] - 'a' + 'A');
  return text;
}

std::string in_place(ScenePlace place) { return "in the " + std::string(word(place)); }
std::string name_of(const SceneObject& o) { return std::string(word(o.color)) + " " + std::string(word(o.shape)); }

std::string count_sentence(size_t count) {
  return count == 1 ? "There is one object."
                    : "There are " + std::string(number_word(static_cast<int>(count))) + " objects.";
}

const SceneObject& pick(const Scene& scene, uint64_t key) {
  TEPHRA_CHECK(!scene.objects.empty(), "a scene without objects");
  return scene.objects[key % scene.objects.size()];
}

SceneExchange ask_color(const Scene& scene, uint64_t key) {
  const SceneObject& o = pick(scene, key);
  return {"What color is the object " + in_place(o.place) + "?",
          "The object " + in_place(o.place) + " is " + std::string(word(o.color)) + "."};
}

// By place when no shape is there only once.
SceneExchange ask_color_of_shape(const Scene& scene, uint64_t key) {
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const SceneObject& o = pick(scene, key % scene.objects.size() + i);
    if (only_object_of(scene, o.shape) == nullptr) continue;
    return {"What color is the " + std::string(word(o.shape)) + "?",
            "The " + std::string(word(o.shape)) + " is " + std::string(word(o.color)) + "."};
  }
  return ask_color(scene, key);
}

SceneExchange ask_shape(const Scene& scene, uint64_t key) {
  const SceneObject& o = pick(scene, key);
  return {"What shape is the " + std::string(word(o.color)) + " object?",
          "The " + std::string(word(o.color)) + " object is a " + std::string(word(o.shape)) + "."};
}

SceneExchange ask_place(const Scene& scene, uint64_t key) {
  const SceneObject& o = pick(scene, key);
  return {"Where is the " + name_of(o) + "?", "The " + name_of(o) + " is " + in_place(o.place) + "."};
}

SceneExchange ask_size(const Scene& scene, uint64_t key) {
  const SceneObject& o = pick(scene, key);
  return {"Is the " + name_of(o) + " large or small?", "The " + name_of(o) + " is " + (o.large ? "large." : "small.")};
}

SceneExchange ask_count(const Scene& scene, uint64_t) {
  return {"How many objects are there?", count_sentence(scene.objects.size())};
}

SceneExchange ask_what(const Scene& scene, uint64_t key) {
  const auto place = static_cast<ScenePlace>(key % kScenePlaces);
  const SceneObject* o = object_at(scene, place);
  return {"What is " + in_place(place) + "?", (o ? capital(phrase(*o)) : "Nothing") + " is " + in_place(place) + "."};
}

using Ask = SceneExchange (*)(const Scene&, uint64_t);
constexpr Ask kAsks[] = {ask_color, ask_color_of_shape, ask_shape, ask_place, ask_size, ask_count, ask_what};

SceneExchange reason_removal(const Scene& scene, uint64_t key) {
  const SceneObject& o = pick(scene, key);
  const int count = static_cast<int>(scene.objects.size());
  return {"How many objects are left without the " + name_of(o) + "?",
          count_sentence(scene.objects.size()) + " Without the " + name_of(o) + ", " +
              std::string(number_word(count - 1)) + (count == 2 ? " is left." : " are left.")};
}

SceneExchange reason_same_size(const Scene& scene, uint64_t key) {
  const SceneObject& a = scene.objects[key % scene.objects.size()];
  const SceneObject& b = scene.objects[(key + 1 + (key >> 8) % (scene.objects.size() - 1)) % scene.objects.size()];
  const std::string size_a = a.large ? "large" : "small", size_b = b.large ? "large" : "small";
  return {"Are the " + name_of(a) + " and the " + name_of(b) + " of the same size?",
          "The " + name_of(a) + " is " + size_a + " and the " + name_of(b) + " is " + size_b + ", so the answer is " +
              (a.large == b.large ? "yes." : "no.")};
}

}  // namespace

std::string phrase(const SceneObject& object) {
  return std::string(object.large ? "a large " : "a small ") + name_of(object);
}

std::string caption(const Scene& scene) {
  std::vector<std::string> parts;
  for (const SceneObject& o : scene.objects) parts.push_back(phrase(o) + " " + in_place(o.place));
  return join(parts) + ".";
}

std::string chart(const Scene& scene) {
  std::string out;
  for (int place = 0; place < kScenePlaces; ++place) {
    if (place > 0) out += ' ';
    out += static_cast<char>('a' + place);
    const SceneObject* o = object_at(scene, static_cast<ScenePlace>(place));
    if (o == nullptr) {
      out += "no";
      continue;
    }
    const char initials[] = {word(o->color)[0], o->shape == SceneShape::kCross ? 'x' : word(o->shape)[0]};
    for (char letter : initials) out += o->large ? static_cast<char>(letter - 'a' + 'A') : letter;
  }
  return out;
}

std::string caption_variant(const Scene& scene, uint64_t key) {
  std::vector<std::string> parts;
  const bool place_first = random_below(2, {key, 1}) == 1;
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const SceneObject& o = scene.objects[permute(i, scene.objects.size(), {key, 2})];
    parts.push_back(place_first ? in_place(o.place) + " " + phrase(o) : phrase(o) + " " + in_place(o.place));
  }
  return join(parts) + ".";
}

std::vector<SceneExchange> conversation(const Scene& scene, uint64_t key) {
  constexpr uint64_t kCount = std::size(kAsks);
  std::vector<SceneExchange> out;
  const uint64_t turns = 2 + random_below(2, {key, 1});
  for (uint64_t i = 0; i < turns; ++i) {
    out.push_back(kAsks[permute(i, kCount, {key, 2})](scene, random_bits({key, 3, i})));
  }
  return out;
}

SceneExchange detailed_description(const Scene& scene, uint64_t key) {
  std::string answer = count_sentence(scene.objects.size());
  for (const SceneObject& o : scene.objects) answer += " " + capital(in_place(o.place)) + " is " + phrase(o) + ".";
  return {random_below(2, {key, 1}) == 0 ? "Describe the picture in detail." : "What do you see in the picture?",
          std::move(answer)};
}

SceneExchange complex_reasoning(const Scene& scene, uint64_t key) {
  if (scene.objects.size() < 2 || random_below(2, {key, 1}) == 0) return reason_removal(scene, random_bits({key, 2}));
  return reason_same_size(scene, random_bits({key, 2}));
}

}  // namespace tephra::data
