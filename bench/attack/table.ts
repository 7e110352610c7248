/** The rows for people: one line each, and one more for each further bound. */

import { type Bound, isKept, type Row } from "./row.ts";

const head = ["attack", "sent", "got", "charged", "loss", "ran", "kept", "bound"];

export function tableOf(rows: readonly Row[]): string {
  const lines = [head, ...rows.flatMap(linesOf)];
  const widths = head.map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0)),
  );
  return lines
    .map((line) => line.map((cell, column) => pad(cell, column, widths[column] ?? 0)))
    .map((cells) => cells.join("  ").trimEnd())
    .join("\n");
}

function linesOf(row: Row): string[][] {
  const { scenario, requests, answers, burned, loss, refusedThatRan, bounds } = row;
  const figures = [requests, answers, burned, loss, refusedThatRan].map(String);
  const [first = "", ...more] = bounds.map(textOf);
  return [
    [scenario, ...figures, isKept(row) ? "yes" : "NO", first],
    ...more.map((text) => ["", "", "", "", "", "", "", text]),
  ];
}

function textOf({ what, found, formula, limit }: Bound): string {
  const right = formula === String(limit) ? formula : `${formula} = ${limit}`;
  return `${what} ${found} ${found <= limit ? "<=" : "EXCEEDS"} ${right}`;
}

/** Figures to the right. */
function pad(cell: string, column: number, width: number): string {
  return column > 0 && column < 6 ? cell.padStart(width) : cell.padEnd(width);
}
