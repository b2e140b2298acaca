// Whom recipes may name as judges, and which variable of the coordinator's environment each may be sent. A recipe that could name any
// variable and any address could have each secret of the coordinator's account sent anywhere. docs/security.md.
#pragma once

#include <string>
#include <vector>

#include "base/diagnostic.h"
#include "base/status.h"
#include "recipes/recipe.h"

namespace tephra::coordinator {

struct JudgeEndpoint {
  std::string url;      // as recipes name it, without a '/' at its end
  std::string key_env;  // environment variable of its key; empty: it is sent none
};

// "https://HOST/v1" or "https://HOST/v1,key_env=NAME". kInvalidArgument: no address, no name of a variable, or a key that would go
// over the network unencrypted.
Result<JudgeEndpoint> parse_judge_endpoint(const std::string& text);

struct JudgePolicy {
  bool any = false;  // the recipes are of the person whose environment it is (`tephra run`)
  std::vector<JudgeEndpoint> endpoints{};
};

// Ok: `endpoint: local`, one of the policy's endpoints with its own variable or none, or the policy has `any`. kPermission says what
// the recipe may name instead.
Status check_judge(const recipes::JudgeRecipe& judge, const JudgePolicy& policy);

// The same of all of a recipe's benches; empty: it may be submitted.
std::vector<Diagnostic> check_judges(const recipes::Recipe& recipe, const JudgePolicy& policy);

}  // namespace tephra::coordinator
