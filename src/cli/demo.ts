import { type Command, InvalidArgumentError } from "commander";
import type { CliContext } from "./context.ts";
import { REQUESTS_PER_SECOND } from "./demo/load.ts";
import { EXIT } from "./exit-codes.ts";

type DemoFlags = {
  json?: boolean;
  proxies: number;
  rate: number;
  stepSeconds: number;
  unsafeControl?: boolean;
  envoyVersion?: string;
  keep?: boolean;
};

/** `meshroot demo`: real Envoys, real traffic, a whole rotation. */
export function addDemoCommand(program: Command, context: CliContext): void {
  program
    .command("demo")
    .description("rotate the root of a small real mesh under traffic, on this machine, and count what fails")
    .option("--json", "print the result as one JSON object on stdout")
    .option("--proxies <n>", "number of Envoys", wholeNumber(2, 20), 3)
    .option(
      "--rate <n>",
      "requests per second, all Envoys together; fewer if this machine carries no more",
      wholeNumber(1, 300),
      REQUESTS_PER_SECOND,
    )
    .option("--step-seconds <n>", "seconds of traffic after each step", wholeNumber(0, 60), 2)
    .option("--unsafe-control", "override the gates and cut one proxy off: this run must lose requests")
    .option("--envoy-version <version>", "Envoy to find or install (default: the one that is there, else 1.40.0)")
    .option("--keep", "keep the folder with configurations and logs")
    .action(async (flags: DemoFlags) => {
      const { runDemo } = await import("./demo/demo.ts");
      const abort = new AbortController();
      void context.untilSignal().then(() => abort.abort(new Error("interrupted")));
      const { envoyVersion } = flags;
      const options = {
        json: flags.json === true,
        proxies: flags.proxies,
        rate: flags.rate,
        stepSeconds: flags.stepSeconds,
        unsafeControl: flags.unsafeControl === true,
        keep: flags.keep === true,
        ...(envoyVersion === undefined ? {} : { envoyVersion }),
      };
      try {
        context.exit(await runDemo(options, context.version, abort.signal));
      } catch (error) {
        if (!abort.signal.aborted) throw error;
        context.stderr("interrupted; the demo's servers are stopped\n");
        context.exit(EXIT.interrupted);
      }
    });
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`);
  };
}
