// Counter-based randomness: every value is a pure function of its key, so that no order of calls, number of ranks or restart
// can change it (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). The mixer is SplitMix64's finaliser
// (Steele et al. 2014), applied once per word of the key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

namespace tephra {

uint64_t random_bits(std::initializer_list<uint64_t> key);
uint64_t random_below(uint64_t bound, std::initializer_list<uint64_t> key);  // uniform in [0, bound), bound > 0
double random_unit(std::initializer_list<uint64_t> key);                     // uniform in [0, 1)
double random_normal(std::initializer_list<uint64_t> key);  // mean 0, deviation 1 (Box and Muller 1958)
uint64_t key_of(std::string_view name);                     // a word of a key from a name

// Bijection of [0, n) keyed by `key`: element `index` of a shuffled order without holding the order (a four-round Feistel
// network with cycle walking). n in [1, 2^62].
uint64_t permute(uint64_t index, uint64_t n, std::initializer_list<uint64_t> key);

}  // namespace tephra
