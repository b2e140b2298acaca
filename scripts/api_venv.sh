#!/usr/bin/env bash
# Makes .deps/api-venv: Python packages that test the coordinator's outside (schemathesis, TensorBoard). Without it those tests
# say that they did not run.
exec "$(dirname "$0")/make_venv.sh" api-venv 1 schemathesis==4.32.5 tensorboard==2.21.0
