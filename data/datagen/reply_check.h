// A teacher's reply, read and judged: what cannot be trained on is rejected with a reason, never mended.
#pragma once

#include <string>
#include <vector>

#include "data/conversation.h"
#include "data/datagen/prompts.h"

namespace tephra::data {

// Reasons, as they stand in the file of rejects:
//   cut_off      the reply ended at its limit of tokens
//   format       not the paragraphs that were asked for, or a tag such as <image> in them
//   empty_turn   a question or an answer without words
//   refusal      the teacher did not do it ("I'm sorry, but ...")
//   leak         it speaks of captions, boxes, coordinates or lists, which someone who sees a picture does not
//   coordinates  numbers of a place that is outside a picture
//   duplicate    a question twice in one dialogue; or a sample that another one equals (generate.h)
//   too_short    a description of less than eight words
struct CheckedReply {
  std::vector<Exchange> exchanges;  // empty: rejected
  std::string reason, detail;       // of a rejection; detail quotes
};

// `finish_reason`: as the endpoint gave it; "length" is cut_off. `question`: of kDetail.
CheckedReply check_reply(SampleKind kind, const std::string& question, const std::string& text,
                         const std::string& finish_reason);

// Lower-case words with single spaces and nothing else: two texts that read alike have the same.
std::string normalised_text(const std::string& text);

}  // namespace tephra::data
