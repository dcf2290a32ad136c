/** What commands print: tables for people, JSON and YAML for programs, names for `xargs`. */

import { Option } from "commander";
import { stringify } from "yaml";

const OUTPUT_FORMATS = ["table", "wide", "json", "yaml", "name"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

/** One column: its heading, what it shows of an item, and whether only `-o wide` shows it. */
export type Column<Item> = {
  readonly title: string;
  readonly value: (item: Item) => string;
  readonly wide?: boolean;
};

/** How to show items of one kind in every format. */
export type View<Item> = {
  readonly columns: readonly Column<Item>[];
  /** The Kubernetes-style object behind an item. */
  readonly object: (item: Item) => object;
  /** `kind/name`, as `kubectl get -o name` prints it. */
  readonly name: (item: Item) => string;
};

/** `-o table|wide|json|yaml|name`. */
export function outputOption(): Option {
  return new Option("-o, --output <format>", "how to print").choices(OUTPUT_FORMATS).default("table");
}

/** Many items; JSON and YAML are a `List`, also for one item or none, so that a script needs one way of reading. */
export function printList<Item>(items: readonly Item[], view: View<Item>, format: OutputFormat): string {
  const list = () => ({ apiVersion: "v1", kind: "List", items: items.map(view.object) });
  return print(items, view, format, list);
}

/** One item that was asked for by name; JSON and YAML are the object itself. */
export function printItem<Item>(item: Item, view: View<Item>, format: OutputFormat): string {
  return print([item], view, format, () => view.object(item));
}

/** Upper-case headings and columns three spaces apart, as kubectl prints them; ends with a newline. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, at) => rows.reduce((most, row) => Math.max(most, row[at]?.length ?? 0), 0));
  const lines = rows.map((row) =>
    row
      .map((cell, at) => cell.padEnd((widths[at] ?? 0) + 3))
      .join("")
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join("");
}

/** A span of time in one unit, as kubectl's AGE: `45s`, `12m`, `7h`, `30d`. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 2 * 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

function print<Item>(items: readonly Item[], view: View<Item>, format: OutputFormat, object: () => object): string {
  switch (format) {
    case "json":
      return `${JSON.stringify(object(), undefined, 2)}\n`;
    case "yaml":
      return stringify(object(), { schema: "yaml-1.1", lineWidth: 0 });
    case "name":
      return items.map((item) => `${view.name(item)}\n`).join("");
    default: {
      const columns = view.columns.filter((column) => format === "wide" || column.wide !== true);
      const rows = items.map((item) => columns.map((column) => column.value(item)));
      return table([columns.map((column) => column.title), ...rows]);
    }
  }
}
