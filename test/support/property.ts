/** fast-check as every property test has it: from the fixed seed (seed.ts). The linter refuses the package itself. */

import fc from "fast-check";
import { SEED } from "./seed.ts";

fc.configureGlobal({ seed: SEED });

export default fc;
