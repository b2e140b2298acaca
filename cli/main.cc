#include "cli/app.h"

int main(int argc, char** argv) { return tephra::cli::main(argc, argv); }
