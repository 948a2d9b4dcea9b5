// Lints a description with the recommended rules and prints what is wrong.
import { createConfig, lint } from "@redocly/openapi-core";

const config = await createConfig({ extends: ["recommended"] });
for (const p of await lint({ ref: process.argv[2], config })) {
  console.log(`${p.severity} ${p.ruleId} ${p.location[0]?.pointer ?? ""}: ${p.message.replaceAll("\n", " ")}`);
}
