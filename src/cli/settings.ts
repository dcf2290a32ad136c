/** Settings of `src/config.ts` as flags of a command. */

import type { Command } from "commander";
import { flagName, SETTINGS, type Setting, variableName } from "../config.ts";

/** Adds the flags of these settings. Defaults are left to `loadConfig`, which also knows the environment. */
export function addSettings(command: Command, settings: readonly Setting[]): Command {
  for (const setting of settings) {
    const { placeholder, standard, help } = SETTINGS[setting];
    const fallback = standard === false ? "" : `default ${standard}, `;
    command.option(`${flagName(setting)} ${placeholder}`.trim(), `${help} (${fallback}${variableName(setting)})`);
  }
  return command;
}
