// Validates manifests of the Prometheus operator and of KEDA against the schemas of their packages.
// Standard input: a JSON list of manifests.  Exit code 1 and a message per fault if there are any.
import { readFileSync } from "node:fs";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject";
import { ServiceMonitor } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor";

const models = { ScaledObject, ServiceMonitor };

for (const manifest of JSON.parse(readFileSync(0, "utf8"))) {
  const Model = models[manifest.kind];
  if (Model?.apiVersion !== manifest.apiVersion) {
    console.error(`${manifest.apiVersion} ${manifest.kind}: no schema`);
    process.exitCode = 1;
    continue;
  }
  try {
    new Model(manifest).validate();
  } catch (error) {
    console.error(`${manifest.kind} ${manifest.metadata?.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
