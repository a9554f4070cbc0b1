// Prints the Khronos validator's report (JSON) for the GLB file given as argument.
import { readFile } from "node:fs/promises";
import validator from "gltf-validator";

const bytes = new Uint8Array(await readFile(process.argv[2]));
const report = await validator.validateBytes(bytes, { format: "glb", maxIssues: 0 });
console.log(JSON.stringify(report.issues));
