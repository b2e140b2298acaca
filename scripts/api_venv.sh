#!/usr/bin/env bash
# Makes .deps/api-venv: Python packages that test interfaces to the outside (schemathesis, TensorBoard, Kubernetes' schemas). Without it those tests
# say that they did not run.
exec "$(dirname "$0")/make_venv.sh" api-venv 2 schemathesis==4.32.5 tensorboard==2.21.0 kubernetes-validate==1.37.0
