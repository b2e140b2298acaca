// What is said of a scene: captions, and the three kinds of instruction data of LLaVA (conversation, detailed description,
// complex reasoning; Liu et al. 2023, section 3). Plain, regular English of some sixty words, true by construction.
#pragma once

#include <string>
#include <vector>

#include "data/conversation.h"
#include "data/scene_world.h"

namespace tephra::data {

using SceneExchange = Exchange;

// "a large red circle"
std::string phrase(const SceneObject& object);
// "a large red circle in the northwest and a small blue cross in the southeast.", in reading order.
std::string caption(const Scene& scene);
// The scene as four words in reading order, as on a chart with a legend: the quarter (a northwest, b northeast, c southwest,
// d southeast), then color and shape by their first letters (x for a cross, as c is the circle's), capitals for a large object,
// "no" for nothing: "aRC bno cgt dBX". A word holds all that a quarter of the picture shows, its place included, so a language
// model that has learnt these words has learnt what a picture token may say to it; without the place it did not find quarters.
std::string chart(const Scene& scene);
// The caption's facts, its objects in an order and a wording drawn from `key`.
std::string caption_variant(const Scene& scene, uint64_t key);

// Two or three short questions about the picture with full-sentence answers.
std::vector<SceneExchange> conversation(const Scene& scene, uint64_t key);
// "Describe the picture in detail." and a sentence for each object, the number first.
SceneExchange detailed_description(const Scene& scene, uint64_t key);
// A question that takes two facts of the picture, answered with its reasons.
SceneExchange complex_reasoning(const Scene& scene, uint64_t key);

}  // namespace tephra::data
