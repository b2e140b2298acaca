// A teacher without a language model or a network: fixed sentences about what it is shown, chosen by the request's seed. For
// tests and demonstrations: its samples are well formed and true of their input, and no richer than that.
#pragma once

#include <string>

#include "data/datagen/prompts.h"

namespace tephra::data {

// A pure function of the request.
std::string local_teacher_reply(const TeacherRequest& request);

}  // namespace tephra::data
