# Kubernetes' own schemas (kubernetes-validate of PyPI) over what `tephra manifest` prints: the ConfigMap, and the pod template of
# each replica of the MPIJob. Strict: a field that the schema does not name is wrong. Argument: the file. Exits with 1 and says what is
# wrong, a line each.
import sys

import kubernetes_validate
import yaml

VERSION = "1.37"


def validate(what, document, wrong):
    try:
        kubernetes_validate.validate(document, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        wrong.append(f"{what}: {error.message} at {'.'.join(str(part) for part in error.path)}")


wrong, checked = [], 0
for document in yaml.safe_load_all(open(sys.argv[1])):
    if document["kind"] != "MPIJob":
        validate(document["kind"], document, wrong)
        checked += 1
        continue
    for name, replica in document["spec"]["mpiReplicaSpecs"].items():
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": replica["template"]}
        validate(name, template, wrong)
        checked += 1
if checked != 3:
    wrong.append(f"a ConfigMap and two pod templates were to be validated, not {checked} parts")
print("\n".join(wrong))
sys.exit(1 if wrong else 0)
