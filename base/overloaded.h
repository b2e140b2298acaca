// One visitor of a std::variant from several lambdas: std::visit(Overloaded{[](const A&) {...}, [](const B&) {...}}, value).
#pragma once

namespace tephra {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

}  // namespace tephra
