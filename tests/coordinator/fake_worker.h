// A rank that trains nothing: it speaks the ranks' protocol and writes real shards, so that the coordinator can be
// tested without LibTorch. The test program starts itself as this (see main.cc). What it is to break is said in the
// environment, as JSON:
//   TEPHRA_FAKE_PLAN={"die": {"attempt": 1, "rank": 1, "stage": "lm", "step": 3}}     SIGKILL to itself before that
//   step
//                    {"hold": {"attempt": 1, "stage": "lm", "step": 3}}                waits for Stop before that step
//                    {"fail": {"attempt": 1, "rank": 0, "stage": "lm", "step": 3}}     Finished with kInvalidArgument
//                    {"differ": {"rank": 0, "stage": "lm", "step": 3}}                 Finished with a permanent kMismatch
//                    {"die": {"attempt": 1, "rank": 0, "bench": "quiz", "answers": 5}} SIGKILL after that many answers
//                    {"last_words": true}                                              hold commits before it stops
//                    {"deaf": true}                                                    hold does not listen to Stop
//                    {"builds": ["fake 1", "fake 2"]}                                  what each rank says in its Hello
//                    {"mute": 1}                                                       rank 1 sends no flight
//
// Its model is one tensor "w" of 1000 elements, each of which is the number of steps done, and its first moment; its
// answers are the right ones.
#pragma once

namespace tephra::coordinator {

int fake_worker_main(int argc, char** argv);

inline constexpr int kFakeElements = 1000;

}  // namespace tephra::coordinator
